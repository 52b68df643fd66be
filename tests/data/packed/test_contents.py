"""What a store holds is what the videos hold: frames to the bit, flow as computed, at the right places."""

import cv2
import numpy as np
import pytest

from kinema.data.flows import stored_flow
from kinema.data.index import by_duration
from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.data.packed import open_store, read_row, sources
from kinema.data.packed.planning import Plan
from kinema.errors import DataError, VideoError
from kinema.video.decode import read_frames
from kinema.video.flow import compute_flow, encode_flow
from tests.data.packed.stores import SIZE, job_of, numbers, store_of
from tests.helpers import FRAMES, RATE, moving_texture, write_video

PICKS = [numbers(0), numbers(39), numbers(3, 4, 5, 6), numbers(20, 2, 2, 39), numbers(15, 16, 17, 18, 19), numbers()]
PICKS += [numbers(3, 5, 7), numbers(0, 8, 16), numbers(9, 6, 3), numbers(5, 5, 5), numbers(2, 4, 7)]


@pytest.fixture(scope="module")
def raw(tiny_videos, tmp_path_factory):
    """Files of 17 pictures, so that videos of 40 lie across borders."""
    return store_of(tiny_videos, tmp_path_factory.mktemp("raw"), file_bytes=17 * 3 * SIZE[0] * SIZE[1])


@pytest.mark.parametrize("picks", PICKS, ids=str)
def test_raw_frames_are_those_of_the_videos_to_the_bit(tiny_videos, raw, picks):
    for row in range(len(tiny_videos)):
        expected = read_frames(tiny_videos.video(row), picks, SIZE)
        for size in (SIZE, None):
            assert np.array_equal(read_row(raw, row, picks, size), expected)


def test_evenly_spaced_raw_frames_are_not_copied(raw):
    clip = read_row(raw, 0, np.arange(2, 12))
    for view in (clip, read_row(raw, 0, np.arange(2, 16, 3))):
        assert not view.flags.owndata and not view.flags.writeable
    assert clip.transpose(0, 3, 1, 2).flags.c_contiguous


def test_intra_frames_are_each_coded_alone(tiny_videos, tmp_path):
    store = store_of(tiny_videos, tmp_path / "store", format="intra", quality=90)
    for row in (0, 5):
        for index in (0, 7, 39):
            frame = read_frames(tiny_videos.video(row), [index], SIZE)[0]
            coded = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            expected = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
            assert np.array_equal(read_row(store, row, [index])[0], expected)
    assert np.array_equal(read_row(store, 2, [9, 3, 9]), np.concatenate([read_row(store, 2, [i]) for i in (9, 3, 9)]))


def test_a_store_describes_the_packed_videos_and_keeps_all_columns(tiny_videos, raw):
    assert set(tiny_videos.columns) <= set(raw.columns)
    for name in ("label", "hash", "frames", "fps", "duration", "bytes"):
        assert raw.column(name) == tiny_videos.column(name)
    assert raw.column("source_height") == tiny_videos.column("height")
    for row in range(len(raw)):
        before, after = tiny_videos.video(row), raw.video(row)
        assert np.array_equal(before.times, after.times)
        assert (after.height, after.width) == SIZE
        assert raw.path(row).resolve() == tiny_videos.path(row).resolve()
    assert len(set(raw.column("packed_hash"))) == len(raw)


@pytest.mark.parametrize("format", ["raw", "intra"])
@pytest.mark.parametrize("step", [1, 3])
def test_flow_leads_from_each_frame_over_the_stride(tiny_videos, tmp_path, monkeypatch, format, step):
    monkeypatch.setattr(sources, "_CHUNK_BYTES", 7 * 3 * SIZE[0] * SIZE[1])
    store = store_of(tiny_videos, tmp_path / "store", "flow", format, step=step)
    opened = open_store(store.file(0, "flow"))
    for row in (0, 3):
        frames = read_frames(tiny_videos.video(row), np.arange(FRAMES), SIZE)
        start, count = store.row(row)["flow_at"], store.row(row)["flow_stop"]
        assert count == FRAMES - step
        fields = opened.read(np.arange(start, start + count))
        for i in (0, 5, 6, 7, count - 1):
            expected = encode_flow(compute_flow(frames[[i, i + step]], "dis-fast"))[0].transpose(2, 0, 1)
            assert np.array_equal(fields[i], expected)
    assert store.video(0).height == tiny_videos.video(0).height


def test_thinned_videos_have_the_times_of_their_frames(tiny_videos, tmp_path):
    every = store_of(tiny_videos, tmp_path / "every", step=4)
    assert every.video(1).times.tolist() == pytest.approx(np.arange(10) * 4 / RATE)
    assert np.array_equal(read_row(every, 1, [2, 9]), read_frames(tiny_videos.video(1), [8, 36], SIZE))
    slow = store_of(tiny_videos, tmp_path / "slow", rate=5.0)
    assert slow.video(1).times.tolist() == pytest.approx(np.arange(20) / 5)
    both = store_of(tiny_videos, tmp_path / "both", rate=5.0, step=2)
    assert both.column("frames") == [10] * 6
    assert np.array_equal(read_row(both, 1, [3]), read_frames(tiny_videos.video(1), [12], SIZE))
    windows = by_duration(slow, frames=4, rate=5.0)
    assert len(windows) == 6 * 5 and windows.frames(6, rate=5.0).tolist() == [4, 5, 6, 7]


def test_rows_of_one_file_share_their_pictures_and_only_segments_are_kept(tmp_path):
    write_video(tmp_path / "long.mp4", moving_texture(0, (0, 1), frames=100))
    whole = Manifest.from_rows([{"path": "long.mp4"}], tmp_path)
    segments = [{"path": "long.mp4", "start": 4.0, "end": 5.0}, {"path": "long.mp4", "start": 4.5, "end": 6.0}]
    store = store_of(Manifest.from_rows(segments, tmp_path), tmp_path / "store")
    assert store.column("packed_first") == [30, 30] and store.column("packed_stop") == [71, 71]  # a second around
    assert np.load(tmp_path / "store" / "00000.npy").shape[0] == 41
    assert store.bounds(1) == (4.5, 6.0)
    assert np.array_equal(read_row(store, 1, [45, 60]), read_frames(whole.video(0), [45, 60], SIZE))
    for outside in ([29], [40, 71]):
        with pytest.raises(DataError, match=r"row 0: pictures .* .* but the store .* holds 30 to 70"):
            read_row(store, 0, outside)


def test_flow_at_a_rate_fits_the_segments_or_is_refused(tmp_path):
    write_video(tmp_path / "long.mp4", moving_texture(0, (0, 1), frames=60))

    def flow(start, rate):
        rows = [{"path": "long.mp4", "start": start, "end": start + 2.0}]
        manifest = Manifest.from_rows(rows, tmp_path)
        return store_of(manifest, tmp_path / f"{start}-{rate}", kind="flow", rate=rate, preset="dis-half")

    with pytest.raises(DataError, match=r"row 0 \(long.mp4\) begins at 0.5 s, .* run kinema pack with --rate 5 first"):
        flow(0.5, 5.0)
    for start, rate in ((0.4, 5.0), (0.5, 10.0)):
        store = flow(start, rate)
        frames = by_duration(store, frames=4, rate=rate).frames(0, rate=rate)
        assert stored_flow(store, 0, frames, SIZE).shape == (2, 3, *SIZE)


def test_pieces_cover_every_picture_once():
    plan = Plan(numbers(0, 2, 5), numbers(0, 10, 0), numbers(7, 10, 12), {1: "gone"})
    seen = [
        (piece.entry, k)
        for first in range(0, 19, 5)
        for piece in plan.pieces((first, min(first + 5, 19)))
        for k in range(piece.first, piece.stop)
    ]
    assert seen == [(0, k) for k in range(7)] + [(2, k) for k in range(12)]


def test_another_size_is_scaled_with_one_warning_or_refused(tiny_videos, tmp_path):
    store = store_of(tiny_videos, tmp_path / "store")
    with pytest.warns(UserWarning, match="holds frames of 24x32; they are scaled to 12x16"):
        small = read_row(store, 0, [3, 4], (12, 16))
    areas = read_row(store, 0, [3, 4]).reshape(2, 12, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(small - areas).max() <= 0.5
    read_row(store, 0, [3, 4], (12, 16))  # the second time in silence
    read_row(store, 0, [3], (10, 10), thumbnail=True)
    for larger in ((25, 32), (24, 33)):
        with pytest.raises(DataError, match=r"pack the videos with --size 2[45]x3[23]"):
            read_row(store, 0, [3], larger)


def test_the_videos_may_go_once_they_are_packed(tmp_path):
    write_video(tmp_path / "clip.mp4", moving_texture(0, (0, 1), frames=12))
    before = open_manifest(tmp_path / "clip.mp4")
    expected = read_frames(before.video(0), np.arange(12), SIZE)
    store_of(before, tmp_path / "store")
    (tmp_path / "clip.mp4").unlink()
    (tmp_path / "store").rename(tmp_path / "moved")
    manifest = open_manifest(tmp_path / "moved")
    assert np.array_equal(read_row(manifest, 0, np.arange(12)), expected)
    manifest.write(tmp_path / "elsewhere" / "mine.parquet")
    again = open_manifest(tmp_path / "elsewhere" / "mine.parquet")
    assert np.array_equal(read_row(again, 0, np.arange(12)), expected)
    manifest.write(tmp_path / "list.csv")
    with pytest.raises(DataError, match=r"no 'frame_index': use .*manifest.parquet"):
        Manifest.read(tmp_path / "list.csv").video(0)
    (tmp_path / "moved" / "00000.npy").unlink()
    open_store.cache_clear()
    with pytest.raises(VideoError, match=r"00000\.npy: this file of the packed store cannot be read"):
        read_row(again, 0, [0])


def test_thinning_refuses_flow_that_would_no_longer_fit(tiny_videos, tmp_path):
    flow = store_of(tiny_videos, tmp_path / "flow", "flow")
    with pytest.raises(DataError, match="pack first, then run kinema flow STORE"):
        job_of(flow, tmp_path / "store", step=2)
    both = store_of(flow, tmp_path / "store")
    assert both.file(0, "flow").resolve() == (tmp_path / "flow").resolve()
    assert both.column("flow_at") == flow.column("flow_at")
