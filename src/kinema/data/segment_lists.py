"""LV-MAE's original tables: one row per video, a list of embedding files in the order of time."""

from __future__ import annotations

import ast
import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.tables import read_table, write_whole
from kinema.errors import DataError

SEGMENT_PATHS = "segment_paths"
"""Column of lists, written as text: "['a/00000-00005.pt', …]"."""
_COUNT = "number_of_segments"
_NAMES = ("path", "video_filename")


class Segment(NamedTuple):
    """One embedding [d], and the seconds that it stands for where they are stated."""

    vector: npt.NDArray[np.float32]
    start: float
    end: float


def join_segments(source: Path) -> Manifest:
    """The manifest of such a table; the vectors of each row are joined once into one array, below `NAME.sequences`.

    A row whose list or files cannot be read is set aside with the reason. What was joined before is not read again.

    Raises:
        DataError: no row can be read.
    """
    table, aside = read_table(source)
    rows, broken, folder = [], list(aside), source.with_suffix(".sequences")
    for row in table.to_pylist():
        name = str(next((row[key] for key in _NAMES if row.get(key)), row[SEGMENT_PATHS])).strip()
        try:
            array, times = _joined(row, source.parent, folder)
        except DataError as error:
            broken.append((name, str(error)))
            continue
        kept = {key: value for key, value in row.items() if key not in (SEGMENT_PATHS, "path")}
        places = {"path": str(array), "features": str(array), "feature_times": str(times)}
        rows.append({**places, "video": name, **kept})
    if not rows:
        raise DataError(f"{source}: none of {len(broken)} rows can be read; the first: {broken[0][1]}")
    return Manifest.from_rows(rows, source.parent, broken)


def segment_list(text: Any) -> list[str]:
    """The file names of a cell of `segment_paths`; nothing is executed.

    Raises:
        DataError: it is no list of texts.
    """
    try:
        names = ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError) as error:
        raise DataError(f"'{SEGMENT_PATHS}' must be a list of file names, got {str(text)[:60]!r}") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"'{SEGMENT_PATHS}' must be a list of file names, got {str(text)[:60]!r}")
    return names


def read_segment(path: Path) -> Segment:
    """One embedding file: `.npy` [d], or `.pt` with a dictionary of `embedding` [d], `start` and `end` (seconds).

    Raises:
        DataError: it cannot be read, or holds more than tensors, arrays and plain values.
    """
    try:
        found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _tensors(path)
    except Exception as error:  # whatever a damaged file makes the restricted reader stumble over
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is no readable embedding (.npy, or .pt of tensors and numbers): {reason}") from error
    facts = found if isinstance(found, dict) else {"embedding": found}
    vector = np.asarray(facts.get("embedding", ()), np.float32).squeeze()
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise DataError(f"{path} must hold one finite embedding [d], not shape {vector.shape}")
    start, end = (float(facts.get(name, np.nan)) for name in ("start", "end"))
    return Segment(vector, start, end)


def _tensors(path: Path) -> Any:
    import torch

    # What numpy arrays are rebuilt by; they hold numbers only.
    multiarray = import_module("numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray")
    allowed = [multiarray._reconstruct, multiarray.scalar, np.ndarray, np.dtype]
    allowed += [type(np.dtype(name)) for name in ("float16", "float32", "float64")]
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, map_location="cpu", weights_only=True)


def _joined(row: dict[str, Any], root: Path, folder: Path) -> tuple[Path, Path]:
    """Arrays of vectors and of times of one row, relative to `root`; written where they are not there yet."""
    names = segment_list(row[SEGMENT_PATHS])
    stated = row.get(_COUNT)
    if stated is not None and int(stated) != len(names):
        raise DataError(f"'{_COUNT}' is {stated}, but '{SEGMENT_PATHS}' lists {len(names)} files")
    key = hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
    vectors, times = folder / f"{key}.npy", folder / f"{key}.times.npy"
    if not vectors.exists():
        segments = [read_segment(root / name) for name in names]
        if len({len(segment.vector) for segment in segments}) > 1:
            raise DataError(f"{root / names[0]} and its neighbours have embeddings of different dimensions")
        folder.mkdir(exist_ok=True)
        write_whole(times, lambda file: np.save(file, np.array([[s.start, s.end] for s in segments])))
        write_whole(vectors, lambda file: np.save(file, np.stack([s.vector for s in segments])))
    return vectors.relative_to(root), times.relative_to(root)
