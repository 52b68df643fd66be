"""Exact frames: pictures that tell their own number, full decodes of real clips, and files that lie or break."""

import csv
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from kinema.errors import VideoError
from kinema.video.decode import read_frames
from kinema.video.probe import probe
from tests.video.rendering import HEIGHT, WIDTH, numbered_frame, numbers_in, write_numbered

OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=12:log-level=none"}
FILES = {
    "gop1.mp4": ("libx264", {"gop": 1}),
    "gop12-b.mp4": ("libx264", {"gop": 12, "b_frames": 3}),
    "gop250-b.mp4": ("libx264", {"gop": 250, "b_frames": 3}),
    "open-gop.mp4": ("libx264", {"options": OPEN_GOP}),
    "gop12-b.mkv": ("libx264", {"gop": 12, "b_frames": 3}),
    "gop12-b.flv": ("libx264", {"gop": 12, "b_frames": 3}),
    "gop12-b.ts": ("libx264", {"gop": 12, "b_frames": 3}),
    "gop12-b.avi": ("libx264", {"gop": 12, "b_frames": 3}),
    "open-gop.avi": ("libx264", {"options": OPEN_GOP}),
    "gop12-b.h264": ("libx264", {"gop": 12, "b_frames": 3}),
    "mpeg4.avi": ("mpeg4", {"gop": 12}),
    "mpeg4-b.avi": ("mpeg4", {"gop": 12, "b_frames": 2}),
    "mpeg1-b.mpg": ("mpeg1video", {"gop": 12, "b_frames": 2}),
    "mpeg2-b.mpg": ("mpeg2video", {"gop": 12, "b_frames": 2}),
    "mpeg2-b.ts": ("mpeg2video", {"gop": 12, "b_frames": 2}),
    "vp8.webm": ("libvpx", {"gop": 12}),
    "vp9.webm": ("libvpx-vp9", {"gop": 12, "options": {"lag-in-frames": "16", "auto-alt-ref": "1"}}),
    "wmv2.wmv": ("wmv2", {"gop": 12}),
    "pyramid.mp4": ("libx264", {"gop": 12, "b_frames": 7, "options": {"x264-params": "b-pyramid=strict:b-adapt=0"}}),
    "intra-refresh.mp4": ("libx264", {"gop": 12, "options": {"x264-params": "intra-refresh=1"}}),
    "interlaced.mp4": ("libx264", {"gop": 12, "b_frames": 2, "options": {"flags": "+ildct+ilme"}}),
    "interlaced.mpg": ("mpeg2video", {"gop": 12, "b_frames": 2, "options": {"flags": "+ildct+ilme"}}),
    "ten-bit.mp4": ("libx264", {"gop": 12, "b_frames": 3, "pixels": "yuv420p10le"}),
    "hevc-b.mp4": ("libx265", {"options": {"x265-params": "keyint=12:bframes=3:open-gop=0:log-level=none"}}),
    "hevc-open.mkv": ("libx265", {"options": {"x265-params": "keyint=12:bframes=3:open-gop=1:log-level=none"}}),
    "hevc-layers.mp4": ("libx265", {"options": {"x265-params": "keyint=12:temporal-layers=2:log-level=none"}}),
    "av1.mp4": ("libsvtav1", {"gop": 12, "options": {"preset": "12", "svtav1-params": "lp=1"}}),
}
STARTS_ONLY = ("gop250-b.mp4", "gop12-b.h264", "mpeg1-b.mpg")  # one keyframe, no times, no times that can be trusted


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_the_one_asked_for(numbered, name):
    codec, options = FILES[name]
    info = probe(numbered(name, 60, codec, **options))
    assert info.frames == 60
    assert numbers_in(read_frames(info, np.arange(60))) == list(range(60))
    whole = decoded_plainly(info)
    assert np.array_equal(read_frames(info, np.arange(60)), whole)
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 5, 1, 3):
        wanted = rng.integers(0, 60, count)
        assert np.array_equal(read_frames(info, wanted), whole[wanted])
    assert np.array_equal(read_frames(info, [59]), whole[[59]])
    assert (len(info.keyframes) >= 5) == (name not in STARTS_ONLY)


def test_frames_that_the_index_does_not_know_are_passed_over(numbered):
    """As after a jump into a file of which some frames are hidden from the start only."""
    info = probe(numbered("gop12-b.mp4", 60, gop=12, b_frames=3))
    known = info.pts[np.r_[0:13, 14:60:2]]
    half = replace(info, pts=known, keyframes=info.keyframes[:2], seek_stamps=info.seek_stamps[:2])
    assert numbers_in(read_frames(half, [3, 13, 14, 20])) == [3, 14, 16, 28]


def decoded_plainly(info, wanted=None):
    """The frames `wanted` (None: all), upright, by a decoder that starts at the beginning and counts what comes out."""
    converter = VideoReformatter()
    with av.open(str(info.path)) as container:
        frames = enumerate(container.decode(container.streams[info.stream]))
        places = set(range(info.frames) if wanted is None else wanted)
        pictures = {}
        for count, frame in frames:
            if count in places:
                pictures[count] = converter.reformat(frame, format="rgb24", interpolation="BILINEAR").to_ndarray()
    assert count + 1 == info.frames
    upright = [
        np.rot90(pictures[i][:, ::-1] if info.mirrored else pictures[i], -info.rotation // 90) for i in sorted(places)
    ]
    return np.stack(upright)


def full_decode(info, size):
    """All frames in the order in which a decoder that starts at the beginning gives them."""
    with av.open(str(info.path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams[info.stream])]
    pictures = np.stack([np.rot90(p[:, ::-1] if info.mirrored else p, -info.rotation // 90) for p in pictures])
    step = [pictures.shape[1] // size[0], pictures.shape[2] // size[1]]
    cut = pictures[:, : step[0] * size[0], : step[1] * size[1]]
    return cut.reshape(len(cut), size[0], step[0], size[1], step[1], 3).mean((2, 4))


REAL = [
    "ut_interaction/clips/kicking/*.avi",
    "ucf101_bits/ApplyEyeMakeup/*.avi",
    "ucf101_bits/Diving/*.avi",
    "grid_av_speech/*.mpg",
]


@pytest.mark.parametrize("pattern", REAL)
def test_real_frames_equal_those_of_a_full_decode(shared_data, pattern):
    """By content: of all frames, the one of the full decode at that place is the closest to what was read."""
    info = probe(sorted(shared_data.glob(pattern))[0])
    truth = full_decode(info, (info.height // 8, info.width // 8))
    assert len(truth) == info.frames
    rng = np.random.default_rng(1)
    for wanted in (rng.integers(0, info.frames, 6), np.array([info.frames - 1])):
        frames = read_frames(info, wanted)
        small = full_size_mean(frames, truth.shape[1:3])
        error = np.abs(small[:, None] - truth[None]).mean((2, 3, 4))
        assert (error[np.arange(len(wanted)), wanted] <= error.min(1) + 1e-9).all()
        assert error[np.arange(len(wanted)), wanted].max() < 1e-6


def full_size_mean(frames, size):
    step = frames.shape[1] // size[0], frames.shape[2] // size[1]
    cut = frames[:, : step[0] * size[0], : step[1] * size[1]]
    return cut.reshape(len(cut), size[0], step[0], size[1], step[1], 3).mean((2, 4))


def test_difficult_files_are_read_as_a_full_decode_gives_them(shared_data):
    """Bit for bit, at random places and at the end, whatever was read before; broken ones are refused by `probe`."""
    folder = shared_data / "difficult_files"
    wrong, count = [], 0
    for truth in csv.DictReader((folder / "files.csv").read_text(encoding="utf-8").splitlines()):
        try:
            info = probe(folder / truth["file"])
        except VideoError:
            continue
        count += 1
        rng = np.random.default_rng(count)
        reads = [rng.integers(0, info.frames, 2), np.array([info.frames - 1, 0])]
        places = np.unique(np.concatenate(reads))
        whole = decoded_plainly(info, places.tolist())
        right = [np.array_equal(read_frames(info, read), whole[np.searchsorted(places, read)]) for read in reads]
        wrong += [] if all(right) else [info.path.name]
    assert wrong == []
    assert count == 36


def test_program_streams_with_a_time_per_frame_can_be_entered(shared_data):
    info = probe(sorted(shared_data.glob("grid_av_speech/*.mpg"))[0])
    assert len(info.keyframes) == 7


def test_order_repetition_and_emptiness(numbered):
    info = probe(numbered("gop12-b.mp4", 60, gop=12, b_frames=3))
    assert numbers_in(read_frames(info, [40, 3, 3, 59, 0, 40])) == [40, 3, 3, 59, 0, 40]
    assert read_frames(info, []).shape == (0, HEIGHT, WIDTH, 3)
    assert read_frames(info, [], (8, 9)).shape == (0, 8, 9, 3)


def test_scaling_is_height_width_and_keeps_the_picture(numbered):
    info = probe(numbered("gop12-b.mp4", 60, gop=12, b_frames=3))
    frames = read_frames(info, np.arange(60), (40, 171))
    assert frames.shape == (60, 40, 171, 3)
    assert frames.dtype == np.uint8
    assert numbers_in(frames) == list(range(60))


@pytest.mark.parametrize(
    ("indices", "message"), [([-1], "frame -1"), ([40], "0 to 39"), ([0.5], "integers"), ([[0]], "integers")]
)
def test_wrong_indices_are_told(numbered, indices, message):
    info = probe(numbered("plain.mp4"))
    with pytest.raises(IndexError, match=message):
        read_frames(info, indices)


def test_colours_are_rgb_without_a_tint(tmp_path):
    path = tmp_path / "colours.mp4"
    colours = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "grey": (120, 120, 120)}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for colour in colours.values():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), colour, np.uint8), "rgb24")))
        container.mux(stream.encode())
    info = probe(path)
    for size in (None, (32, 48)):
        means = read_frames(info, np.arange(4), size).mean((1, 2))
        assert means == pytest.approx(np.array(list(colours.values()), float), abs=3)


def test_scaled_frames_have_no_bias(shared_data):
    """The mean colour of a small frame is that of the large one to half a level."""
    info = probe(sorted(shared_data.glob("ut_interaction/clips/kicking/*.avi"))[0])
    large, small = read_frames(info, [0, 30]).mean((1, 2)), read_frames(info, [0, 30], (64, 96)).mean((1, 2))
    assert small == pytest.approx(large, abs=0.6)


@pytest.mark.parametrize(("matrix", "pixels"), [("bt709", "yuv420p"), ("smpte170m", "yuv420p"), ("bt709", "yuvj420p")])
def test_colours_follow_the_matrix_and_range_that_the_file_states(tmp_path, matrix, pixels):
    """HD is coded by another matrix than SD; taken for each other, a pure green is off by 10 to 20 levels."""
    path = tmp_path / "stated.mp4"
    colours = [(20, 220, 30), (220, 30, 30), (128, 128, 128), (10, 10, 250)]
    weights = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114)}[matrix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "2", "colorspace": matrix})
        stream.width, stream.height, stream.pix_fmt = 32, 32, pixels
        for colour in colours:
            planes = coded(colour, weights, full=pixels == "yuvj420p")
            rows = np.concatenate(
                [np.full(size, level, np.uint8) for level, size in zip(planes, (1024, 256, 256), strict=True)]
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rows.reshape(48, 32), pixels)))
        container.mux(stream.encode())
    for size in (None, (16, 24)):
        assert read_frames(probe(path), np.arange(4), size).mean((1, 2)) == pytest.approx(np.array(colours), abs=3)


def coded(colour, weights, *, full):
    """Luma and chroma of an RGB colour (ITU-R BT.601 and BT.709: y = Kr r + (1 - Kr - Kb) g + Kb b)."""
    (red, green, blue), (kr, kb) = colour, weights
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if full:
        return [round(luma), *(round(128 + part) for part in chroma)]
    return [round(16 + luma * 219 / 255), *(round(128 + part * 224 / 255) for part in chroma)]


def test_pixels_count_as_square(numbered):
    """What a file says of its pixels' shape is not applied: container and coder often disagree about it."""
    info = probe(numbered("wide.mp4", aspect=Fraction(16, 11)))
    with av.open(str(info.path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert read_frames(info, [3]).shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.mpg"])
def test_interlaced_frames_stay_woven(numbered, name):
    codec, options = FILES[name]
    info = probe(numbered(name, 60, codec, **options))
    with av.open(str(info.path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    assert info.frames == 60 and info.height == HEIGHT


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_all_eight_orientations(tmp_path, rotation, mirrored):
    """The display matrix in the file and the picture that must come out are made from one map of coordinates."""
    a, b, c, d = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[rotation]
    if mirrored:
        a, b = -a, -b
    info = probe(patch_matrix(grey_cells(tmp_path / "plain.mov"), tmp_path / "turned.mov", (a, b, c, d)))
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    y, x = np.indices((2, 3))
    u, v = a * x + c * y, b * x + d * y
    shown = np.full((3, 2) if rotation in (90, 270) else (2, 3), -1)
    shown[v - v.min(), u - u.min()] = np.arange(6).reshape(2, 3)
    picture = read_frames(info, [0])[0]
    assert picture.shape == (info.height, info.width, 3) == (shown.shape[0] * 16, shown.shape[1] * 16, 3)
    levels = picture.reshape(shown.shape[0], 16, shown.shape[1], 16, 3).mean((1, 3, 4))
    assert np.round((levels - 20) / 40).astype(int).tolist() == shown.tolist()


def grey_cells(path):
    """One picture of 2 x 3 grey cells of 16 x 16; cell k has level 20 + 40 k."""
    cells = np.kron(np.arange(6).reshape(2, 3) * 40 + 20, np.ones((16, 16), int)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(cells[..., None], 3, 2), "rgb24")))
        container.mux(stream.encode())
    return path


def patch_matrix(source, target, matrix):
    """Write the display matrix (a, b, c, d) into the track header of a QuickTime file."""
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16
    fixed = [matrix[0], matrix[1], 0, matrix[2], matrix[3], 0]
    values = np.array([value * 65536 for value in fixed] + [0, 0, 1 << 30], ">i4")
    assert np.frombuffer(data[place : place + 36], ">i4").tolist() == [65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30]
    data[place : place + 36] = values.tobytes()
    target.write_bytes(bytes(data))
    return target


@pytest.mark.parametrize(
    ("name", "codec"), [("long.mp4", "libx264"), ("long.avi", "mpeg4"), ("long.webm", "libvpx-vp9")]
)
def test_a_keyframe_that_is_none_costs_time_and_not_truth(numbered, name, codec):
    """Decoders go on from any frame with grey or smeared pictures; those must not be taken."""
    info = probe(numbered(name, 60, codec, gop=250))
    lie = replace(info, keyframes=info.pts, seek_stamps=info.pts)
    for wanted in ([59], [20], [10, 30, 31]):
        assert numbers_in(read_frames(lie, wanted)) == wanted
        assert np.array_equal(read_frames(lie, wanted), read_frames(info, wanted))


def test_wrong_seek_stamps_cost_time_and_not_truth(numbered):
    info = probe(numbered("gop12-b.mp4", 60, gop=12, b_frames=3))
    for lie in (info.seek_stamps[::-1].copy(), np.full_like(info.seek_stamps, info.pts[-1])):
        assert numbers_in(read_frames(replace(info, seek_stamps=lie), [50, 13, 30])) == [50, 13, 30]


def test_counting_starts_at_the_right_frame_or_not_at_all(numbered):
    """A jump that lands on a frame that cannot start must not make the next keyframe pass for the wanted one."""
    info = probe(numbered("gop12-b.avi", 60, gop=12, b_frames=3))
    assert info.counted
    for shift in (1, 2, 5):
        lie = replace(info, seek_stamps=info.seek_stamps + shift)
        assert numbers_in(read_frames(lie, [59, 13, 30])) == [59, 13, 30]


def spoil(source, target, first, last):
    """Overwrite the packets `first` to `last`, in order of storage, by noise."""
    rng = np.random.default_rng(0)
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for place, size in places[first : last + 1]:
        data[place + 4 : place + size] = rng.integers(0, 256, size - 4, dtype=np.uint8).tobytes()
    target.write_bytes(bytes(data))
    return target


def test_damage_is_told_by_frame_and_time_and_jumped_over(numbered, tmp_path):
    whole = numbered("gop6.mp4", 60, gop=6)
    path = spoil(whole, tmp_path / "spoilt.mp4", 24, 35)
    info = replace(probe(whole), path=path)
    assert numbers_in(read_frames(info, [3, 20, 40, 59])) == [3, 20, 40, 59]
    with pytest.raises(VideoError, match=r"spoilt\.mp4: damaged: frame 2[4-7] \(at \d\.\d\d\d s\)"):
        read_frames(info, [3, 24, 27, 40])


def test_a_file_that_was_replaced_is_told(numbered, tmp_path):
    info = probe(numbered("gop12-b.mp4", 60, gop=12, b_frames=3))
    with pytest.raises(VideoError, match=r"frame 50 .* changed since it was scanned"):
        read_frames(replace(info, path=write_numbered(tmp_path / "short.mp4", 10)), [50])
    with pytest.raises(VideoError, match="no such file"):
        read_frames(replace(info, path=tmp_path / "none.mp4"), [0])
    with pytest.raises(VideoError, match="has no video track number 7"):
        read_frames(replace(info, stream=7), [0])


def test_numbered_frames_tell_their_number():
    assert numbers_in(np.stack([numbered_frame(number) for number in range(64)])) == list(range(64))
