"""Folders of numbered images are videos: order, times, exact pictures, and what is said of broken ones."""

import shutil

import numpy as np
import pytest
from PIL import Image

from kinema.errors import VideoError
from kinema.video import content_hash, probe, read_frames
from kinema.video.images import frame_files, is_frame_folder
from kinema.video.info import VideoInfo
from tests.video.rendering import HEIGHT, WIDTH, numbered_frame, numbers_in, write_frames


def test_frames_are_read_exactly_in_any_order(tmp_path):
    folder = write_frames(tmp_path / "walk", range(30))
    info = probe(folder)
    assert (info.codec, info.frames, info.width, info.height, info.fps) == ("frames", 30, WIDTH, HEIGHT, 25)
    frames = read_frames(info, [7, 29, 7, 0])
    np.testing.assert_array_equal(frames, np.stack([numbered_frame(number) for number in (7, 29, 7, 0)]))
    assert numbers_in(read_frames(info, [12, 3], (32, 48))) == [12, 3]
    assert read_frames(info, []).shape == (0, HEIGHT, WIDTH, 3)
    with pytest.raises(IndexError, match="0 to 29"):
        read_frames(info, [30])


def test_numbers_count_and_not_their_padding(tmp_path):
    folder = write_frames(tmp_path / "walk", range(12), "{}.png", start=1)
    assert [file.name for file in frame_files(folder)] == [f"{number}.png" for number in range(1, 13)]
    assert numbers_in(read_frames(probe(folder), range(12))) == list(range(12))


def test_the_rate_is_stated_and_left_out_numbers_are_gaps_in_time(tmp_path):
    folder = write_frames(tmp_path / "walk", range(3))
    for old, new in ((2, 10), (1, 5)):
        (folder / f"frame{old:06d}.png").rename(folder / f"frame{new:06d}.png")
    info = probe(folder, fps=30)
    np.testing.assert_allclose(info.times, [0, 5 / 30, 10 / 30])
    assert info.fps == pytest.approx(6)
    assert info.frame_at([0.15, 0.17]).tolist() == [0, 1]
    assert probe(folder, fps=23.976).time_base.limit_denominator(25000) == probe(folder, fps=23.976).time_base


def test_what_was_probed_is_kept_in_the_manifest_columns(tmp_path):
    info = probe(write_frames(tmp_path / "walk", range(5)), fps=10)
    again = VideoInfo.from_columns(info.path, info.to_columns())
    assert (again.codec, again.fps, again.bytes) == ("frames", 10, info.bytes)
    assert info.bytes == sum(file.stat().st_size for file in info.path.iterdir())
    assert numbers_in(read_frames(again, [4])) == [4]


def test_jpeg_is_scaled_while_decoding_as_well_as_afterwards(tmp_path):
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480)))
    for number in range(2):
        Image.fromarray(smooth).save(_made(tmp_path / "big") / f"{number}.jpg", quality=95)
    small = read_frames(probe(tmp_path / "big"), [0], (60, 80))[0].astype(float)
    careful = smooth.reshape(60, 8, 80, 8, 3).mean((1, 3))
    assert np.abs(small - careful).mean() < 2


def test_cameras_turn_pictures(tmp_path):
    folder = _made(tmp_path / "turned")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    for number in range(2):
        Image.fromarray(np.rot90(numbered_frame(9), 1)).save(folder / f"{number}.jpg", exif=exif, quality=95)
    info = probe(folder)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert numbers_in(read_frames(info, [0])) == [9]


def test_grey_palette_and_alpha_become_rgb(tmp_path):
    folder = _made(tmp_path / "kinds")
    picture = Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8))
    for number, kind in enumerate(("L", "P", "RGBA")):
        picture.convert(kind).save(folder / f"{number}.png")
    frames = read_frames(probe(folder), [0, 1, 2])
    assert frames[0, 0, 0].tolist() == [76, 76, 76]
    assert frames[1, 0, 0].tolist() == frames[2, 0, 0].tolist() == [255, 0, 0]


def test_flow_beside_frames_is_no_frame(tmp_path):
    folder = write_frames(tmp_path / "walk", range(4), "img_{:05d}.png")
    write_frames(folder, [9] * 3, "flow_x_{:05d}.png")
    assert numbers_in(read_frames(probe(folder), range(4))) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.write_bytes(b""), "damaged: frame000001.png is empty (0 bytes)"),
        (lambda file: file.write_bytes(file.read_bytes()[:-20]), "damaged: frame000001.png is cut off"),
        (lambda file: file.write_bytes(b"no picture" * 9), "damaged: frame000001.png cannot be decoded (cannot ident"),
        (lambda file: Image.new("RGB", (8, 8)).save(file), "its images differ in size: frame000000.png is 96 x 64"),
        (lambda file: (file.unlink(), file.symlink_to("gone")), "frame000001.png is a broken link"),
        (lambda file: shutil.copy(file, file.with_name("other1.png")), "holds several series of numbered images (fr"),
    ],
)
def test_broken_images_are_named(tmp_path, spoil, reason):
    folder = write_frames(tmp_path / "walk", range(3))
    spoil(folder / "frame000001.png")
    with pytest.raises(VideoError) as caught:
        probe(folder)
    assert caught.value.reason.startswith(reason)


def test_damage_inside_the_last_image_is_found_by_decoding_it(tmp_path):
    folder = write_frames(tmp_path / "walk", range(3))
    file = folder / "frame000002.png"
    content = file.read_bytes()
    file.write_bytes(content[:60] + bytes(40) + content[100:])
    with pytest.raises(VideoError, match=r"damaged: frame000002.png cannot be decoded"):
        probe(folder)


def test_a_folder_that_grew_is_told(tmp_path):
    folder = write_frames(tmp_path / "walk", range(3))
    info = probe(folder)
    write_frames(folder, range(4))
    with pytest.raises(VideoError, match=r"was changed since the scan \(3 frames then, 4 now\)"):
        read_frames(info, [0])


def test_the_hash_is_of_the_images_and_their_order(tmp_path):
    folder = write_frames(tmp_path / "walk", range(3))
    same = write_frames(tmp_path / "copy", range(3), "{}.png", start=7)
    other = write_frames(tmp_path / "other", [0, 2, 1])
    assert content_hash(folder) == content_hash(same) != content_hash(other)


@pytest.mark.parametrize(
    ("names", "holds"),
    [
        (["1.jpg", "2.jpg"], True),
        (["a1.PNG", "a2.PNG", "notes.txt"], True),
        (["1.jpg"], False),
        (["1.jpg", "2.png"], False),
        (["cat.jpg", "dog.jpg"], False),
        (["1.txt", "2.txt"], False),
        ([".1.jpg", ".2.jpg"], False),
    ],
)
def test_two_numbered_images_make_a_video(names, holds):
    assert is_frame_folder(names) is holds


def _made(folder):
    folder.mkdir(exist_ok=True)
    return folder


def test_one_image_is_a_video_of_one_frame(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "a cat.PNG"
    Image.fromarray(picture).save(path)
    info = probe(path)
    assert (info.codec, info.frames, info.width, info.height, info.duration) == ("image", 1, 60, 40, 1 / 25)
    np.testing.assert_array_equal(read_frames(info, [0, 0]), np.stack([picture] * 2))
    assert read_frames(info, [0], (20, 30)).shape == (1, 20, 30, 3) and read_frames(info, []).shape == (0, 40, 60, 3)
    again = VideoInfo.from_columns(path, info.to_columns())
    assert again.codec == "image" and np.array_equal(read_frames(again, [0])[0], picture)
    Image.fromarray(picture[:20]).save(path)
    with pytest.raises(VideoError, match=r"a cat\.PNG: was changed since the scan"):
        read_frames(again, [0])
    path.unlink()
    with pytest.raises(VideoError, match=r"a cat\.PNG is a broken link"):
        read_frames(again, [0])


def test_an_image_is_upright_and_any_kind_becomes_colour(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    Image.fromarray(picture).save(tmp_path / "lying.jpg", quality=95, exif=exif)
    info = probe(tmp_path / "lying.jpg")
    assert (info.width, info.height) == (24, 40)
    shown = read_frames(info, [0])[0].astype(int)
    assert np.abs(shown - np.rot90(picture, -1)).mean() < 12
    for mode in ("L", "RGBA", "P"):
        Image.fromarray(picture).convert(mode).save(tmp_path / f"{mode}.png")
        assert read_frames(probe(tmp_path / f"{mode}.png"), [0]).shape == (1, 24, 40, 3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 cut off"])
def test_a_broken_image_is_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"broken\.jpg: damaged"):
        probe(path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(VideoError, match="is cut off"):
        probe(path)
