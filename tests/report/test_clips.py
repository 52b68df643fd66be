"""Clips survive being put into the page."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from kinema.data.manifest import Manifest
from kinema.report.clips import FRAMES, encode_clip, picture_of, row_clip
from kinema.report.gallery import Videos, choose_queries, nearest
from tests.report.runs import moving_square, write_video


def decoded(data: bytes) -> tuple[np.ndarray, list[int]]:
    """Frames [T, H, W, 3] and the milliseconds of each."""
    image = Image.open(io.BytesIO(data))
    frames, durations = [], []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")))
        durations.append(image.info["duration"])
    return np.stack(frames), durations


def test_round_trip_through_the_page():
    clip = moving_square(12, 48, 64)
    picture = encode_clip(clip, rate=20, quality=90)
    markup = picture.markup('a "clip" <b>')
    assert 'alt="a &quot;clip&quot; &lt;b&gt;"' in markup
    frames, durations = decoded(base64.b64decode(re.search(r"base64,([^\"]*)", markup)[1]))
    assert frames.shape == clip.shape
    assert durations == [50] * 12
    distances = np.abs(frames.astype(int)[:, None] - clip[None]).mean((2, 3, 4))
    assert distances.argmin(1).tolist() == list(range(12))
    assert distances.diagonal().max() < 20
    assert (picture.width, picture.height, picture.moving) == (64, 48, True)


def test_clips_play_for_ever():
    assert Image.open(io.BytesIO(encode_clip(moving_square(3), rate=10).data)).info["loop"] == 0


def test_pictures_are_known_by_content():
    found = picture_of(encode_clip(moving_square(1), rate=10).data)
    assert (found.kind, found.moving, found.width) == ("image/webp", False, 64)
    with pytest.raises(ValueError, match="WebP"):
        picture_of(b"<svg onload=alert(1)>")


def test_a_long_row_shows_its_middle_in_real_time(tmp_path):
    frames = np.zeros((250, 32, 32, 3), np.uint8)
    frames[75:175] = 200  # seconds 3 to 7 of 10
    frames[75:175, 8:24, 8:24] += np.arange(100, dtype=np.uint8)[:, None, None, None] // 2  # no two frames alike
    write_video(tmp_path / "a.mp4", frames)
    picture = row_clip(Manifest.from_rows([{"path": "a.mp4"}], tmp_path), 0)
    shown, durations = decoded(picture.data)
    assert shown.min() > 150
    assert sum(durations) == pytest.approx(4000, abs=20 * FRAMES)


def test_frames_are_shrunk_to_a_small_area_in_their_shape(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(20, 240, 480))
    picture = row_clip(Manifest.from_rows([{"path": "a.mp4"}], tmp_path), 0)
    assert picture.width * picture.height <= 112 * 144 * 1.02
    assert picture.width / picture.height == pytest.approx(2, abs=0.05)
    assert len(decoded(picture.data)[0]) == FRAMES


def test_neighbours_are_the_most_similar_of_other_groups():
    features = np.array([[1, 0], [1, 0.01], [1, 0.3], [0.9, 0.9], [-1, 0]], np.float32)
    videos = Videos(list("abcde"), features, [""] * 5, ["x", "x", "y", "z", "z"])
    found = nearest(videos, 0)
    assert [name for name, _ in found] == [2, 3, 4]
    assert [similarity for _, similarity in found] == pytest.approx([1 / np.sqrt(1.09), np.sqrt(0.5), -1], abs=1e-5)


def test_queries_are_spread_over_the_classes():
    labels = [name for name in "dcba" for _ in range(10)]
    videos = Videos([str(k) for k in range(40)], np.zeros((40, 2), np.float32), labels, [""] * 40)
    assert [labels[k] for k in choose_queries(videos, 8)] == sorted("abcd" * 2)
