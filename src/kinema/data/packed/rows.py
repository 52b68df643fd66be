"""Frames of a manifest row, from wherever they are: its video file, or a packed store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.packed.reading import fit_frames, open_store
from kinema.errors import DataError
from kinema.video.decode import read_frames, read_sizes
from kinema.video.info import VideoInfo

Indices = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]
Size = tuple[int, int]


def read_row(
    manifest: Manifest,
    row: int,
    indices: npt.ArrayLike,
    size: tuple[int, int] | None = None,
    *,
    thumbnail: bool = False,
) -> npt.NDArray[np.uint8]:
    """Frames of one row by index, as `kinema.video.decode.read_frames` reads them from the row's file.

    A row that a packed store holds is read from there; its frames come as they are stored, and where another size is
    asked for they are scaled down, with a warning. The result may be a read-only view of the stored pictures.

    Args:
        manifest: the table.
        row: number of the row.
        indices: frames of the video as the manifest describes it, repeated and unordered allowed.
        size: (height, width); None keeps the stored size.
        thumbnail: scale packed frames down without a warning, where exactness does not matter.

    Returns:
        uint8 RGB [len(indices), height, width, 3]; packed frames lie in memory as [frames, 3, height, width].

    Raises:
        IndexError: an index outside the video.
        VideoError: a frame cannot be read.
        DataError: the store does not hold these frames, or only smaller ones.
    """
    return read_row_sizes(manifest, row, {size: indices}, thumbnails={size: thumbnail})[size]


def read_row_sizes(
    manifest: Manifest,
    row: int,
    wanted: Mapping[Size | None, npt.ArrayLike],
    *,
    thumbnails: Mapping[Size | None, bool] | None = None,
) -> dict[Size | None, Frames]:
    """Frames of one row at several sizes, out of one decode: by size, what `read_row` returns for these indices."""
    found = pointer(manifest, row, "packed")
    if found is None:
        return _decoded(manifest.video(row), wanted)
    store, quiet = open_store(found.path), thumbnails or {}
    clips: dict[Size | None, Frames] = {}
    for size, indices in wanted.items():
        pictures = store.read(found.numbers(np.asarray(indices, np.int64))).transpose(0, 2, 3, 1)
        clips[size] = fit_frames(pictures, size, store, warn=not quiet.get(size, False))
    return clips


def _decoded(info: VideoInfo, wanted: Mapping[Size | None, npt.ArrayLike]) -> dict[Size | None, Frames]:
    stored = (info.height, info.width)
    if None in wanted and stored in wanted:  # one size by two names
        return {size: read_frames(info, indices, size) for size, indices in wanted.items()}
    found = read_sizes(info, {size or stored: indices for size, indices in wanted.items()})
    return {size: found[size or stored] for size in wanted}


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where the pictures of a row are stored.

    Attributes:
        path: the store, or another folder that the column names.
        row: number of the row.
        first, stop: pictures of its video that the store holds.
        at: number of the first one in the store.
    """

    path: Path
    row: int
    first: int
    stop: int
    at: int

    def numbers(self, wanted: Indices) -> Indices:
        """Where in the store the pictures `wanted` of the video lie.

        Raises:
            DataError: the store holds only other parts of that video.
        """
        if len(wanted) and not (self.first <= wanted.min() and wanted.max() < self.stop):
            raise DataError(
                f"row {self.row}: pictures {wanted.min()} to {wanted.max()} of its video are wanted, but the store "
                f"{self.path} holds {self.first} to {self.stop - 1}: store the whole file, without the columns start "
                "and end"
            )
        return wanted + (self.at - self.first)


def pointer(manifest: Manifest, row: int, column: str) -> Pointer | None:
    """Where the pictures are that `column` points to; None where the row has none."""
    columns = _columns(manifest, column)
    code = -1 if columns is None else int(columns.codes[row])
    if columns is None or code < 0:
        return None
    return Pointer(columns.paths[code], row, *columns.places[row].tolist())


class _Columns(NamedTuple):
    """The columns of all rows as arrays: looking a cell up in a table takes as long as copying a frame."""

    paths: list[Path]
    codes: npt.NDArray[np.int32]
    places: Indices


_known: WeakKeyDictionary[Manifest, dict[str, _Columns | None]] = WeakKeyDictionary()


def _columns(manifest: Manifest, column: str) -> _Columns | None:
    known = _known.setdefault(manifest, {})
    if column not in known:
        known[column] = _look_up(manifest, column)
    return known[column]


def _look_up(manifest: Manifest, column: str) -> _Columns | None:
    table = manifest.table
    if column not in table.column_names:
        return None
    coded = table.column(column).combine_chunks().dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    places = np.zeros((len(manifest), 3), np.int64)
    for k, part in enumerate(("first", "stop", "at")):
        if f"{column}_{part}" in table.column_names:
            places[:, k] = table.column(f"{column}_{part}").fill_null(0).to_numpy()
    return _Columns([manifest.root / name for name in coded.dictionary.to_pylist()], codes, places)
