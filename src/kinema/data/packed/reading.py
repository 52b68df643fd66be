"""Random access to a packed store."""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kinema.data.packed.coding import decode
from kinema.data.packed.layout import data_file, index_file, read_layout
from kinema.errors import DataError, VideoError

Indices = npt.NDArray[np.int64]
Pictures = npt.NDArray[Any]

INDEX = np.dtype([("end", "<i8"), ("checksum", "<u8")])
"""One picture in an index file."""

_OPEN_AT_ONCE = 64


class Store:
    """A store that is read: its files are mapped when first used, at most 64 at a time, and nothing is copied early.

    Attributes:
        folder: where it lies.
        layout: what it holds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.layout = folder, read_layout(folder)
        self._maps: OrderedDict[int, tuple[Pictures, Indices]] = OrderedDict()

    def read(self, numbers: Indices) -> Pictures:
        """Pictures by number: [len(numbers), channels, height, width].

        Evenly spaced pictures of a raw store are a read-only view of the file.

        Raises:
            VideoError: a file of the store is missing or damaged.
        """
        files = numbers // self.layout.per_file
        if self.layout.format == "raw" and len(numbers) and files[0] == files[-1]:
            steps = np.diff(numbers)
            step = int(steps[0]) if len(steps) else 1
            if step > 0 and (steps == step).all():
                inside = int(numbers[0]) % self.layout.per_file
                return self._map(int(files[0]))[0][inside : inside + step * len(numbers) : step]
        out = np.empty((len(numbers), *self.layout.shape), self.layout.dtype)
        for file in np.unique(files).tolist():
            slots = np.flatnonzero(files == file)
            self._fill(out, slots, file, numbers[slots] % self.layout.per_file)
        return out

    def _fill(self, out: Pictures, slots: Indices, file: int, inside: Indices) -> None:
        data, ends = self._map(file)
        if self.layout.format == "raw":
            out[slots] = data[inside]
            return
        for slot, number in zip(slots.tolist(), inside.tolist(), strict=True):
            start = int(ends[number - 1]) if number else 0
            try:
                out[slot] = decode(data[start : int(ends[number])], self.layout)
            except ValueError as error:
                raise VideoError(data_file(self.folder, file, self.layout), f"picture {number}: {error}") from error

    def _map(self, file: int) -> tuple[Pictures, Indices]:
        """The pictures of one file (raw) or its bytes (intra), and where each picture ends."""
        found = self._maps.pop(file, None) or self._open(file)
        self._maps[file] = found
        if len(self._maps) > _OPEN_AT_ONCE:
            self._maps.popitem(last=False)
        return found

    def _open(self, file: int) -> tuple[Pictures, Indices]:
        path = data_file(self.folder, file, self.layout)
        first, stop = self.layout.span(file)
        try:
            if self.layout.format == "intra":
                index = np.load(index_file(self.folder, file), mmap_mode="r", allow_pickle=False)
                return np.memmap(path, np.uint8, "r")[: int(index["end"][-1])], index["end"]
            data = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, IndexError) as error:
            raise VideoError(path, f"this file of the packed store cannot be read ({error}): pack it anew") from error
        if data.shape != (stop - first, *self.layout.shape) or data.dtype != self.layout.dtype:
            raise VideoError(path, f"this file of the packed store holds {data.dtype} {data.shape}: pack it anew")
        # A plain array: slices of the memmap class cost more than the copy of a picture.
        return np.asarray(data), np.zeros(0, np.int64)


@cache
def open_store(folder: Path) -> Store:
    """The store in a folder, opened once per process.

    Raises:
        DataError: there is none.
    """
    return Store(folder)


def fit_frames(frames: Pictures, size: tuple[int, int] | None, store: Store, *, warn: bool = True) -> Pictures:
    """Frames [T, H, W, 3] of a store at the size asked for: as they are, or scaled down by averaging areas.

    Raises:
        DataError: the store's are smaller.
    """
    stored = (store.layout.height, store.layout.width)
    if size is None or size == stored:
        return frames
    if size[0] > stored[0] or size[1] > stored[1]:
        raise DataError(
            f"frames of {size[0]}x{size[1]} are wanted, but {store.folder} holds {stored[0]}x{stored[1]} (height x "
            f"width): pack the videos with --size {size[0]}x{size[1]}, or ask for smaller frames (resize)"
        )
    if warn:
        _warn_of_scaling(str(store.folder), stored, size)
    return np.stack([cv2.resize(np.ascontiguousarray(f), size[::-1], interpolation=cv2.INTER_AREA) for f in frames])


@cache
def _warn_of_scaling(folder: str, stored: tuple[int, int], size: tuple[int, int]) -> None:
    """Once per process, and not again in every worker."""
    torch = sys.modules.get("torch")
    worker = torch.utils.data.get_worker_info() if torch else None
    if worker is None or worker.id == 0:
        warnings.warn(
            f"{folder} holds frames of {stored[0]}x{stored[1]}; they are scaled to {size[0]}x{size[1]} (height x "
            "width) while reading, which costs time and differs a little from frames read from the videos",
            stacklevel=5,
        )
