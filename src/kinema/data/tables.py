"""Manifests on disk: Parquet or CSV tables, and the list of the files that a scan set aside."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from kinema.errors import DataError

PATH_COLUMNS = (
    *("path", "audio", "imu", "masks", "flow", "boxes", "joints", "features", "packed"),
    *("feature_times", "text_features"),
    *("amodal", "parts", "true_flow", "truth"),
)
"""Columns that hold file names, relative to the manifest's folder or absolute."""

ALIASES = ("file", "video", "filename")
"""Names under which lists hold the column `path`."""

Aside = tuple[tuple[str, str], ...]
"""(path, reason) of files that cannot be read."""

_TEXT_COLUMNS = (*PATH_COLUMNS, *ALIASES, "label", "split", "group", "text", "codec", "hash")
_ASIDE_KEY = b"kinema.set_aside"


def check_suffix(path: Path) -> None:
    """Raise DataError unless it is that of a manifest."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"{path}: a manifest is a .csv or a .parquet file, not '{path.suffix}'")


def check_writable(path: Path) -> None:
    """Raise DataError unless a manifest can be written there; makes its folder."""
    check_suffix(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; choose another place with -o") from error


def read_table(path: Path) -> tuple[pa.Table, Aside]:
    """The table of a manifest file, and what was set aside by its scan.

    Raises:
        DataError: another suffix, or a file that cannot be read.
    """
    check_suffix(path)
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
            stored = json.loads((table.schema.metadata or {}).get(_ASIDE_KEY, b"[]"))
            return _with_path(table), tuple((file, reason) for file, reason in stored)
        types = {**dict.fromkeys(_TEXT_COLUMNS, pa.string()), "start": pa.float64(), "end": pa.float64()}
        table = pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=types))
        return _with_path(table), _read_quarantine(quarantine_file(path))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error


def write_table(table: pa.Table, aside: Aside, path: Path) -> None:
    """Write a manifest file, whole or not at all; CSV leaves the binary columns out and has its list beside it."""
    if path.suffix.lower() == ".parquet":
        metadata = {**(table.schema.metadata or {}), _ASIDE_KEY: json.dumps(aside).encode()}
        write_whole(path, lambda file: pq.write_table(table.replace_schema_metadata(metadata), file))
        return
    texts = [field.name for field in table.schema if not pa.types.is_binary(field.type)]
    write_whole(path, lambda file: pa_csv.write_csv(table.select(texts), file))
    write_quarantine(path, aside)


def quarantine_file(path: Path) -> Path:
    """Where the list of what was set aside lies: `NAME.quarantine.csv` beside the manifest."""
    return path.with_suffix(".quarantine.csv")


def write_quarantine(path: Path, aside: Iterable[tuple[str, str]]) -> None:
    """Write the list beside the manifest `path`, with the columns path and reason; none where nothing was set aside."""
    aside = list(aside)
    if not aside:
        quarantine_file(path).unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows(aside)
    content = text.getvalue().encode("utf-8", errors="backslashreplace")
    write_whole(quarantine_file(path), lambda file: file.write(content))


def _read_quarantine(path: Path) -> Aside:
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple((row["path"], row["reason"]) for row in csv.DictReader(file))


def _with_path(table: pa.Table) -> pa.Table:
    alias = next((name for name in ALIASES if name in table.column_names), None)
    if "path" in table.column_names or alias is None:
        return table
    return table.rename_columns(["path" if name == alias else name for name in table.column_names])


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace `path` in one step by what `write` writes into the file it is given; flushed to the disk first."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
