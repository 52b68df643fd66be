"""The manifest of a finished store, and the check that a store is as it was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kinema.data.manifest import Manifest
from kinema.data.packed.coding import checksum
from kinema.data.packed.layout import (
    MANIFEST_FILE,
    Layout,
    data_file,
    facts_file,
    finished_manifest,
    index_file,
    read_layout,
)
from kinema.data.packed.planning import Plan, kept_frames, rows_by_file, thinned
from kinema.data.packed.writing import Job
from kinema.errors import DataError

Progress = Callable[[int, int], None]


class Finished(NamedTuple):
    """A store that can be used: its manifest, and (path, reason) of the videos that are not in it."""

    manifest: Manifest
    quarantined: list[tuple[str, str]]


def finish(job: Job) -> Finished:
    """Write the manifest of a store whose data files are all there.

    Rows keep all their columns. `packed` (or `flow`) names the store; `…_at` is the number of the video's first stored
    picture, `…_first` and `…_stop` its stored pictures as numbered through the video, `…_hash` a checksum of them. A
    store of frames replaces the columns that describe the video by those of the packed one; the width and height of the
    source are kept as `source_width` and `source_height`.

    Raises:
        DataError: no video could be read.
    """
    files = list(rows_by_file(job.manifest).items())
    broken = {**job.plan.unread, **_broken(job)}
    quarantined = [(files[entry][0], reason) for entry, reason in sorted(broken.items())]
    kept = {row: entry for entry, (_, rows) in enumerate(files) if entry not in broken for row in rows}
    if not kept:
        raise DataError(
            f"{job.folder}: none of {len(files)} videos can be read; the first, {': '.join(quarantined[0])}"
        )
    rows = sorted(kept)
    manifest = _pointing(job, job.manifest.select(rows), [kept[row] for row in rows])
    manifest = Manifest(manifest.table, manifest.root, [*manifest.set_aside, *quarantined])
    for leftover in job.folder.glob(".*.tmp"):  # of processes that were killed
        leftover.unlink(missing_ok=True)
    manifest.write(job.folder / MANIFEST_FILE)
    return Finished(Manifest.read(job.folder / MANIFEST_FILE, check_files=False), quarantined)


def _broken(job: Job) -> dict[int, str]:
    facts = (json.loads(facts_file(job.folder, file).read_bytes()) for file in range(job.layout.files))
    return {int(entry): reason for fact in facts for entry, reason in fact["broken"].items()}


def _pointing(job: Job, manifest: Manifest, entries: list[int]) -> Manifest:
    """The rows with the columns that lead to their pictures."""
    plan, name = job.plan, job.layout.column
    hashes = _hashes(job)
    # Relative to the old folder: writing the manifest turns it into ".", so that a store can be moved.
    store = os.path.relpath(job.folder.absolute(), manifest.root.absolute())
    columns: dict[str, Any] = {
        name: pa.array([store] * len(entries), pa.string()),
        f"{name}_at": plan.starts[entries],
        f"{name}_first": plan.firsts[entries],
        f"{name}_stop": plan.stops[entries],
        f"{name}_hash": pa.array([hashes[entry] for entry in entries], pa.string()),
    }
    if job.layout.kind == "frames":
        columns |= _video_columns(job, manifest, entries)
    table = manifest.table
    for column, values in columns.items():
        table = table.drop_columns([column]) if column in table.column_names else table
        table = table.append_column(column, pa.array(values))
    return Manifest(table, manifest.root, manifest.set_aside)


def _video_columns(job: Job, manifest: Manifest, entries: list[int]) -> dict[str, list[Any]]:
    """What a scan would say of the packed videos."""
    size = (job.layout.height, job.layout.width)
    rows: list[dict[str, Any]] = []
    for row, entry in enumerate(entries):
        if row and entry == entries[row - 1]:
            rows.append(rows[-1])
            continue
        info = manifest.video(row)
        source = {"source_width": info.width, "source_height": info.height}
        rows.append({**thinned(info, kept_frames(info, job.layout), size).to_columns(), **source})
    names = rows[0].keys() - ({"source_width", "source_height"} & set(manifest.columns))
    return {name: [row[name] for row in rows] for name in rows[0] if name in names}


def _hashes(job: Job) -> list[str]:
    """Per entry, 128 bits over the checksums of its pictures."""
    digests = [hashlib.blake2b(digest_size=16) for _ in job.plan.rows]
    for file in range(job.layout.files):
        first, stop = job.layout.span(file)
        index = np.load(index_file(job.folder, file), allow_pickle=False)
        done = 0
        for piece in job.plan.pieces((first, stop)):
            count = piece.stop - piece.first
            digests[piece.entry].update(index["checksum"][done : done + count].tobytes())
            done += count
    return [digest.hexdigest() for digest in digests]


def verify(folder: Path, *, progress: Progress | None = None) -> list[str]:
    """Read a whole store and compare every picture with its checksum; a sentence per damage, none where all is well.

    Raises:
        DataError: the folder is no store, or not finished.
    """
    layout, plan = read_layout(folder), Plan.read(folder)
    manifest = Manifest.read(finished_manifest(folder), check_files=False)
    firsts = dict(zip(manifest.column(f"{layout.column}_at"), manifest.column("path"), strict=True))
    found = []
    for file in range(layout.files):
        damaged, complaint = _damaged(folder, file, layout)
        found += [complaint] if complaint else []
        paths = dict.fromkeys(firsts.get(int(at), "") for at in _entry_starts(plan, damaged))
        found += [f"{path}: damaged in {data_file(folder, file, layout)}" for path in paths if path]
        if progress:
            progress(file + 1, layout.files)
    return found


def _entry_starts(plan: Plan, pictures: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return plan.starts[np.searchsorted(plan.starts, pictures, side="right") - 1]


def _damaged(folder: Path, file: int, layout: Layout) -> tuple[npt.NDArray[np.int64], str]:
    """Numbers of the pictures whose bytes have changed, and what is wrong with the file as a whole."""
    first, stop = layout.span(file)
    try:
        index = np.load(index_file(folder, file), allow_pickle=False)
        changed = [number for number, ok in enumerate(_intact(folder, file, layout, index)) if not ok]
    except (OSError, ValueError) as error:
        return np.arange(first, stop), f"{data_file(folder, file, layout)} cannot be read: {error}"
    return np.array(changed, np.int64) + first, ""


def _intact(folder: Path, file: int, layout: Layout, index: npt.NDArray[Any]) -> Iterator[bool]:
    path = data_file(folder, file, layout)
    with path.open("rb") as data:
        if layout.format == "raw":
            np.lib.format.read_magic(data)
            np.lib.format.read_array_header_1_0(data)
        for end, expected in index.tolist():
            size = end - data.tell() if layout.format == "intra" or expected else layout.picture_bytes
            if layout.format == "raw" and not expected:
                data.seek(size, os.SEEK_CUR)
                yield True
                continue
            yield size == 0 or checksum(data.read(size)) == expected
