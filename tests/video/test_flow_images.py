"""Folders of flow images: known greys, sizes, and both ways to name a pair of folders."""

import cv2
import numpy as np
import pytest

from kinema.errors import DataError, VideoError
from kinema.video.flow import decode_flow
from kinema.video.flow_images import flow_folders, read_flow_images

GREYS = {0: -20.0, 255: 20.0, 127: -0.0784, 128: 0.0784}


@pytest.fixture
def folder(tmp_path):
    """ROOT/u/class/clip with the known greys in order, ROOT/v/class/clip with them backwards."""
    for half, greys in (("u", list(GREYS)), ("v", list(GREYS)[::-1])):
        path = tmp_path / half / "class" / "clip"
        path.mkdir(parents=True)
        for number, grey in enumerate(greys, start=1):
            cv2.imwrite(str(path / f"frame{number:06d}.jpg"), np.full((16, 24), grey, np.uint8))
    return tmp_path / "u" / "class" / "clip"


def test_greys_have_their_known_flow(folder):
    codes = read_flow_images(folder, [0, 1, 2, 3])
    assert codes.shape == (4, 2, 16, 24) and codes.dtype == np.uint8
    flow = decode_flow(codes)
    expected = list(GREYS.values())
    assert flow[:, 0].mean((1, 2)) == pytest.approx(expected, abs=1e-4)
    assert flow[:, 1].mean((1, 2)) == pytest.approx(expected[::-1], abs=1e-4)
    assert np.array_equal(read_flow_images(folder, [2, 0, 2]), codes[[2, 0, 2]])
    assert read_flow_images(folder, [], (8, 8)).shape == (0, 2, 8, 8)


def test_scaling_keeps_the_values(folder):
    small = read_flow_images(folder, [0, 1], (8, 9))
    assert small.shape == (2, 2, 8, 9)
    assert np.unique(small[:, 0]).tolist() == [0, 255]


def test_scaling_happens_in_the_coding(tmp_path):
    ramp = np.tile(np.arange(0, 240, 10, np.uint8), (16, 1))
    for half in ("u", "v"):
        (tmp_path / half).mkdir()
        cv2.imwrite(str(tmp_path / half / "frame000001.jpg"), ramp, [cv2.IMWRITE_JPEG_QUALITY, 100])
    stored = read_flow_images(tmp_path, [0])
    half = read_flow_images(tmp_path, [0], (16, 12))
    assert half.dtype == np.uint8
    assert np.abs(half.astype(float) - stored.reshape(1, 2, 16, 12, 2).mean(-1)).max() <= 0.5


def test_a_pair_is_named_by_its_u_half_or_by_the_folder_of_both(folder, tmp_path):
    beside = tmp_path / "v" / "class" / "clip"
    assert flow_folders(folder) == (folder, beside)
    assert flow_folders(tmp_path) == (tmp_path / "u", tmp_path / "v")
    for wrong in (tmp_path / "u" / "class" / "other", tmp_path / "none", beside):
        with pytest.raises(DataError, match="is no flow: neither a store"):
            flow_folders(wrong)


def test_what_cannot_be_read_names_the_image(folder):
    with pytest.raises(VideoError, match=r"frame000005\.jpg: no such flow image"):
        read_flow_images(folder, [4])
    (folder / "frame000002.jpg").write_bytes(b"")
    with pytest.raises(VideoError, match=r"frame000002\.jpg: an empty flow image"):
        read_flow_images(folder, [1])
    (folder / "frame000002.jpg").write_bytes(b"no picture at all")
    with pytest.raises(VideoError, match=r"frame000002\.jpg: this flow image cannot be decoded"):
        read_flow_images(folder, [1])
