"""The manifest: one table that describes a data set; a row is a video file or a segment of one."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kinema.data.tables import ALIASES, PATH_COLUMNS, Aside, check_suffix, read_table, write_table
from kinema.errors import DataError
from kinema.video.container import check_unchanged, is_there
from kinema.video.probe import VideoInfo, probe

__all__ = ["PATH_COLUMNS", "Manifest", "template"]

_TYPES = {"start": pa.float64(), "end": pa.float64(), "frame_index": pa.binary(), "fingerprint": pa.binary()}
_NOT_CONTENT = ("modified",)  # columns that change when files are copied
_OPENED_AT_ONCE = 256  # unpacked seek indices kept per process
_EXAMPLES = {"path": "clips/first.mp4", "start": 0.0, "end": 10.0, "label": "waving", "split": "train"}


class Manifest:
    """A typed view of a pyarrow table with one row per video or segment.

    Columns: `path`; optionally `start` and `end` (seconds after the first frame), `label`, `split`, `group`, `text`
    and the other `PATH_COLUMNS`; from a scan `frames`, `fps`, `duration`, `width`, `height`, `codec`, `rotation`,
    `mirrored`, `audio_tracks`, `bytes`, `modified` (time of last change, nanoseconds), `hash` and, in Parquet
    only, the binary `frame_index` (frame times and keyframes) and `fingerprint` (how it looks). Columns of any other
    name are kept.

    Attributes:
        table: the table.
        root: folder against which relative file names are resolved.
        set_aside: (path, reason) of the files that a scan could not read, which are therefore in no row. Parquet files
            keep them inside, CSV files in `NAME.quarantine.csv` beside them.
    """

    def __init__(self, table: pa.Table, root: str | Path, set_aside: Iterable[tuple[str, str]] = ()) -> None:
        if "path" not in table.column_names:
            raise DataError(f"no column 'path' (or {', '.join(ALIASES)}); columns: {', '.join(table.column_names)}")
        if len(set(table.column_names)) < len(table.column_names):
            raise DataError(f"two columns have the same name; columns: {', '.join(table.column_names)}")
        if not table.num_rows:
            raise DataError(f"the manifest in {root} has no rows")
        self.table = table.combine_chunks()
        # Looking a column up by its name takes longer than reading a frame from memory.
        self._columns = {name: self.table.column(name) for name in self.table.column_names}
        self.root = Path(root)
        self.set_aside = tuple((str(path), str(reason)) for path, reason in set_aside)
        self._probed: dict[str, dict[str, Any]] = {}
        self._infos: OrderedDict[str, VideoInfo] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """The table, the folder and what was set aside; each process opens its own videos."""
        return {"table": self.table, "root": self.root, "set_aside": self.set_aside}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @classmethod
    def read(cls, path: str | Path, *, check_files: bool = True) -> Manifest:
        """Read a `.csv` or `.parquet` manifest; a column `file`, `video` or `filename` is taken as `path` if none is.

        Raises:
            DataError: no such manifest, another suffix, no rows, no path column, or (with `check_files`) rows whose
                video does not exist.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: no such manifest; make one with  kinema scan FOLDER -o {path.name}")
        manifest = cls._named(path, *read_table(path))
        if check_files:
            manifest._check_files(path)
        return manifest

    @classmethod
    def from_rows(
        cls, rows: Sequence[Mapping[str, Any]], root: str | Path, set_aside: Iterable[tuple[str, str]] = ()
    ) -> Manifest:
        """Make a manifest of dictionaries; a key that a row lacks becomes an empty cell."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: _array(name, [row.get(name) for row in rows]) for name in names}
        if not rows:
            raise DataError(f"the manifest in {root} has no rows")
        return cls(pa.table(columns), root, set_aside)

    @classmethod
    def _named(cls, path: Path, table: pa.Table, set_aside: Aside) -> Manifest:
        try:
            return cls(table, path.parent, set_aside)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.table.column_names)

    def column(self, name: str) -> list[Any]:
        """All values of one column.

        Raises:
            DataError: no such column.
        """
        self.require((name,), "this")
        return list(self.table.column(name).to_pylist())

    def row(self, i: int) -> dict[str, Any]:
        """One row as a dictionary; empty cells are None."""
        return {name: values[i].as_py() for name, values in self._columns.items()}

    def path(self, i: int) -> Path:
        """The video file of row `i`."""
        return self.file(i, "path")

    def file(self, i: int, column: str) -> Path:
        """The file that one of `PATH_COLUMNS` names in row `i`.

        Raises:
            DataError: the cell is empty.
        """
        name = self._cell(i, column)
        if not name:
            raise DataError(f"row {i} ({self._cell(i, 'path')}) names no file in column '{column}'")
        return self.root / str(name)

    def video(self, i: int) -> VideoInfo:
        """Frame times and facts of the video of row `i`: from the columns of a scan, else probed once per process.

        Raises:
            VideoError: it cannot be read, or was changed since the scan.
        """
        key = str(self.path(i))
        info = self._infos.pop(key, None) or self._open(i, key)
        self._infos[key] = info
        if len(self._infos) > _OPENED_AT_ONCE:
            self._infos.popitem(last=False)
        return info

    def bounds(self, i: int) -> tuple[float, float]:
        """(start, end) of row `i` in seconds after the video's first frame; whole video where the cells are empty.

        Raises:
            DataError: the segment is empty or lies outside the video.
        """
        scanned = self._cell(i, "duration") if self._cell(i, "frame_index") else None
        duration = float(scanned or self.video(i).duration)
        start, end = _number(self._cell(i, "start"), 0.0), _number(self._cell(i, "end"), duration)
        if not 0 <= start < min(end, duration):
            raise DataError(
                f"row {i} ({self._cell(i, 'path')}): segment {start:g} to {end:g} s is empty or outside the video "
                f"(0 to {duration:g} s); correct columns start and end (seconds)"
            )
        return start, min(end, duration)

    def select(self, indices: npt.ArrayLike) -> Manifest:
        """The rows with these indices, in this order."""
        return Manifest(self.table.take(pa.array(np.asarray(indices, np.int64))), self.root, self.set_aside)

    def require(self, columns: Iterable[str], who: str) -> None:
        """Raise DataError unless all columns exist; `who` needs them, for example "method 'vatt'"."""
        missing = [name for name in columns if name not in self.table.column_names]
        if missing:
            named = f"column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
            raise DataError(
                f"{who} needs the {named}, which the manifest in {self.root} lacks; "
                f"it has {', '.join(self.table.column_names)}. Add it to the manifest and try again."
            )

    def labels(self, column: str = "label") -> tuple[npt.NDArray[np.int64], list[str]]:
        """Class number of each row (int64 [N]) and the sorted class names; numbers are sorted as numbers.

        Raises:
            DataError: no such column, or a row without a label.
        """
        values = ["" if value is None else str(value) for value in self.column(column)]
        if "" in values:
            i = values.index("")
            raise DataError(
                f"row {i} ({self._cell(i, 'path')}) has no '{column}' ({values.count('')} of {len(self)} rows lack "
                "it); fill it in or leave these rows out"
            )
        names = sorted(set(values), key=int if all(map(_is_integer, values)) else None)
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers[value] for value in values], np.int64), names

    def write(self, path: str | Path) -> None:
        """Write to a `.csv` or `.parquet`, whole or not at all.

        Relative file names are rewritten so that they hold from the new folder: relative below it, absolute elsewhere.
        CSV leaves the binary columns out; videos are then probed again when they are used.

        Raises:
            DataError: another suffix.
        """
        path = Path(path)
        check_suffix(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(self._rebased(path.parent), self.set_aside, path)

    def digest(self) -> str:
        """32 hexadecimal digits that depend on the order of rows and every cell but times of change and binary ones."""
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(self.table.column_names):
            if name not in _NOT_CONTENT and not pa.types.is_binary(self.table.schema.field(name).type):
                digest.update(json.dumps([name, self.column(name)], default=str).encode())
        return digest.hexdigest()

    def _cell(self, i: int, column: str) -> Any:
        values = self._columns.get(column)
        return None if values is None else values[i].as_py()

    def _open(self, i: int, key: str) -> VideoInfo:
        columns = self._probed.get(key) or self.row(i)
        if columns.get("frame_index") is None:
            self._refuse_packed(i, columns)
            columns = self._probed[key] = probe(key, fps=columns.get("fps")).to_columns()
        info = VideoInfo.from_columns(key, columns)
        if not columns.get("packed"):  # else its frames are in a store, and the file may be gone
            check_unchanged(info)
        return info

    def _refuse_packed(self, i: int, columns: Mapping[str, Any]) -> None:
        if columns.get("packed"):
            store = self.file(i, "packed")
            raise DataError(f"row {i} is packed but has no 'frame_index': use {store / 'manifest.parquet'}, not a CSV")

    def _home(self, i: int) -> Path:
        """Where the frames of row `i` are: the packed store, or the video file."""
        return self.file(i, "packed" if self._cell(i, "packed") else "path")

    def _check_files(self, source: Path) -> None:
        missing = [i for i in range(len(self)) if not is_there(self._home(i))]
        if missing:
            raise DataError(
                f"{source}: row {missing[0]} names {self._home(missing[0])}, which does not exist ({len(missing)} of "
                f"{len(self)} rows). Paths are relative to the manifest's own folder: correct them, move the manifest, "
                "or scan the videos anew."
            )

    def _rebased(self, folder: Path) -> pa.Table:
        table = self.table
        old, new = self.root.absolute(), folder.absolute()
        for name in PATH_COLUMNS if old != new else ():
            if name in table.column_names:
                paths = [_rebase(value, old, new) for value in self.column(name)]
                table = table.set_column(table.column_names.index(name), name, pa.array(paths, pa.string()))
        return table


def template(columns: Iterable[str]) -> str:
    """A CSV with these columns and one example row, to be filled in."""
    names = list(dict.fromkeys(("path", *columns)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerow([_EXAMPLES.get(name, f"{name}/first" if name in PATH_COLUMNS else "") for name in names])
    return text.getvalue()


def _array(name: str, values: list[Any]) -> pa.Array:
    if name in PATH_COLUMNS:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if name in _TYPES:
        return pa.array(values, _TYPES[name])
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"column '{name}' mixes kinds of values: {error}") from error


def _rebase(name: str | None, old: Path, new: Path) -> str | None:
    if not name or Path(name).is_absolute():
        return name
    path = Path(os.path.normpath(old / name))
    return str(path.relative_to(new)) if path.is_relative_to(new) else str(path)


def _number(value: float | None, default: float) -> float:
    return default if value is None or math.isnan(value) else float(value)


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and str(int(text)) == text
