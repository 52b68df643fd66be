"""Plans carried out: one decode per file and size, flow of what was read, cached arrays."""

import numpy as np
import pytest
import torch

from kinema.data.manifest import Manifest
from kinema.data.packed import rows
from kinema.data.reading import execute
from kinema.data.sample import Column, Flow, Frames, Ragged, Sample, Times, collate, tensor
from kinema.errors import DataError, VideoError
from kinema.video.decode import read_frames, read_sizes
from kinema.video.flow import PRESETS, compute_flow, encode_flow
from tests.helpers import HEIGHT, WIDTH, moving_texture


def numbers(*values):
    return np.array(values, np.int64)


@pytest.fixture
def decodes(monkeypatch):
    """The (file, frames by size) of every decode."""
    calls = []

    def counted(info, wanted):
        calls.append((info.path.name, {size: np.asarray(indices).tolist() for size, indices in wanted.items()}))
        return read_sizes(info, wanted)

    monkeypatch.setattr(rows, "read_sizes", counted)
    return calls


def test_reads_of_one_row_share_one_decode(tiny_videos, decodes):
    reads = {
        "first": Frames(0, numbers(3, 1, 3)),
        "second": Times(0, np.array([0.2, 0.1])),
        "small": Frames(0, numbers(1, 7), (16, 24)),
        "other": Frames(1, numbers(1)),
    }
    arrays = execute(Sample(reads, {}), tiny_videos)
    names = [tiny_videos.path(row).name for row in (0, 1)]
    stored = (HEIGHT, WIDTH)
    assert decodes == [(names[0], {stored: [1, 2, 3], (16, 24): [1, 7]}), (names[1], {stored: [1]})]
    whole = read_frames(tiny_videos.video(0), np.arange(4)).transpose(3, 0, 1, 2)
    assert np.array_equal(arrays["first"], whole[:, [3, 1, 3]])
    assert np.array_equal(arrays["second"], whole[:, [2, 1]])
    small = read_frames(tiny_videos.video(0), [1, 7], (16, 24)).transpose(3, 0, 1, 2)
    assert np.array_equal(arrays["small"], small)
    assert np.array_equal(arrays["other"][:, 0], read_frames(tiny_videos.video(1), [1])[0].transpose(2, 0, 1))


def test_the_stored_size_may_have_two_names(tiny_videos):
    arrays = execute(
        Sample({"a": Frames(0, numbers(1, 2)), "b": Frames(0, numbers(2, 5), (HEIGHT, WIDTH))}, {}), tiny_videos
    )
    assert np.array_equal(arrays["a"][:, 1], arrays["b"][:, 0])
    assert not np.array_equal(arrays["a"][:, 0], arrays["b"][:, 0])


def test_flow_is_of_the_frames_as_read(tiny_videos):
    clip = Frames(0, numbers(4, 5, 7), (32, 40))
    reads = {"clip": clip, "flow": Flow("clip", "dis-fast"), "code": Flow("clip", "dis-fast", coded=True)}
    arrays = execute(Sample(reads, {}), tiny_videos)
    frames = read_frames(tiny_videos.video(0), [4, 5, 7], (32, 40))
    expected = compute_flow(frames, "dis-fast").transpose(3, 0, 1, 2)
    assert arrays["flow"].shape == (2, 2, 32, 40) and arrays["flow"].dtype == np.float16
    assert np.array_equal(arrays["flow"], expected.astype(np.float16))
    assert np.abs(arrays["flow"]).max() > 1
    assert arrays["code"].dtype == np.uint8 and np.array_equal(arrays["code"], encode_flow(expected))


@pytest.mark.parametrize("preset", PRESETS)
def test_flow_does_not_depend_on_what_was_computed_before(preset):
    """OpenCV's DIS lowers its own settings when it meets a small frame; the next video must not feel it."""

    def flow_of(height, width):
        return compute_flow(moving_texture(0, (0, 2), frames=3, height=height, width=width), preset)

    sizes = [(72, 96), (32, 40), (24, 24), (72, 96), (32, 40)]
    flows = [flow_of(*size) for size in sizes]
    assert np.array_equal(flows[0], flows[3])
    assert np.array_equal(flows[1], flows[4])
    assert np.abs(flows[0]).max() > 1


def test_draws_are_handed_over_beside_the_reads(tiny_videos):
    arrays = execute(Sample({"clip": Frames(0, numbers(0))}, {"crop": numbers(7)}), tiny_videos)
    assert arrays["crop"].tolist() == [7]
    assert arrays["clip"].shape == (3, 1, HEIGHT, WIDTH)


def test_a_plan_must_not_contradict_itself(tiny_videos):
    with pytest.raises(DataError, match=r"\['clip'\] as names of a read and of a draw: rename one"):
        execute(Sample({"clip": Frames(0, numbers(0))}, {"clip": numbers(7)}), tiny_videos)
    with pytest.raises(DataError, match="flow 'flow' is of 'clip', which the plan does not read"):
        execute(Sample({"flow": Flow("clip")}, {}), tiny_videos)


@pytest.fixture
def cached(tmp_path, tiny_videos):
    """Two rows with arrays of 4 and 6 rows of 3 numbers, a third without, a fourth that is no array."""
    for name, length in {"four.npy": 4, "six.npy": 6}.items():
        np.save(tmp_path / name, np.arange(3 * length, dtype=np.float32).reshape(length, 3))
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "code.npy", np.array([{"a": 1}], object), allow_pickle=True)
    names = ["four.npy", "six.npy", None, "text.npy", "code.npy"]
    paths = [str(tiny_videos.path(0))] * len(names)
    return Manifest.from_rows([{"path": p, "features": n} for p, n in zip(paths, names, strict=True)], tmp_path)


def test_columns_are_read_by_rows(cached):
    reads = {"all": Column(1, "features"), "part": Column(1, "features", 2, 4), "beyond": Column(0, "features", 3, 9)}
    arrays = execute(Sample(reads, {}), cached)
    assert arrays["all"].shape == (6, 3)
    assert arrays["part"].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert arrays["beyond"].tolist() == [[9, 10, 11]]
    assert arrays["part"].flags.writeable


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (2, "row 2 .* no 'features'"),
        (3, r"text\.npy \(column 'features', row 3\) is no readable \.npy array"),
        (4, r"code\.npy \(column 'features', row 4\) is no readable \.npy array"),
    ],
)
def test_a_column_that_cannot_be_read_names_file_and_row(cached, row, message):
    """A pickled array is refused: reading data executes nothing."""
    with pytest.raises(DataError, match=message):
        execute(Sample({"x": Column(row, "features")}, {}), cached)


def test_columns_of_unequal_length_become_ragged(cached):
    samples = [execute(Sample({"x": Column(row, "features")}, {"row": numbers(row)}), cached) for row in (0, 1)]
    batch = collate(samples)
    ragged = batch["x"]
    assert isinstance(ragged, Ragged)
    assert ragged.values.shape == (2, 6, 3) and ragged.lengths.tolist() == [4, 6]
    assert ragged.valid.tolist() == [[True] * 4 + [False] * 2, [True] * 6]
    assert ragged.values[0, 4:].abs().sum() == 0 and ragged.values[0, 3].tolist() == [9, 10, 11]
    with pytest.raises(TypeError, match="'x' is ragged"):
        tensor(batch, "x")
    assert tensor(batch, "row").tolist() == [[0], [1]]


def test_clips_of_unequal_length_become_ragged(tiny_videos):
    reads = [Frames(0, np.arange(length), (16, 24)) for length in (2, 5)]
    samples = [execute(Sample({"clip": read}, {}), tiny_videos) for read in reads]
    ragged = collate(samples)["clip"].to("cpu")
    assert isinstance(ragged, Ragged) and ragged.axis == 1
    assert ragged.values.shape == (2, 3, 5, 16, 24) and ragged.values.dtype == torch.uint8
    assert ragged.lengths.tolist() == [2, 5]
    assert ragged.valid.tolist() == [[True, True, False, False, False], [True] * 5]
    for position, sample in enumerate(samples):
        length = sample["clip"].shape[1]
        assert np.array_equal(ragged.values[position, :, :length].numpy(), sample["clip"])
        assert not ragged.values[position, :, length:].any()


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"x": np.zeros((2, 3))}, {"x": np.zeros((3, 4))}, "'x' cannot be batched"),
        ({"x": np.zeros(2)}, {"x": np.zeros((2, 4))}, "'x' cannot be batched"),
        ({"x": np.zeros(2)}, {"y": np.zeros(2)}, "samples of one batch differ"),
        ({"x": np.zeros(2, np.uint8)}, {"x": np.zeros(2, np.float16)}, "'x' cannot be batched: types .*float16.*uint8"),
    ],
)
def test_what_cannot_be_batched_is_named(first, second, message):
    with pytest.raises(ValueError, match=message):
        collate([first, second])


def test_batches_in_shared_memory_are_the_same_batches(tiny_videos):
    clips = [np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[..., k:] for k in (0, 1)]
    samples = [
        {"a": clip[:, ::-1, :3], "b": np.array(k), "c": clip, "d": np.zeros((0, 2))} for k, clip in enumerate(clips)
    ]
    plain, shared = collate(samples), collate(samples, shared=True)
    for name in ("a", "b", "d"):
        assert torch.equal(plain[name], shared[name]) and plain[name].dtype == shared[name].dtype
    assert shared["a"].is_shared() and shared["b"].is_shared() and not plain["a"].is_shared()
    assert torch.equal(plain["c"].values, shared["c"].values) and plain["c"].lengths.tolist() == [4, 3]


def test_a_file_that_changed_since_the_scan_is_said(tmp_path, tiny_videos):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(tiny_videos.path(0).read_bytes())
    manifest = Manifest.from_rows([{**tiny_videos.row(0), "path": str(copy)}], tmp_path)
    copy.write_bytes(copy.read_bytes() + b"more")
    with pytest.raises(VideoError, match=r"copy\.mp4: was changed since the scan"):
        execute(Sample({"x": Frames(0, numbers(0))}, {}), manifest)
