"""What people drew on videos: masks with ids, and the joints of persons, frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import DataError, KinemaError
from kinema.video.images import frame_files

Ids = npt.NDArray[np.uint8]

_GREY = ("1", "L", "P", "I;16", "I")  # modes of PIL whose pixels are numbers
_ARRAY = ".npy"
_NUMBER = re.compile(r"(\d+)$")


class Masks(Mapping[int, Ids]):
    """The masks of one video: frame index to ids uint8 [H, W], read when asked for; frames may lack one.

    A folder of indexed or grey PNG files, one such file (of the first frame), or an array [T, H, W] in a `.npy`. A file
    belongs to the frame with its number: that of a folder of images, or the index in a video file. Where a folder holds
    0 and 255 alone, 255 is object 1.

    Raises:
        DataError: a mask cannot be read, or belongs to no frame.
    """

    def __init__(self, path: Path, frames: Mapping[int, int]) -> None:
        self.path = path
        self._array = _load_array(path) if path.suffix == _ARRAY else None
        self._files = {} if self._array is not None else _mask_files(path, frames)
        self._is_binary: bool | None = None

    def __len__(self) -> int:
        return len(self._files) if self._array is None else len(self._array)

    def __iter__(self) -> Iterator[int]:
        return iter(self._files) if self._array is None else iter(range(len(self._array)))

    def __getitem__(self, frame: int) -> Ids:
        if self._array is not None:
            return _as_ids(np.asarray(self._array[frame]), self.path)
        ids = _read_mask(self._files[frame])
        return (ids > 0).astype(np.uint8) if self._binary() else ids

    def _binary(self) -> bool:
        """Whether 255 means the one object: the first masks that show anything decide."""
        if self._is_binary is None:
            shown = (_read_mask(file) for file in self._files.values())
            first = next((ids for ids in shown if ids.any()), np.zeros((1, 1), np.uint8))
            self._is_binary = bool(np.isin(first, (0, 255)).all())
        return self._is_binary


def read_masks(manifest: Manifest, row: int) -> Masks:
    """The masks that the column `masks` names.

    Raises:
        DataError: the cell is empty, there is no such file or folder, or its files belong to no frame.
        VideoError: the video cannot be read.
    """
    place = manifest.file(row, "masks")
    if not place.exists():
        raise DataError(f"{place}: named by the column 'masks' of row {row}, but not there")
    video = manifest.path(row)
    if not video.is_dir():
        return Masks(place, {index: index for index in range(manifest.video(row).frames)})
    numbers = [_number(file) for file in frame_files(video)]
    return Masks(place, {number: index for index, number in enumerate(numbers) if number is not None})


def read_positions(manifest: Manifest, row: int) -> npt.NDArray[np.float64]:
    """The joints that the column `joints` names, (x, y) in pixels from 0: float64 [T, J, 2].

    The file is JHMDB's `joint_positions.mat`: `pos_img` [2, J, T], whose positions count from 1.

    Raises:
        DataError: the cell is empty, or the file is absent or of another kind.
    """
    from scipy.io import loadmat

    path = manifest.file(row, "joints")
    try:
        found: Any = loadmat(path)["pos_img"]
        positions = np.asarray(found, np.float64).transpose(2, 1, 0) - 1.0
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path}: is no joint_positions.mat with pos_img [2, joints, frames]: {error}") from error
    if positions.shape[-1] != 2:
        raise DataError(f"{path}: pos_img is {found.shape}, not [2, joints, frames]")
    return positions


def _mask_files(path: Path, frames: Mapping[int, int]) -> dict[int, Path]:
    """Mask files by the frame that they belong to; `frames` is from numbers to indices."""
    if path.is_file():
        return {0: path}
    try:
        files = frame_files(path)
    except KinemaError:  # a folder with the mask of one frame is no series
        files = sorted(path.glob("*.png"))
    numbered = {number: file for file in files if (number := _number(file)) is not None}
    found = {frames[number]: file for number, file in numbered.items() if number in frames}
    if not found:
        raise DataError(f"{path}: none of its {len(files)} masks has the number of a frame")
    return dict(sorted(found.items()))


def _number(file: Path) -> int | None:
    match = _NUMBER.search(file.stem)
    return int(match[1]) if match else None


def _read_mask(path: Path) -> Ids:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in _GREY:
                raise DataError(f"{path}: is a picture of mode {image.mode}; masks are indexed or grey PNG files")
            ids = np.asarray(image, np.int64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a mask: {error}") from error
    return _as_ids(ids, path)


def _as_ids(ids: npt.NDArray[Any], path: Path) -> Ids:
    """Whole numbers [H, W] as ids; refused where they would become other numbers."""
    if ids.max(initial=0) > 255 or ids.min(initial=0) < 0:
        raise DataError(f"{path}: holds ids from {ids.min()} to {ids.max()}; they must lie in 0 … 255")
    return np.asarray(ids, np.uint8)


def _load_array(path: Path) -> Any:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as masks: {error}") from error
    if array.ndim != 3:
        raise DataError(f"{path}: holds an array {array.shape}; masks are [frames, height, width]")
    if array.dtype.kind not in "bui":
        raise DataError(f"{path}: holds {array.dtype}; masks are whole numbers, 0 for the background")
    return array
