"""Masks and joints of manifest rows: which frame a file belongs to, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from kinema.data.annotations import read_masks, read_positions
from kinema.data.manifest import Manifest
from kinema.errors import DataError
from tests.helpers import write_video


def picture(path, ids, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(ids, np.uint8))
    if mode == "P":
        image = image.convert("L")
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    image.save(path)


def frames(folder, numbers, size=(6, 8)):
    for number in numbers:
        picture(folder / f"{number:05d}.jpg", np.full((*size, 3), number))


def manifest(root, **row):
    return Manifest.from_rows([{"path": "frames", **row}], root)


def test_masks_belong_to_the_frames_of_their_number(tmp_path):
    frames(tmp_path / "frames", (5, 6, 7, 8))
    ids = np.zeros((6, 8), int)
    ids[2:, 3:] = 2
    for number in (5, 8):
        picture(tmp_path / "masks" / f"mask{number}.png", ids * (number == 8), mode="P")
    found = read_masks(manifest(tmp_path, masks="masks"), 0)
    assert list(found) == [0, 3]
    np.testing.assert_array_equal(found[3], ids)
    assert found[0].dtype == np.uint8 and not found[0].any()


def test_0_and_255_are_one_object_and_255_among_others_is_an_id(tmp_path):
    frames(tmp_path / "frames", (0, 1, 2))
    ids = np.zeros((6, 8), int)
    ids[0, 0] = 255
    picture(tmp_path / "binary" / "00000.png", ids * 0)
    picture(tmp_path / "binary" / "00001.png", ids)
    binary = read_masks(manifest(tmp_path, masks="binary"), 0)
    assert binary[0].max() == 0 and binary[1].max() == 1
    ids[1, 1] = 3
    picture(tmp_path / "several" / "00000.png", ids)
    assert np.unique(read_masks(manifest(tmp_path, masks="several"), 0)[0]).tolist() == [0, 3, 255]


def test_one_file_is_the_mask_of_the_first_frame_and_an_array_that_of_all(tmp_path):
    write_video(tmp_path / "frames.mp4", np.zeros((4, 16, 16, 3), np.uint8))
    picture(tmp_path / "first.png", np.eye(16))
    np.save(tmp_path / "all.npy", np.arange(4, dtype=np.uint8)[:, None, None].repeat(16, 1).repeat(16, 2))
    one = read_masks(manifest(tmp_path, path="frames.mp4", masks="first.png"), 0)
    assert list(one) == [0] and one[0].sum() == 16
    every = read_masks(manifest(tmp_path, path="frames.mp4", masks="all.npy"), 0)
    assert list(every) == [0, 1, 2, 3] and (every[2] == 2).all()


def test_masks_that_cannot_be_used_are_refused(tmp_path):
    frames(tmp_path / "frames", (0, 1, 2))
    picture(tmp_path / "late" / "00009.png", np.eye(4))
    picture(tmp_path / "colour" / "00000.png", np.zeros((4, 4, 3)))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "00000.png").write_bytes(b"no picture")
    np.save(tmp_path / "flat.npy", np.zeros((3, 3), np.uint8))
    for name, why in (
        ("late", "none of its 1 masks has the number of a frame"),
        ("nowhere", "not there"),
        ("flat.npy", r"masks are \[frames, height, width\]"),
    ):
        with pytest.raises(DataError, match=why):
            read_masks(manifest(tmp_path, masks=name), 0)
    np.save(tmp_path / "shares.npy", np.zeros((3, 4, 4)))
    with pytest.raises(DataError, match="holds float64; masks are whole numbers"):
        read_masks(manifest(tmp_path, masks="shares.npy"), 0)
    np.save(tmp_path / "high.npy", np.full((3, 4, 4), 256))
    np.save(tmp_path / "low.npy", np.full((3, 4, 4), -1))
    for name, why in (
        ("colour", "mode RGB; masks are indexed or grey"),
        ("broken", "cannot be read as a mask"),
        ("high.npy", r"ids from 256 to 256; they must lie in 0 … 255"),
        ("low.npy", r"ids from -1 to -1"),
    ):
        with pytest.raises(DataError, match=why):
            read_masks(manifest(tmp_path, masks=name), 0)[0]


def test_positions_count_from_0(tmp_path):
    from scipy.io import savemat

    positions = np.arange(2 * 15 * 4, dtype=float).reshape(2, 15, 4) + 1
    savemat(tmp_path / "joints.mat", {"pos_img": positions})
    found = read_positions(manifest(tmp_path, joints="joints.mat"), 0)
    assert found.shape == (4, 15, 2)
    assert found[3, 2].tolist() == [positions[0, 2, 3] - 1, positions[1, 2, 3] - 1]
    savemat(tmp_path / "other.mat", {"pos_world": positions})
    with pytest.raises(DataError, match=r"no joint_positions\.mat with pos_img"):
        read_positions(manifest(tmp_path, joints="other.mat"), 0)
    with pytest.raises(DataError, match=r"no joint_positions\.mat"):
        read_positions(manifest(tmp_path, joints="absent.mat"), 0)
