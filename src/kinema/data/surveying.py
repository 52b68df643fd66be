"""Reading many videos once, each in a process apart, and not again where nothing changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

from kinema.data.manifest import Manifest
from kinema.errors import VideoError
from kinema.video.archives import find_member
from kinema.video.images import FRAME_RATE, FRAMES, frame_files
from kinema.video.info import VideoInfo
from kinema.video.worker import Prober

Columns = dict[str, Any]
Progress = Callable[[int, int], None]

MEASURED = (
    *("frames", "fps", "duration", "width", "height", "codec", "rotation", "mirrored", "audio_tracks", "bytes"),
    *("frame_index", "hash", "fingerprint", "modified"),
)
"""Columns that a scan fills."""

_SECONDS_PER_MEGABYTE = 2.0


class Stamp(NamedTuple):
    """By which a changed file is known: size, and time of the last change in nanoseconds."""

    bytes: int
    modified: int


class Survey(NamedTuple):
    """By path, what the reader says, columns or the error; and how many were taken from an earlier scan."""

    results: dict[str, Columns | VideoError]
    reused: int


def survey(
    wanted: Mapping[str, float | None],
    root: Path,
    *,
    previous: Manifest | None,
    workers: int,
    progress: Progress | None,
    time_limit: float,
) -> Survey:
    """Read every video once.

    Args:
        wanted: the rate of each folder of images, by path; None for the usual one.
        root: folder that the paths start from.
        previous: an earlier scan, whose rows are taken for files of the same size and time of change.
        workers: processes that read at the same time.
        progress: called with (files done, files in all) after each file.
        time_limit: seconds allowed per file, in addition to two seconds per megabyte.
    """
    known = {} if previous is None else _known(previous)
    results: dict[str, Columns | VideoError] = {}
    stamps: dict[str, Stamp] = {}
    for path, rate in wanted.items():
        try:
            stamps[path] = _stamp(root / path)
        except VideoError as error:
            results[path] = error
            continue
        old = known.get(os.path.normpath((root / path).absolute()))
        if old is not None and _still_holds(old, stamps[path], rate):
            results[path] = old
    reused = sum(1 for result in results.values() if not isinstance(result, VideoError))
    done = len(results)
    with closing(_Readers()) as readers, ThreadPoolExecutor(workers) as pool:
        jobs = {
            pool.submit(_read, readers, root / path, stamps[path], rate, time_limit): path
            for path, rate in wanted.items()
            if path not in results
        }
        try:
            for job in _reported(jobs, progress, done):
                results[jobs[job]] = job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            readers.stop()
            raise
    return Survey(results, reused)


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


def _reported(jobs: Collection[Future[Any]], progress: Progress | None, before: int) -> Iterator[Future[Any]]:
    """The jobs as they end; each is told to `progress` once its result has been taken."""
    if progress and before:
        progress(before, before + len(jobs))
    for done, job in enumerate(as_completed(jobs), start=before + 1):
        yield job
        if progress:
            progress(done, before + len(jobs))


def _read(readers: _Readers, path: Path, stamp: Stamp, rate: float | None, time_limit: float) -> Columns | VideoError:
    try:
        limit = time_limit + _SECONDS_PER_MEGABYTE * stamp.bytes / 1e6
        return {**readers.mine().columns(path, limit, fps=rate), "modified": stamp.modified}
    except VideoError as error:
        return error


def _stamp(path: Path) -> Stamp:
    """Size and time of change of a file, of one in an archive, or of the images of a folder.

    Raises:
        VideoError: there is none.
    """
    try:
        str(path).encode()
        member = find_member(path)
        status = (path if member is None else member.archive).stat()
        if not path.is_dir():
            return Stamp(status.st_size if member is None else member.bytes, status.st_mtime_ns)
        images = [image.stat() for image in frame_files(path)]
        changes = (status.st_mtime_ns, *(image.st_mtime_ns for image in images))
        return Stamp(sum(image.st_size for image in images), max(changes))
    except UnicodeEncodeError as error:
        raise VideoError(path, "its name is not valid Unicode: rename it") from error
    except OSError as error:
        raise VideoError(path, "broken link" if path.is_symlink() else "no such file") from error


def _known(previous: Manifest) -> dict[str, Columns]:
    """What an earlier scan measured, by absolute path."""
    if not {"frame_index", "fingerprint", "modified"} <= set(previous.columns):
        return {}
    columns = [previous.column(name) for name in MEASURED]
    paths = (os.path.normpath(previous.path(row).absolute()) for row in range(len(previous)))
    return {path: dict(zip(MEASURED, cells, strict=True)) for path, *cells in zip(paths, *columns, strict=True)}


def _still_holds(old: Columns, stamp: Stamp, rate: float | None) -> bool:
    if old["frame_index"] is None or (old["bytes"], old["modified"]) != stamp:
        return False
    if old["codec"] != FRAMES:
        return True
    tick = VideoInfo.from_columns("", old).time_base
    return abs(float(1 / tick) - (rate or FRAME_RATE)) < 1e-3
