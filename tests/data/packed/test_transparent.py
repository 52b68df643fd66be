"""Training and evaluation on a store: the same plan, the same batches, whatever the processes."""

import multiprocessing

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from kinema.data.loading import Request, deliver
from kinema.data.opening import open_manifest
from kinema.data.packed import open_store, read_row
from kinema.data.packed import reading as packed_reading
from kinema.data.sample import Clock
from kinema.evaluation.reading import ClipReader
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import EncoderInput
from tests.data.packed.stores import store_of
from tests.helpers import assert_same_bits, read_batch, tiny_sts

PER_FILE = 17 * 3 * 32 * 40


@pytest.fixture(scope="module")
def stores(tiny_videos, tmp_path_factory):
    """Frames raw, their flow raw on top, and frames coded, at the size of the tiny STS."""
    folder = tmp_path_factory.mktemp("stores")
    store_of(tiny_videos, folder / "raw", size=(32, 40), file_bytes=PER_FILE)
    store_of(open_manifest(folder / "raw"), folder / "flow", "flow", size=(32, 40), file_bytes=PER_FILE)
    store_of(tiny_videos, folder / "intra", format="intra", size=(32, 40), file_bytes=PER_FILE)
    return folder


@pytest.mark.parametrize("options", [{}, {"clips": "random"}, {"stride": 3}, {"rate": 5.0}], ids=str)
def test_training_on_raw_frames_is_training_on_the_videos(tiny_videos, stores, options):
    method, packed = tiny_sts(**options), open_manifest(stores / "raw")
    batches = [read_batch(method, method.index(manifest), (0, 3, 4, 2)) for manifest in (tiny_videos, packed)]
    assert len(method.index(tiny_videos)) == len(method.index(packed))
    assert_same_bits(*batches)


def test_stored_flow_gives_the_labels_of_coded_flow(tiny_videos, stores):
    """The 8-bit coding is the only difference; a store and coded_flow=true agree to the bit."""
    flow = open_manifest(stores / "flow")
    for options in ({"negate_u": True, "flip": 1.0}, {"flow_fields": "n"}):
        stored, coded = tiny_sts(**options), tiny_sts(coded_flow=True, **options)
        samples = tuple(range(0, 30, 3))
        one = read_batch(stored, stored.index(flow), samples)
        other = read_batch(coded, coded.index(tiny_videos), samples)
        assert_same_bits(one, other)


def test_evaluation_reads_the_same_views(tiny_videos, stores):
    reader = ClipReader(EncoderInput("video", frames=8, resize=(32, 40), size=(32, 32)), view_preset("uniform3"))
    packed = open_manifest(stores / "raw")
    for row in (0, 5):
        assert np.array_equal(reader(tiny_videos, row), reader(packed, row))


class Rows(Dataset):
    """Three frames of each row of several manifests."""

    def __init__(self, *manifests):
        self.manifests = manifests

    def __getitem__(self, row):
        return torch.from_numpy(np.stack([read_row(manifest, row, [3, 30, 4]) for manifest in self.manifests]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_stores_are_read_in_processes_of_either_kind(stores, method):
    rows = Rows(*(open_manifest(stores / format) for format in ("raw", "intra")))
    expected = [rows[row] for row in range(6)]  # opened here before the processes start
    context = multiprocessing.get_context(method)
    loader = DataLoader(rows, batch_size=None, sampler=range(6), num_workers=1, multiprocessing_context=context)
    assert_same_bits(expected, list(loader))


def test_batches_of_a_store_do_not_depend_on_workers(stores):
    method, manifest = tiny_sts(), open_manifest(stores / "flow")
    requests = [Request(Clock(0, step, 0.0), (step, step + 7), (0, 0)) for step in range(4)]
    found = [list(deliver(method, method.index(manifest), requests, seed=5, workers=count)) for count in (0, 2)]
    for one, other in zip(*found, strict=True):
        assert_same_bits(one.batch, other.batch)


@pytest.mark.parametrize("format", ["raw", "intra"])
def test_few_files_are_open_at_once_and_what_was_read_stays(stores, format, monkeypatch):
    monkeypatch.setattr(packed_reading, "_OPEN_AT_ONCE", 2)
    open_store.cache_clear()
    manifest = open_manifest(stores / format)
    clips = [read_row(manifest, row, np.arange(3, 9)) for row in range(6)]
    store = open_store(manifest.file(0, "packed"))
    assert len(store._maps) == 2 < store.layout.files
    for row, clip in enumerate(clips):
        assert np.array_equal(clip, read_row(manifest, row, np.arange(3, 9)))
