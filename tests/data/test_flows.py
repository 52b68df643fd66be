"""Flow that the data bring along: the right fields for the right pairs of frames, or a refusal that tells why."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from kinema.data.flows import stored_flow
from kinema.data.index import per_row
from kinema.data.manifest import Manifest
from kinema.data.reading import execute
from kinema.data.sample import Flow, Frames, Sample, Times
from kinema.errors import DataError, VideoError
from kinema.video.decode import read_frames
from kinema.video.flow import compute_flow, decode_flow, encode_flow
from tests.data.packed.stores import SIZE, numbers, store_of


@pytest.fixture(scope="module")
def flows(tiny_videos, tmp_path_factory):
    """Stores of flow over one and over two frames, over one frame at half the rate, and at half precision."""
    folder = tmp_path_factory.mktemp("flows")
    settings = {"one": {}, "two": {"step": 2}, "slow": {"rate": 5.0}, "fine": {"bits": 16}}
    return {name: store_of(tiny_videos, folder / name, "flow", **options) for name, options in settings.items()}


@pytest.fixture
def images(tiny_videos, tmp_path):
    """Rows 0 and 1 with flow images of one grey per frame: 10 i for u, 10 i + 1 for v."""
    for half, shift in (("u", 0), ("v", 1)):
        for row in (0, 1):
            for i in range(20):
                path = tmp_path / "flow" / half / str(row) / f"frame{i + 1:06d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.full((24, 32), 10 * i + shift, np.uint8))
    rows = [{**tiny_videos.row(row), "path": str(tiny_videos.path(row))} for row in (0, 1)]
    return Manifest.from_rows([{**row, "flow": f"flow/u/{k}"} for k, row in enumerate(rows)], tmp_path)


def plan(of, **options):
    return Sample({"clip": of, "flow": Flow("clip", "dis-fast", **options)}, {})


@pytest.mark.parametrize(("name", "frames"), [("one", (4, 5, 6, 7)), ("two", (5, 7, 9)), ("slow", (4, 6, 8))])
def test_a_store_yields_what_would_be_computed_and_coded(tiny_videos, flows, name, frames):
    for of in (Frames(3, numbers(*frames), SIZE), Times(3, np.array(frames) / 10 + 0.001, SIZE)):
        found = execute(plan(of), flows[name])["flow"]
        assert found.dtype == np.uint8
        assert np.array_equal(found, execute(plan(of, coded=True), tiny_videos)["flow"])


@pytest.mark.parametrize(("rate", "stride"), [(25.0, 1), (25.0, 2), (25.0, 3), (15.0, 2), (7.0, 2)])
def test_frames_that_the_rate_repeats_have_their_flow(tiny_videos, tmp_path, rate, stride):
    """At 25 frames per second of 10, a stride of two leads over no frame, or one."""
    store = store_of(tiny_videos, tmp_path / "store", "flow", rate=rate, step=stride)
    for start in (0, 1, 4):
        frames = per_row(store).frames(3, rate=rate)[start::stride][:8]
        found = stored_flow(store, 3, frames, SIZE)
        still = encode_flow(np.zeros(1))[0]
        for k, (now, following) in enumerate(pairwise(frames)):
            two = read_frames(tiny_videos.video(3), [now, following], SIZE)
            expected = encode_flow(compute_flow(two, "dis-fast")[0].transpose(2, 0, 1)) if now < following else still
            assert (found[:, k] == expected).all()


@pytest.mark.parametrize("format", ["raw", "intra"])
def test_a_store_of_half_precision_yields_what_would_be_computed(tiny_videos, tmp_path, format):
    store = store_of(tiny_videos, tmp_path / "store", "flow", format, bits=16)
    for frames in ((4, 5, 6), (4, 4, 5)):
        of = Frames(3, numbers(*frames), SIZE)
        found = execute(plan(of), store)["flow"]
        assert found.dtype == np.float16
        assert np.array_equal(found, execute(plan(of), tiny_videos)["flow"])
    small = stored_flow(store, 3, numbers(7, 8), (12, 16))
    assert small.dtype == np.float16
    whole = stored_flow(store, 3, numbers(7, 8), SIZE).astype(np.float32)
    assert np.abs(small - whole.reshape(2, 1, 12, 2, 16, 2).mean((3, 5))).max() < 0.02


def test_images_are_numbered_from_1_and_lead_to_the_next_frame(images):
    clip = Frames(1, numbers(4, 5, 6), (24, 32))
    found = execute(plan(clip), images)["flow"]
    assert found.shape == (2, 2, 24, 32)
    assert found[:, :, 3, 3].tolist() == [[40, 50], [41, 51]]
    assert np.ptp(found, axis=(2, 3)).max() <= 1


def test_a_frame_that_follows_itself_has_no_motion(flows, images):
    assert (stored_flow(flows["fine"], 0, numbers(7, 7), SIZE) == 0).all()
    for manifest in (flows["one"], images):
        found = stored_flow(manifest, 0, numbers(7, 8, 8, 8), SIZE)
        assert found.shape == (2, 3, *SIZE)
        assert np.array_equal(found[:, :1], stored_flow(manifest, 0, numbers(7, 8), SIZE))
        assert (found[:, 1:] == 128).all() and np.abs(decode_flow(found[:, 1:])).max() < 0.08
        assert stored_flow(manifest, 0, numbers(3, 3), SIZE).shape == (2, 1, *SIZE)
        assert stored_flow(manifest, 0, numbers(3), SIZE).shape == (2, 0, *SIZE)


@pytest.mark.parametrize(
    ("name", "frames", "holds"),
    [
        ("one", (4, 5, 7), "5 to 7 is wanted, but what .* leads over 1 frame:"),
        ("one", (5, 4), "5 to 4 is wanted"),
        ("two", (4, 5), "4 to 5 is wanted, but what .* leads over 2 frames:"),
        ("slow", (4, 5), "4 to 5 is wanted, but what .* leads over 1 frame at 5 frames per second"),
        ("slow", (5, 7), "5 to 7 is wanted"),
        ("slow", (38, 39), "38 to 39 is wanted"),
        ("slow", (39, 38), "39 to 38 is wanted"),
        ("images", (4, 6), "4 to 6 is wanted, but what .* leads over 1 frame:"),
    ],
)
def test_other_pairs_are_refused(flows, images, name, frames, holds):
    with pytest.raises(DataError, match=f"row 1: .*{holds}"):
        stored_flow({**flows, "images": images}[name], 1, numbers(*frames), SIZE)


def test_rows_without_flow_have_theirs_computed(tiny_videos):
    assert stored_flow(tiny_videos, 0, numbers(1, 2), SIZE) is None
    empty = Manifest.from_rows([{**tiny_videos.row(0), "flow": None}], tiny_videos.root)
    assert stored_flow(empty, 0, numbers(1, 2), SIZE) is None


def test_fields_are_scaled_in_their_coding(flows):
    whole = stored_flow(flows["one"], 0, numbers(7, 8), SIZE)
    half = stored_flow(flows["one"], 0, numbers(7, 8), (12, 16))
    for channel in (0, 1):
        expected = cv2.resize(np.ascontiguousarray(whole[channel, 0]), (16, 12), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(half[channel, 0], expected)


def test_a_missing_image_is_a_broken_sample(images):
    with pytest.raises(VideoError, match=r"u.0.frame000021\.jpg: no such flow image"):
        stored_flow(images, 0, numbers(19, 20, 21), SIZE)
