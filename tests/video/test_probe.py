"""True frame times, sizes and reasons, against decoding, hand-made files and 44 awkward real ones."""

import csv
import pickle
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from kinema.errors import VideoError
from kinema.video.decode import read_frames
from kinema.video.info import VideoInfo
from kinema.video.probe import content_hash, probe
from tests.video.rendering import HEIGHT, WIDTH, numbers_in, remux, write_numbered

# Files of which files.csv tells another count: it was made with the first track, not with the one that players show.
OTHER_TRACK = {"nasa_13013.mp4": 390}

REASONS = {
    "sample_audio_only.mp4": "no video track (audio only)",
    "sample_with_invalid_nalu.mp4": "damaged: decoding stops after 26 frames",
    "invalid-bitstream.webm": "damaged: decoding stops after 0 frames",
    "corrupted.mp4": "damaged: decoding stops after 28 frames",
    "zero_byte.webm": "empty file (0 bytes)",
    "invalid_userdata.mp4": "damaged: the video track holds no frames (its header promises 5544)",
    "truncated_60pct_nasa.mp4": "damaged: the file is cut off before its index",
    "text_named.mp4": "not a video: ",
}


def outcome(path):
    try:
        return probe(path)
    except VideoError as error:
        return error.reason


def test_difficult_files_are_read_right_or_refused_with_a_reason(shared_data):
    folder = shared_data / "difficult_files"
    wrong = []
    for truth in csv.DictReader((folder / "files.csv").read_text(encoding="utf-8").splitlines()):
        name = truth["file"]
        found = outcome(folder / name)
        if name in REASONS:
            right = isinstance(found, str) and found.startswith(REASONS[name])
        else:
            right = isinstance(found, VideoInfo) and facts(found) == expected(name, truth)
        wrong += [] if right else [(name, found)]
    assert wrong == []


def facts(info):
    return info.frames, info.codec, info.pixel_format, info.audio_tracks, info.bytes, {info.width, info.height}


def expected(name, truth):
    frames = OTHER_TRACK.get(name, int(truth["frames_decoded"]))
    size = {480, 270} if name in OTHER_TRACK else {int(truth["width"]), int(truth["height"])}
    return frames, truth["video_codec"], truth["pix_fmt"], int(truth["audio_streams"]), int(truth["bytes"]), size


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("video_0.mov", (0, False, 568, 320)),
        ("video_90.mov", (90, False, 320, 568)),
        ("video_rotation_90.mp4", (90, False, 60, 100)),
        ("sample_rotate_and_reflect.mp4", (270, True, 720, 1080)),
    ],
)
def test_orientation_of_real_files(shared_data, name, turn):
    info = probe(shared_data / "difficult_files" / name)
    assert (info.rotation, info.mirrored, info.width, info.height) == turn


def test_headers_lie_and_packets_do_too(shared_data):
    """XviD clips: the header counts empty packets, and the packets' times do not follow the order of frames."""
    clips = sorted((shared_data / "ut_interaction" / "clips" / "kicking").glob("*.avi"))[:3]
    for path in clips:
        with av.open(str(path)) as container:
            header = container.streams.video[0].frames
            stamps = [frame.pts for frame in container.decode(video=0)]
        info = probe(path)
        assert info.frames == len(stamps) < header
        assert stamps != sorted(stamps) and info.counted
        assert info.times == pytest.approx(np.arange(info.frames) / 30)
        assert info.fps == pytest.approx(30)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate_is_kept(numbered, suffix):
    stamps = np.cumsum([0, 40, 40, 10, 200, 40, 40, 3000, 40, 33, 40, 40])
    info = probe(numbered(f"vfr{suffix}", len(stamps), stamps=stamps, b_frames=2))
    assert info.times == pytest.approx(stamps / 1000, abs=1e-4)
    assert info.fps == pytest.approx(25)
    assert info.duration == pytest.approx(stamps[-1] / 1000 + 0.04)


def test_rate_of_a_container_that_counts_milliseconds(numbered):
    info = probe(numbered("thirty.mkv", 60, rate=30))
    assert set(np.diff(info.pts)) == {33, 34}
    assert info.fps == pytest.approx(30, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "codec", "b_frames", "counted"),
    [
        ("mpeg4.avi", "mpeg4", 0, False),
        ("h264-b.avi", "libx264", 3, True),
        ("h264-b.h264", "libx264", 3, True),
        ("mpeg2-b.ts", "mpeg2video", 2, False),
        ("h264-b.mkv", "libx264", 3, False),
    ],
)
def test_times_come_from_packets_decoding_or_counting(numbered, name, codec, b_frames, counted):
    info = probe(numbered(name, codec=codec, b_frames=b_frames))
    assert info.counted == counted
    assert info.times == pytest.approx(np.arange(40) / 25, abs=1e-6)
    assert info.keyframes[0] == info.pts[0]
    assert np.isin(info.keyframes, info.pts).all()
    assert len(info.keyframes) == len(info.seek_stamps)


def test_frames_hidden_by_an_edit_list_are_left_out(shared_data):
    info = probe(shared_data / "difficult_files" / "iibbibb_editlist_videoonly.mp4")
    assert info.frames == 12
    assert info.times == pytest.approx(np.arange(12.0))


def test_hidden_vp8_frames_are_left_out(numbered, tmp_path):
    """Also between the stretches that are decoded as a check."""

    def hide(number, packet):
        if number not in (20, 30):
            return packet
        data = bytearray(bytes(packet))
        data[0] &= ~0x10  # show_frame
        changed = av.Packet(bytes(data))
        changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
        return changed

    path = remux(numbered("vp8.webm", 60, "libvpx"), tmp_path / "hidden.webm", hide)
    info = probe(path)
    assert info.times == pytest.approx([k / 25 for k in range(60) if k not in (20, 30)])
    assert numbers_in(read_frames(info, [20, 28, 29, 57])) == [21, 29, 31, 59]


def test_packets_without_a_picture_have_no_frame(numbered, tmp_path):
    """MPEG-4's "nothing coded here" (ISO 14496-2, vop_coded = 0), near the end, where only decoding can tell."""

    def empty(number, packet):
        if number != 57:
            return packet
        changed = av.Packet(b"\0\0\1\xb6\x53\xcf")
        changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
        return changed

    info = probe(remux(numbered("mpeg4.mkv", 60, "mpeg4"), tmp_path / "empty.mkv", empty))
    assert info.times == pytest.approx([k / 25 for k in range(60) if k != 57])
    assert len(read_frames(info, np.arange(59))) == 59


def test_a_cut_in_the_middle_by_an_edit_list(numbered, tmp_path):
    """Frames 18 to 40 are stored but not shown, and decoding still needs some of them."""
    path = cut_out(numbered("cut.mov", 60, gop=12, b_frames=2), tmp_path / "cut.mov", 18, 41)
    info = probe(path)
    kept = [*range(18), *range(41, 60)]
    with av.open(str(path)) as container:
        assert info.pts.tolist() == [frame.pts for frame in container.decode(video=0)]
    assert info.duration == pytest.approx(len(kept) / 25, abs=0.05)
    assert numbers_in(read_frames(info, np.arange(len(kept)))) == kept
    for wanted in ([17, 18], [18], [25], [36, 2]):
        assert numbers_in(read_frames(info, wanted)) == [kept[index] for index in wanted]


def cut_out(source, target, first, stop):
    """Rewrite the one-entry edit list of a QuickTime file to leave out the frames `first` to `stop` - 1, of 1/25 s."""
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") - 4
    size, duration, start = (int.from_bytes(data[at + o : at + o + 4]) for o in (0, 16, 20))
    with av.open(str(source)) as container:
        tick = int(container.streams.video[0].time_base.denominator / 25)
    frame = 40  # in the movie's own ticks of 1/1000 s
    assert (size, duration) == (28, 60 * frame)
    entries = [(first * frame, start), ((60 - stop) * frame, start + stop * tick)]
    data[at + 12 : at + size] = b"".join(
        value.to_bytes(4) for length, begin in entries for value in (length, begin, 1 << 16)
    )
    data[at + 12 : at + 12] = (2).to_bytes(4)
    for box in (b"elst", b"edts", b"trak", b"moov"):
        place = data.index(box) - 4
        data[place : place + 4] = (int.from_bytes(data[place : place + 4]) + 12).to_bytes(4)
    target.write_bytes(bytes(data))
    return target


def test_frames_before_the_first_keyframe_are_left_out(numbered, tmp_path):
    """A recording that starts between two keyframes, as broadcasts do."""
    whole = numbered("gop12.ts", b_frames=0)
    path = remux(whole, tmp_path / "late.ts", lambda number, packet: packet if number >= 7 else None)
    assert probe(path).frames == 40 - 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file (0 bytes)"),
        (b"hello world\n" * 40, "not a video: "),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 100, "damaged: the file is cut off"),
    ],
)
def test_reasons(tmp_path, content, reason):
    path = tmp_path / "file.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert caught.value.reason.startswith(reason)
    assert str(path) in str(caught.value)


def test_reasons_of_paths(tmp_path):
    assert outcome(tmp_path / "none.mp4") == "no such file"
    assert outcome(tmp_path) == "is a folder, not a video file, and holds no numbered images"


def test_encrypted_tracks_are_told(numbered, tmp_path):
    keys = {"encryption_key": "76a6c65c5ea762046bd749a2e632ccbb", "encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}
    scheme = {"encryption_scheme": "cenc-aes-ctr", **keys}
    assert outcome(write_numbered(tmp_path / "locked.mp4", container_options=scheme)).startswith("encrypted: ")
    unknown = tmp_path / "unknown.mp4"
    unknown.write_bytes(numbered("plain.mp4").read_bytes().replace(b"avc1", b"encv"))
    assert outcome(unknown).startswith("no decoder for its video track")


def test_a_truncated_file_is_read_up_to_the_cut(numbered, tmp_path):
    whole = numbered("cut.mkv", 60, gop=6).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: int(len(whole) * 0.6)])
    found = outcome(path)
    assert isinstance(found, VideoInfo)
    assert 20 < found.frames < 60


def test_the_cover_of_a_sound_file_is_no_video(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound, cover = container.add_stream("aac", rate=44100), container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        for number in range(8):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 44100, number * 1024
            container.mux(sound.encode(samples))
        container.mux(sound.encode())
    assert outcome(path) == "no video track (audio only)"


@pytest.fixture
def info():
    stamps = np.array([1000, 1033, 1067, 1100, 1300, 1333], np.int64)
    return VideoInfo(
        path="clip.mkv",
        codec="h264",
        pixel_format="yuv420p",
        width=64,
        height=48,
        rotation=90,
        mirrored=True,
        stream=1,
        time_base=Fraction(1, 1000),
        pts=stamps,
        keyframes=stamps[[0, 3]],
        seek_stamps=stamps[[0, 3]] - 7,
        counted=True,
        audio_tracks=2,
        bytes=123,
    )


def test_the_frame_on_show(info):
    moments = [-5, 0, 0.0329, 0.033, 0.05, 0.0999, 0.2, 0.2999, 0.3, 0.333, 0.4, 99]
    assert info.frame_at(moments).tolist() == [0, 0, 1, 1, 1, 3, 3, 4, 4, 5, 5, 5]
    assert info.frame_at(0.31).shape == ()
    assert info.frame_at([[0.0, 0.1]]).tolist() == [[0, 3]]


@pytest.mark.parametrize("name", ["thirty.mkv", "plain.mp4"])
def test_regular_times_find_each_frame(numbered, name):
    rate = 30 if name == "thirty.mkv" else 25
    info = probe(numbered(name, 60, rate=rate) if rate == 30 else numbered(name))
    assert info.frame_at(np.arange(info.frames) / rate).tolist() == list(range(info.frames))
    assert info.frame_at(info.times).tolist() == list(range(info.frames))


def test_columns_hold_everything(info):
    again = VideoInfo.from_columns("clip.mkv", info.to_columns())
    for name in VideoInfo.__dataclass_fields__:
        mine, other = getattr(info, name), getattr(again, name)
        assert str(mine) == str(other) if name == "path" else np.array_equal(mine, other), name


def test_an_hour_costs_little(info):
    pts = np.arange(108_000, dtype=np.int64) * 512
    hour = {**info.__dict__, "pts": pts, "keyframes": pts[::250], "seek_stamps": pts[::250] - 1024}
    assert len(VideoInfo(**hour).to_columns()["frame_index"]) < 2500


@pytest.mark.parametrize("packed", [b"", b"junk", pickle.dumps(1)])
def test_a_damaged_frame_index_is_refused(info, packed):
    with pytest.raises(ValueError, match="frame index"):
        VideoInfo.from_columns("clip.mkv", {**info.to_columns(), "frame_index": packed})


def test_a_single_frame(tmp_path):
    info = probe(write_numbered(tmp_path / "one.mp4", 1))
    assert (info.frames, info.fps, info.duration) == (1, 25.0, 0.04)
    assert (info.width, info.height) == (WIDTH, HEIGHT)


def test_content_hash_tells_files_apart(tmp_path):
    for name, content in {"a": b"x" * 3_000_000, "b": b"x" * 3_000_000, "c": b"x" * 2_999_999 + b"y"}.items():
        (tmp_path / name).write_bytes(content)
    first, second, third = (content_hash(tmp_path / name) for name in "abc")
    assert first == second != third
    assert len(first) == 32
    with pytest.raises(VideoError, match="cannot be read"):
        content_hash(tmp_path / "d")
