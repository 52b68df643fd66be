"""Arrays by key: features of one kind, one row per video, in memory or in a folder from which they are mapped.

A folder holds parts of bounded size, each `part-<name>.npy` [rows, …] with the rows' keys in `part-<name>.json` beside
it, written last: what has no keys beside it does not exist. Parts only ever come on top, so that an interrupted
extraction keeps what it finished and several evaluations may share one folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.errors import DataError
from kinema.training.files import write_atomic

Array = npt.NDArray[Any]
PRECISIONS = ("float32", "float16")
PART_BYTES = 64 * 2**20
"""A part is written as soon as it has grown to this size."""
MEMORY_BYTES = 2**30
"""Larger tables that are gathered from several parts lie in a temporary file, not in memory."""


class Store:
    """Rows of equal shape by key.

    Args:
        folder: where they are kept; None keeps them in memory.
        precision: "float32" or "float16".
    """

    def __init__(self, folder: Path | None, precision: str = "float32") -> None:
        self.folder, self.precision = folder, np.dtype(precision)
        self._parts: list[Array] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, Array] = {}
        for listed in sorted(folder.glob("part-*.json")) if folder is not None and folder.is_dir() else ():
            self._append(*_read_part(listed))

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._waiting

    def add(self, key: str, row: Array) -> None:
        """Keep one row.

        Raises:
            DataError: a value is too large for half precision.
        """
        with np.errstate(over="ignore"):
            kept = row.astype(self.precision)
        if self.precision != np.float32 and not np.isfinite(kept).all():
            raise DataError("a feature is too large for float16 (65504): keep features as float32")
        self._waiting[key] = kept
        if kept.nbytes * len(self._waiting) >= PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last time."""
        if not self._waiting:
            return
        keys, values = list(self._waiting), np.stack(list(self._waiting.values()))
        self._waiting = {}
        if self.folder is not None:
            listed = self.folder / f"part-{hashlib.blake2b(json.dumps(keys).encode(), digest_size=8).hexdigest()}.json"
            buffer = io.BytesIO()
            np.save(buffer, values)
            write_atomic(listed.with_suffix(".npy"), buffer.getvalue())
            write_atomic(listed, json.dumps(keys))
            keys, values = _read_part(listed)
        self._append(keys, values)

    def gather(self, keys: Sequence[str]) -> Array:
        """The rows of these keys in order; read-only and not loaded where they lie together in one part."""
        self.flush()
        places = np.array([self._places[key] for key in keys], np.int64).reshape(-1, 2)
        parts = np.unique(places[:, 0])
        if not len(parts):
            return np.zeros((0, 1, 1), self.precision)
        first = int(places[0, 1])
        if len(parts) == 1 and np.array_equal(places[:, 1], first + np.arange(len(keys))):
            rows: Array = self._parts[parts[0]][first : first + len(keys)]
            return rows
        found = room((len(keys), *self._parts[parts[0]].shape[1:]), self.precision)
        for number in parts:
            chosen = places[:, 0] == number
            found[chosen] = self._parts[number][places[chosen, 1]]
        return found

    def _append(self, keys: Sequence[str], values: Array) -> None:
        self._places |= {key: (len(self._parts), row) for row, key in enumerate(keys)}
        self._parts.append(values)


def _read_part(listed: Path) -> tuple[list[str], Array]:
    stored = listed.with_suffix(".npy")
    try:
        keys: list[str] = json.loads(listed.read_text())
        values = np.load(stored, mmap_mode="r", allow_pickle=False)
        if len(keys) != len(values):
            raise ValueError(f"{len(values)} rows for {len(keys)} keys")
    except (OSError, ValueError) as error:
        raise DataError(f"{stored} cannot be read: {error}; delete it with {listed.name} and evaluate again") from error
    return keys, values


def room(shape: tuple[int, ...], precision: np.dtype[Any]) -> Array:
    """An array to be filled, in memory or, where it would be large, in a temporary file."""
    if int(np.prod(shape)) * precision.itemsize <= MEMORY_BYTES:
        return np.empty(shape, precision)
    with tempfile.TemporaryFile() as file:  # the mapping outlives the name and the handle
        return np.memmap(file, precision, "w+", shape=shape)
