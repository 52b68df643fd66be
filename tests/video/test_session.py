"""Videos that stay open: the same frames whatever was read before, and no more decoding than is needed."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from kinema.errors import VideoError
from kinema.video import session
from kinema.video.decode import read_frames
from kinema.video.probe import probe
from tests.video.rendering import numbers_in, write_numbered
from tests.video.test_decode import FILES, decoded_plainly, spoil

KINDS = ["gop12-b.mp4", "gop250-b.mp4", "open-gop.mp4", "gop1.mp4", "gop12-b.mkv", "gop12-b.ts", "gop12-b.avi"]
KINDS += ["mpeg4-b.avi", "mpeg2-b.ts", "vp9.webm", "hevc-layers.mp4", "pyramid.mp4"]


@pytest.fixture(autouse=True)
def nothing_open():
    session._forget()


@pytest.mark.parametrize("name", KINDS)
def test_frames_do_not_depend_on_what_was_read_before(numbered, name):
    """Clips in a row, overlapping, backwards, with gaps, and far ahead."""
    codec, options = FILES[name]
    info = probe(numbered(name, 60, codec, **options))
    whole = decoded_plainly(info)
    rng = np.random.default_rng(0)
    reads = [np.arange(start, start + 8) for start in (0, 8, 16, 24, 20, 40, 47)]
    reads += [np.arange(rng.integers(0, 40), 60, rng.integers(1, 7))[: rng.integers(1, 9)] for _ in range(12)]
    for wanted in reads:
        assert np.array_equal(read_frames(info, wanted), whole[wanted]), wanted
    assert len(session._open) == 1


class Counted:
    """Stands in for a container: counts what is sent to the decoder, and what comes out."""

    def __init__(self, container, video, counts):
        self.container, self.video, self.counts = container, video, counts

    def __getattr__(self, name):
        return getattr(self.container, name)

    def seek(self, target, *, stream):
        self.counts["jumps"] += 1
        self.container.seek(target, stream=self.video)

    def demux(self, stream):
        return self.container.demux(self.video)


class CountedTrack:
    """Stands in for a video track and its decoder."""

    def __init__(self, video, counts):
        self.__dict__.update(video=video, counts=counts, codec_context=self, codec=video.codec_context)

    def __getattr__(self, name):
        return getattr(self.codec, name)

    def __setattr__(self, name, value):
        setattr(self.codec, name, value)

    def decode(self, packet):
        frames = self.codec.decode(packet)
        self.counts["sent"] += packet is not None
        self.counts["frames"] += len(frames)
        return frames


@pytest.fixture
def work(monkeypatch):
    """Numbers of files opened, jumps, packets sent to the decoder and frames that came out."""
    counts = dict.fromkeys(("opened", "jumps", "sent", "frames"), 0)
    original = session.open_video

    @contextmanager
    def counted(*args, **options):
        with original(*args, **options) as (container, video):
            counts["opened"] += 1
            yield Counted(container, video, counts), CountedTrack(video, counts)

    monkeypatch.setattr(session, "open_video", counted)
    return counts


@pytest.fixture(scope="module")
def hours(tmp_path_factory):
    """Three hours at 10 frames per second in groups of 250: one group, copied."""
    folder = tmp_path_factory.mktemp("hours")
    group = write_numbered(folder / "group.mp4", 250, gop=250, b_frames=2, rate=10, options={"sc_threshold": "0"})
    with av.open(str(group)) as old, av.open(str(folder / "hours.mp4"), "w") as new:
        track = old.streams.video[0]
        stream = new.add_stream_from_template(track)
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe, p.time_base) for p in old.demux(track) if p.size]
        step = int(Fraction(25) / track.time_base)
        for copy in range(432):
            for content, pts, dts, is_key, base in packets:
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.time_base = pts + copy * step, dts + copy * step, base
                packet.is_keyframe, packet.stream = is_key, stream
                new.mux(packet)
    return probe(folder / "hours.mp4")


def test_a_late_frame_of_a_long_file_costs_no_more_than_its_group(hours, work):
    assert hours.frames == 108_000 and hours.duration == pytest.approx(10_800)
    assert len(hours.keyframes) == 432
    for index in (107_990, 54_321, 260):
        work.update(sent=0, jumps=0)
        assert numbers_in(read_frames(hours, [index])) == [index % 250 % 64]
        assert work["jumps"] == 1 and work["sent"] <= index % 250 + 4
    assert work["opened"] == 1


@pytest.mark.parametrize("begins_late", [False, True])
def test_reading_on_decodes_every_packet_once(hours, work, begins_late):
    """Clip after clip through one long group; of a row that begins late, only the second clip shows that it is one."""
    for start in range(16 * begins_late, 240, 16):
        shown = numbers_in(read_frames(hours, np.arange(start, start + 16)))
        assert shown == [number % 64 for number in range(start, start + 16)]
    assert work["opened"] == 1 + begins_late
    assert work["sent"] < 240 + 8 + 40 * begins_late


def test_frames_that_nobody_needs_are_not_decoded(numbered, work):
    codec, options = FILES["gop250-b.mp4"]
    info = probe(numbered("gop250-b.mp4", 60, codec, **options))
    with av.open(str(info.path)) as container:
        kinds = [PictureType(frame.pict_type) for frame in container.decode(video=0)]
    needed = sum(kind != PictureType.B for kind in kinds[:50])
    assert needed < 35
    assert numbers_in(read_frames(info, [49])) == [49]
    # Among the B-frames some are referred to; what came out are the others, up to those behind the wanted one.
    assert needed <= work["frames"] < 45


@pytest.mark.parametrize("name", ["gop12-b.mp4", "pyramid.mp4", "open-gop.mp4", "mpeg4-b.mkv", "vp9.webm"])
def test_the_first_attempt_does(numbered, work, name):
    """What was left out is never missed, neither between the wanted frames nor in the next clip of a row."""
    codec, options = FILES.get(name, ("mpeg4", {"gop": 12, "b_frames": 2}))
    info = probe(numbered(name, 60, codec, **options))
    in_a_row = [range(first, first + 1) for first in range(25, 58)]
    for wanted in (range(14, 40, 3), range(13, 24), *in_a_row, range(13, 59, 2)):
        assert numbers_in(read_frames(info, list(wanted))) == list(wanted)
    assert work["opened"] == 1


def test_all_intra_files_are_entered_at_each_wanted_frame(numbered, work):
    info = probe(numbered("gop1.mp4", 60, gop=1))
    assert numbers_in(read_frames(info, np.arange(1, 50, 4))) == list(range(1, 50, 4))
    assert work["sent"] == 13


def test_a_few_videos_stay_open(tmp_path, work):
    infos = [probe(write_numbered(tmp_path / f"{number}.mp4", 10)) for number in range(6)]
    for info in infos:
        read_frames(info, [3])
    assert len(session._open) == session._KEPT_OPEN == 4
    read_frames(infos[-1], [4])
    assert work["opened"] == 6
    read_frames(infos[0], [4])
    assert work["opened"] == 7


def test_fewer_large_videos_stay_open_but_always_the_last(tmp_path, monkeypatch):
    infos = [probe(write_numbered(tmp_path / f"{number}.mp4", 4)) for number in range(4)]
    for pixels, kept in ((2 * 96 * 64, 2), (1, 1)):
        monkeypatch.setattr(session, "_KEPT_PIXELS", pixels)
        for info in infos:
            read_frames(info, [3])
        assert [open_.info for open_ in session._open.values()] == infos[-kept:]


def test_an_open_video_that_was_replaced_is_opened_again(tmp_path, work):
    path = write_numbered(tmp_path / "a.mp4", 30)
    info = probe(path)
    assert numbers_in(read_frames(info, [3])) == [3]
    write_numbered(tmp_path / "b.mp4", 30, gop=5).replace(path)
    assert numbers_in(read_frames(info, [17])) == [17]
    assert work["opened"] == 2
    path.unlink()
    with pytest.raises(VideoError, match="no such file"):
        read_frames(info, [3])


def test_a_failed_read_leaves_nothing_behind(numbered, tmp_path):
    """Whether a damaged file fails depends on the frames asked for alone, and afterwards it reads as before."""
    whole = numbered("gop6.mp4", 60, gop=6)
    info = probe(whole)
    bad = info.__class__(**{**{name: getattr(info, name) for name in info.__dataclass_fields__},
                            "path": spoil(whole, tmp_path / "spoilt.mp4", 24, 29)})  # fmt: skip

    def outcomes(reads, *, anew):
        for wanted in reads:
            if anew:
                session._forget()
            try:
                yield numbers_in(read_frames(bad, wanted))
            except VideoError as error:
                yield error.reason

    reads = [np.arange(start, start + 4) for start in range(0, 56, 4)]
    fresh, kept = list(outcomes(reads, anew=True)), list(outcomes(reads, anew=False))
    assert fresh == kept
    assert sum(isinstance(found, str) for found in fresh) == 2
    assert fresh[-1] == [52, 53, 54, 55]


def test_threads_that_read_one_video_do_not_disturb_each_other(numbered):
    codec, options = FILES["gop12-b.mp4"]
    info = probe(numbered("gop12-b.mp4", 60, codec, **options))
    rng = np.random.default_rng(0)
    reads = [np.sort(rng.choice(60, 5, replace=False)).tolist() for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda wanted: numbers_in(read_frames(info, wanted)), reads)) == reads
    assert len(session._open) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_opens_videos_anew(numbered):
    """Else both would move the one place in the file that they share."""
    info = probe(numbered("gop12-b.mp4", 60, gop=12, b_frames=3))
    read_frames(info, [30])
    child = os.fork()
    if not child:
        os._exit(len(session._open))
    assert os.waitpid(child, 0)[1] == 0
    assert len(session._open) == 1
