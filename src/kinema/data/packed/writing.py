"""Writing a packed store: file by file, in parallel, resumable, never torn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.packed.coding import checksum, encode
from kinema.data.packed.files import replacing, sync_folder
from kinema.data.packed.layout import PLAN_FILE, Layout, data_file, facts_file, index_file, is_store, read_layout
from kinema.data.packed.planning import Piece, Plan
from kinema.data.packed.reading import INDEX
from kinema.data.packed.sources import pictures
from kinema.data.packed.workers import run_in_processes
from kinema.errors import DataError, VideoError

Progress = Callable[[int, int], None]


def claim(folder: Path, plan: Plan, layout: Layout) -> tuple[Plan, Layout]:
    """Make the folder of a store, or check that the one there was begun with the same data and settings.

    Returns:
        What to follow: of a store that was begun, the plan and layout it was begun with.

    Raises:
        DataError: the folder holds something else.
    """
    if is_store(folder):
        before = read_layout(folder)
        # What could not be looked at may differ between two starts: the plan of the first one holds.
        fixed = {**vars(layout), "pictures": before.pictures, "per_file": before.per_file}
        changed = [name for name, value in fixed.items() if value != getattr(before, name)]
        if changed == ["data"]:
            raise DataError(
                f"{folder} was begun from other rows: the manifest, or a video that it lists, has changed since. Give "
                "the manifest that it was begun with, or another folder"
            )
        if changed:
            was = ", ".join(f"{name} was {getattr(before, name)!r}, now {getattr(layout, name)!r}" for name in changed)
            raise DataError(f"{folder} holds a store begun otherwise ({was}): give the same options, or another folder")
        return Plan.read(folder), before
    if folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir() if entry.name != PLAN_FILE):
        raise DataError(f"{folder} exists and is no packed store: choose another folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
    plan.write(folder)
    layout.write(folder)  # last, since it makes the folder a store
    sync_folder(folder)
    return plan, layout


@dataclass(frozen=True)
class Job:
    """Everything that a process needs to write data files of one store."""

    folder: Path
    manifest: Manifest
    plan: Plan
    layout: Layout

    def missing(self) -> list[int]:
        """The data files that are still to write."""
        return [k for k in range(self.layout.files) if not data_file(self.folder, k, self.layout).exists()]

    def write_file(self, file: int, *, skip: Sequence[int] = (), notes: Path | None = None) -> int:
        """Write one data file, whole or not at all; returns its bytes.

        Videos that cannot be read leave zeros (raw) or nothing (intra) and their reason in the facts; so do the
        entries in `skip`, which crashed the decoder. The name of a file in `notes` tells what is being read.
        """
        first, stop = self.layout.span(file)
        index = np.zeros(stop - first, INDEX)
        broken: dict[int, str] = dict.fromkeys(skip, "damaged: crashed the decoder")
        with replacing(data_file(self.folder, file, self.layout)) as out:
            head = _header(out, stop - first, self.layout)
            done = 0
            for piece in self.plan.pieces((first, stop)):
                count = piece.stop - piece.first
                with _noted(notes, f"{file}-{piece.entry}"):
                    self._write_piece(out, piece, index[done : done + count], broken)
                done += count
                if self.layout.format == "raw":
                    out.seek(head + done * self.layout.picture_bytes)
            out.truncate()
            size = out.tell()
            # The two small files come first: the data file is what tells that all three are there.
            with replacing(index_file(self.folder, file)) as beside:
                np.save(beside, index)
            with replacing(facts_file(self.folder, file)) as beside:
                beside.write(json.dumps({"bytes": size, "broken": broken}, indent=1).encode())
        sync_folder(self.folder)
        return size

    def _write_piece(self, out: IO[bytes], piece: Piece, index: npt.NDArray[Any], broken: dict[int, str]) -> None:
        start = out.tell()
        index["end"], index["checksum"] = start, 0
        if piece.entry in broken:
            return
        position = 0
        try:
            for chunk in pictures(self.manifest, piece, self.layout):
                for picture in chunk:
                    coded = encode(picture, self.layout)
                    out.write(coded)
                    index[position] = out.tell(), checksum(coded)
                    position += 1
        except VideoError as error:
            broken[piece.entry] = error.reason
            index["end"], index["checksum"] = start, 0
            out.seek(start)
            out.truncate()


@contextmanager
def _noted(notes: Path | None, name: str) -> Iterator[None]:
    """Leave a note while something is being done, which stays when this process is killed by it."""
    if notes is not None:
        (notes / name).touch()
    yield
    if notes is not None:
        (notes / name).unlink()


def _header(out: IO[bytes], count: int, layout: Layout) -> int:
    """The head of a .npy file (raw), so that anybody can map it; returns its length."""
    if layout.format == "raw":
        head = {"descr": layout.dtype.str, "fortran_order": False, "shape": (count, *layout.shape)}
        np.lib.format.write_array_header_1_0(out, head)
    return out.tell()


def write_files(
    job: Job,
    *,
    workers: int = 0,
    part: tuple[int, int] = (1, 1),
    budget: int | None = None,
    progress: Progress | None = None,
) -> bool:
    """Write the data files that are missing; returns whether the store has all of them now.

    Args:
        job: the store.
        workers: processes; 0 writes in this one.
        part: (k, n): only every n-th file, from the k-th on, so that n machines can share the work on one folder.
        budget: bytes that the data files may take in all.
        progress: called with (files there, files in all) after each file.

    Raises:
        DataError: the budget or the disk is full; what is written stays, and the same call goes on from there.
    """
    mine = [file for file in range(job.layout.files) if file % part[1] == part[0] - 1]
    missing = set(job.missing())
    todo = [file for file in mine if file in missing]
    used = sum(stored_bytes(job.folder, file) for file in range(job.layout.files) if file not in missing)
    done = len(mine) - len(todo)
    for size in run_in_processes(job, todo, workers):
        used, done = used + size, done + 1
        if progress:
            progress(done, len(mine))
        if budget is not None and used > budget and done < len(mine):
            raise DataError(
                f"{job.folder} has reached its budget ({used:,} of {budget:,} bytes after {done} of {len(mine)} files);"
                " give a larger --budget to go on from here"
            )
    return not job.missing()


def stored_bytes(folder: Path, file: int) -> int:
    """Bytes of one finished data file."""
    return int(json.loads(facts_file(folder, file).read_bytes())["bytes"])


def check_room(folder: Path, needed: int, budget: int | None, *, already: int = 0) -> None:
    """Refuse a store that will not fit: `needed` bytes in all, of which `already` are there.

    Raises:
        DataError: more bytes than the budget or the disk has.
    """
    if budget is not None and needed > budget:
        raise DataError(
            f"the store would take {needed:,} bytes, the budget is {budget:,}: raise --budget, or choose a smaller "
            "--size, --format intra, or fewer frames (--every, --rate)"
        )
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed - already > free:
        raise DataError(
            f"the store would take {needed - already:,} more bytes, but the disk of {there} has {free:,} free"
        )
