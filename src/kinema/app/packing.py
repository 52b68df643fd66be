"""`kinema pack` and `kinema verify`: frames at the training size, in a store that is read like memory."""

from __future__ import annotations

import math
import time
from pathlib import Path

from kinema.app.progress import progress_bar
from kinema.data.opening import open_manifest
from kinema.data.packed import (
    Estimate,
    Finished,
    Job,
    Layout,
    Settings,
    check_room,
    claim,
    estimate,
    finish,
    plan_store,
    verify,
    write_files,
)
from kinema.data.packed.layout import MANIFEST_FILE

SHOWN = 5
"""So many videos that cannot be read are named on the screen."""


def store_to_screen(
    source: Path,
    out: Path,
    settings: Settings,
    *,
    workers: int = 0,
    budget: int | None = None,
    part: tuple[int, int] = (1, 1),
    dry_run: bool = False,
) -> Finished | None:
    """Write the frames or the flow of a data set into the store `out`, or go on with it; print size and time first.

    Args:
        source: manifest, folder of videos, or another store.
        out: folder of the store.
        settings: what to store.
        workers: processes; 0 works in this one.
        budget: bytes that it may take; None: what the disk has.
        part: (k, n) does the k-th of n equal shares, for several machines on one folder.
        dry_run: print size and time only.

    Returns:
        The finished store; None where files are still missing.

    Raises:
        DataError: no room, no video, or `out` holds something else.
    """
    manifest = open_manifest(source)
    plan, layout = plan_store(manifest, settings)
    cost = estimate(manifest, plan, layout)
    _print_cost(layout, cost, max(1, workers), part)
    there = sum(file.stat().st_size for file in out.glob("*") if file.is_file()) if out.is_dir() else 0
    check_room(out, cost.bytes, budget, already=there)
    if dry_run:
        return None
    job = Job(out, manifest, *claim(out, plan, layout))
    began = time.monotonic()
    with progress_bar(f"writing {out}") as tick:
        whole = write_files(job, workers=workers, part=part, budget=budget, progress=tick)
    if not whole:
        print(f"part {part[0]} of {part[1]} is done; {len(job.missing())} files are still missing")
        return None
    finished = finish(job)
    _print_result(job, finished, time.monotonic() - began)
    return finished


def verify_on_screen(folder: Path) -> int:
    """Compare every picture of a store with its checksum; returns the exit status: 0 when nothing is damaged."""
    with progress_bar(f"reading {folder}") as tick:
        found = verify(folder, progress=tick)
    for line in found:
        print(line)
    print(f"{len(found)} damages: remove the named files and run the command that made the store" if found else "whole")
    return 1 if found else 0


def format_bytes(count: int) -> str:
    """For a person: "1.05 MB"."""
    power = min(4, int(math.log(max(count, 1), 1000)))
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def _print_cost(layout: Layout, cost: Estimate, workers: int, part: tuple[int, int]) -> None:
    what = "frames" if layout.kind == "frames" else "flow fields"
    print(
        f"{layout.pictures:,} {what} of {layout.height}x{layout.width} (height x width), {layout.format}: "
        f"{'' if cost.exact else 'about '}{format_bytes(cost.bytes)} in {layout.files:,} files"
    )
    if math.isfinite(cost.picture_seconds):
        seconds = cost.picture_seconds * layout.pictures / workers / part[1]
        print(f"about {_duration(seconds)} in {workers} process{'es' * (workers > 1)}")


def _print_result(job: Job, finished: Finished, seconds: float) -> None:
    size = sum(file.stat().st_size for file in job.folder.iterdir())
    print(f"{len(finished.manifest):,} rows, {format_bytes(size)}, {_duration(seconds)}: {job.folder / MANIFEST_FILE}")
    for path, reason in finished.quarantined[:SHOWN]:
        print(f"set aside: {path}: {reason}")
    if finished.quarantined:
        print(f"{len(finished.quarantined)} videos could not be read and are not in the store; the manifest names them")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"
