"""Frames of a manifest row, from wherever they are: its video file, or a packed store."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.packed.reading import fit_frames, open_store
from kinema.errors import DataError
from kinema.video.decode import read_frames

Indices = npt.NDArray[np.int64]


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
    if cell(manifest, row, "packed") is None:
        return read_frames(manifest.video(row), indices, size)
    addresses = stored_numbers(manifest, row, "packed", np.asarray(indices, np.int64))
    store = open_store(manifest.file(row, "packed"))
    return fit_frames(store.read(addresses).transpose(0, 2, 3, 1), size, store, warn=not thumbnail)


def stored_numbers(manifest: Manifest, row: int, column: str, wanted: Indices) -> Indices:
    """Where in a store the pictures `wanted` of a row's video lie.

    Raises:
        DataError: the store holds only other parts of that video.
    """
    first, stop, at = (int(cell(manifest, row, f"{column}_{name}")) for name in ("first", "stop", "at"))
    if len(wanted) and not (first <= wanted.min() and wanted.max() < stop):
        raise DataError(
            f"row {row} ({cell(manifest, row, 'path')}): pictures {wanted.min()} to {wanted.max()} are wanted, but the "
            f"store {manifest.file(row, column)} holds {first} to {stop - 1}: pack the whole file, without the columns "
            "start and end"
        )
    return wanted - first + at


def cell(manifest: Manifest, row: int, column: str) -> Any:
    """One cell; None where it is empty or the column is missing."""
    table = manifest.table
    return table.column(column)[row].as_py() if column in table.column_names else None
