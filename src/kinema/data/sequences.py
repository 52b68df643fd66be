"""Sequences of embeddings: a long video as an array [S, d], one vector per segment, named by the column `features`.

They come from `kinema embed --segments`, or from anywhere else: a folder of `.npy` arrays, a table with the column
`features`, or a table of LV-MAE's original form, whose column `segment_paths` lists one file per segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.segment_lists import SEGMENT_PATHS, join_segments
from kinema.data.tables import read_table
from kinema.errors import DataError

FEATURES = "features"
"""Column of the arrays [S, d]."""
TIMES = "feature_times"
"""Column of arrays [S, 2]: start and end of each segment, seconds after the first frame; made by `kinema embed`."""
SETTINGS = "segments.json"
"""In a folder that `kinema embed --segments` writes, beside manifest.parquet: how the vectors were made."""

Array = npt.NDArray[Any]


class Shapes(NamedTuple):
    """Sizes of the arrays of a column: `lengths` int64 [N], and d, which all share."""

    lengths: npt.NDArray[np.int64]
    dim: int


def open_sequences(source: Path) -> Manifest | None:
    """The manifest of a folder of arrays or of a table whose rows are sequences; None where it is something else.

    Arrays that cannot be read are set aside with the reason. Where the videos are not there, `path` names the arrays.

    Raises:
        DataError: no array can be read.
    """
    if source.is_dir():
        return _from_folder(source)
    return _from_table(source) if source.suffix.lower() in (".csv", ".parquet") else None


def read_sequence(manifest: Manifest, row: int, column: str = FEATURES) -> Array:
    """The array [S, d] of one row, memory-mapped.

    Raises:
        DataError: the cell is empty, or the file holds no such array.
    """
    return _load(manifest.file(row, column))


def sequence_shapes(manifest: Manifest, column: str = FEATURES) -> Shapes:
    """Sizes of all arrays of a column; only their headers are read.

    Raises:
        DataError: one cannot be read, or vectors have different dimensions.
    """
    manifest.require((column,), "a method of segment embeddings")
    shapes = [read_sequence(manifest, row, column).shape for row in range(len(manifest))]
    dims = sorted({shape[1] for shape in shapes})
    if len(dims) > 1:
        row = next(row for row, shape in enumerate(shapes) if shape[1] != shapes[0][1])
        raise DataError(
            f"column '{column}' mixes vectors of {' and '.join(map(str, dims))} numbers, first in row {row} "
            f"({manifest.file(row, column)}): embed all videos with one encoder"
        )
    return Shapes(np.array([shape[0] for shape in shapes], np.int64), dims[0])


def _load(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no readable .npy array: {error}; make it again, or remove its row") from error
    if array.ndim != 2 or not array.size or array.dtype.kind != "f":
        raise DataError(f"{path} must hold floating-point numbers [segments, d], not {array.dtype} {array.shape}")
    return array


def _from_folder(folder: Path) -> Manifest | None:
    if (folder / SETTINGS).is_file():
        return Manifest.read(folder / "manifest.parquet", check_files=False)
    files = sorted(file.relative_to(folder) for file in folder.rglob("*.npy"))
    if not files:
        return None
    rows: list[dict[str, Any]] = [{"path": str(file), FEATURES: str(file)} for file in files]
    if all(len(file.parts) > 1 for file in files) and len({file.parts[0] for file in files}) > 1:
        rows = [{**row, "label": file.parts[0]} for row, file in zip(rows, files, strict=True)]
    return _readable(Manifest.from_rows(rows, folder))


def _from_table(source: Path) -> Manifest | None:
    table, aside = read_table(source)
    if SEGMENT_PATHS in table.column_names:
        return join_segments(source)
    if FEATURES not in table.column_names:
        return None
    if "path" not in table.column_names:
        table = table.append_column("path", table.column(FEATURES))
    manifest = Manifest(table, source.parent, aside)
    if any(name and name != array and (source.parent / name).exists() for name, array in _named(manifest)):
        # The rows are videos that are there: they are scanned like any others, and keep the column.
        return None
    place = table.column_names.index("path")
    return _readable(Manifest(table.set_column(place, "path", table.column(FEATURES)), source.parent, aside))


def _named(manifest: Manifest) -> Iterator[tuple[str | None, str | None]]:
    return zip(manifest.column("path"), manifest.column(FEATURES), strict=True)


def _readable(manifest: Manifest) -> Manifest:
    """The rows whose array can be read; the others are set aside."""
    kept, aside = [], dict(manifest.set_aside)
    for row, name in enumerate(manifest.column(FEATURES)):
        try:
            read_sequence(manifest, row)
            kept.append(row)
        except DataError as error:
            aside[str(name)] = str(error)
    if not kept:
        raise DataError(
            f"{manifest.root}: none of {len(aside)} arrays can be read; the first: {next(iter(aside.values()))}"
        )
    return Manifest(manifest.select(kept).table, manifest.root, aside.items())
