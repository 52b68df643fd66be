"""From a folder, a list or a file to a manifest of videos that can be read, and a list of those that cannot."""

from __future__ import annotations

import csv
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError, VideoError, suggest
from kinema.video.worker import Prober

__all__ = ["VIDEO_SUFFIXES", "ScanReport", "scan"]

VIDEO_SUFFIXES = frozenset(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".f4v",
        ".flv",
        ".gif",
        ".h264",
        ".m1v",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ps",
        ".qt",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)
"""Suffixes by which a folder's videos are known (in lower case)."""

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_SECONDS_PER_MEGABYTE = 2.0

Columns = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScanReport:
    """What a scan found.

    Attributes:
        manifest: one row per readable video (or row of a list), with the columns of `VideoInfo.to_columns` and `hash`.
        quarantined: (path, reason) of the files that cannot be read, in order; they are not in the manifest.
        duplicates: groups of paths with byte-identical content; all of them are in the manifest.
        hidden: number of hidden files and folders that were passed over.
        other: number of files passed over because of their suffix, by suffix.
    """

    manifest: Manifest
    quarantined: list[tuple[str, str]]
    duplicates: list[list[str]]
    hidden: int = 0
    other: dict[str, int] = field(default_factory=dict)

    def write_quarantine(self, path: str | Path) -> None:
        """Write the quarantined files as CSV with the columns path and reason."""
        with Path(path).open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "reason"))
            writer.writerows(self.quarantined)


@dataclass
class _Found:
    """The files below a folder: video paths relative to it, in order, and what was passed over."""

    paths: list[str] = field(default_factory=list)
    hidden: int = 0
    other: Counter[str] = field(default_factory=Counter)
    closed: list[str] = field(default_factory=list)


def scan(
    source: str | Path,
    *,
    labels: Literal["folder", "none"] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    time_limit: float = 60.0,
) -> ScanReport:
    """Read every video once and describe it.

    Files are read in processes apart, so that one that crashes or hangs the decoder is quarantined like any other
    broken one. The result does not depend on the number of workers.

    Args:
        source: a folder of videos, with or without one folder per class; a `.csv` or `.parquet` list, whose columns are
            kept (those that the scan measures are replaced); or one video file.
        labels: of a folder: "folder" takes each video's first-level folder as column `label`; "none" takes no labels;
            None takes them when every video lies in a first-level folder and there are at least two such folders. A
            first level of nothing but train, val and test folders becomes column `split`, and the second level counts.
        workers: processes that read at the same time; None takes one per core.
        progress: called with (files done, files in all) after each file.
        time_limit: seconds allowed per file, in addition to two seconds per megabyte.

    Raises:
        DataError: nothing there, no video in it, or none that can be read.
        RecipeError: `labels` is none of the above.
    """
    if labels not in (None, "folder", "none"):
        raise RecipeError(f"labels='{labels}' is unknown.{suggest(str(labels), ('folder', 'none'))}")
    if workers is not None and workers < 1:
        raise RecipeError(f"workers={workers}: at least one is needed")
    rows, root, found = _collect(Path(source), labels)
    results = _survey(rows, root, workers=workers or _cores(), progress=progress, time_limit=time_limit)
    return _report(rows, results, root, found)


def _collect(source: Path, labels: str | None) -> tuple[list[Columns], Path, _Found]:
    """Rows to be completed, the folder that their paths start from, and what was passed over."""
    if source.is_dir():
        found = _find(source)
        return _describe(source, found.paths, labels), source, found
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.suffix.lower() in (".csv", ".parquet"):
        listed = Manifest.read(source, check_files=False)
        return [listed.row(i) for i in range(len(listed))], listed.root, _Found()
    return [{"path": source.name}], source.parent, _Found()


def _find(folder: Path) -> _Found:
    """Video files below `folder`, links followed, each folder entered once."""
    found = _Found()
    _walk(folder, folder, found, set())
    if not found.paths:
        passed = f"; passed over {found.hidden} hidden and {sum(found.other.values())} other files"
        raise DataError(f"no video found in {folder} (looked for {', '.join(sorted(VIDEO_SUFFIXES))}{passed})")
    return found


def _walk(folder: Path, top: Path, found: _Found, entered: set[str]) -> None:
    real = os.path.realpath(folder)
    if real in entered:
        return
    entered.add(real)
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except PermissionError:
        found.closed.append(folder.relative_to(top).as_posix())
        return
    for entry in entries:
        if entry.name.startswith("."):
            found.hidden += 1
        elif entry.is_dir():
            _walk(entry, top, found, entered)
        elif entry.suffix.lower() in VIDEO_SUFFIXES:
            found.paths.append(entry.relative_to(top).as_posix())
        else:
            found.other[entry.suffix.lower()] += 1


def _describe(folder: Path, paths: Sequence[str], labels: str | None) -> list[Columns]:
    """Rows with path and, by the folders, split and label."""
    rows: list[Columns] = [{"path": path} for path in paths]
    parts = [PurePosixPath(path).parts[:-1] for path in paths]
    if labels == "none":
        return rows
    if all(folders and folders[0].lower() in _SPLITS for folders in parts):
        for row, folders in zip(rows, parts, strict=True):
            row["split"] = folders[0]
        parts = [folders[1:] for folders in parts]
    loose = [path for path, folders in zip(paths, parts, strict=True) if not folders]
    if loose and labels == "folder":
        raise DataError(f"{folder / loose[0]}: lies in no class folder, so labels='folder' has no label for it")
    if not loose and (labels == "folder" or len({folders[0] for folders in parts}) > 1):
        for row, folders in zip(rows, parts, strict=True):
            row["label"] = folders[0]
    return rows


class _Readers:
    """One probing process per thread of a pool."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._probers: list[Prober] = []

    def mine(self) -> Prober:
        """The calling thread's own."""
        if not hasattr(self._local, "prober"):
            self._local.prober = Prober()
            self._probers.append(self._local.prober)
        return cast("Prober", self._local.prober)

    def stop(self) -> None:
        """Break off whatever is being read."""
        for prober in self._probers:
            prober.stop()

    def close(self) -> None:
        """End the processes; no thread may use them any more."""
        for prober in self._probers:
            prober.close()


def _survey(
    rows: Sequence[Columns], root: Path, *, workers: int, progress: Progress | None, time_limit: float
) -> dict[str, Columns | VideoError]:
    """What the reader says of each different path: columns, or the error."""
    paths = list(dict.fromkeys(str(row["path"] or "") for row in rows))
    with closing(_Readers()) as readers, ThreadPoolExecutor(workers) as pool:
        jobs = {pool.submit(_read, readers, root / path, time_limit): path for path in paths}
        try:
            return {jobs[job]: job.result() for job in _reported(jobs, progress)}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            readers.stop()
            raise


def _reported(jobs: Collection[Future[Any]], progress: Progress | None) -> Iterator[Future[Any]]:
    """The jobs as they end; each is told to `progress` once its result has been taken."""
    for done, job in enumerate(as_completed(jobs), start=1):
        yield job
        if progress:
            progress(done, len(jobs))


def _read(readers: _Readers, path: Path, time_limit: float) -> Columns | VideoError:
    try:
        str(path).encode()
        megabytes = path.stat().st_size / 1e6
        return readers.mine().columns(path, time_limit + _SECONDS_PER_MEGABYTE * megabytes)
    except UnicodeEncodeError:
        return VideoError(path, "its name is not valid Unicode: rename it")
    except OSError:
        return VideoError(path, "broken link" if path.is_symlink() else "no such file")
    except VideoError as error:
        return error


def _report(
    rows: Sequence[Columns], results: Mapping[str, Columns | VideoError], root: Path, found: _Found
) -> ScanReport:
    readable: list[Columns] = []
    quarantined: dict[str, str] = dict.fromkeys(found.closed, "the folder cannot be opened: permission denied")
    for row in rows:
        result = results[str(row["path"] or "")]
        if isinstance(result, VideoError):
            quarantined[str(row["path"] or "")] = result.reason
        else:
            readable.append({**row, **result})
    if not readable:
        path, reason = next(iter(quarantined.items()))
        raise DataError(f"{root}: none of {len(quarantined)} videos can be read; the first, {path}: {reason}")
    manifest = Manifest.from_rows(readable, root)
    return ScanReport(manifest, list(quarantined.items()), _duplicates(readable), found.hidden, dict(found.other))


def _duplicates(rows: Sequence[Columns]) -> list[list[str]]:
    by_hash: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        by_hash[row["hash"]][row["path"]] = None
    return [list(paths) for paths in by_hash.values() if len(paths) > 1]


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
