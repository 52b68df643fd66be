"""Files of a store written by several processes, any of which may be killed by a video that crashes the decoder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

from kinema.errors import KinemaError


class FileWriter(Protocol):
    """What runs in the processes."""

    def write_file(self, file: int, *, skip: Sequence[int], notes: Path | None) -> int:
        """Write one data file and return its bytes.

        A file FILE-ENTRY lies in the folder `notes` while a video is being read; entries in `skip` are left out.
        """


def run_in_processes(job: FileWriter, todo: Sequence[int], workers: int) -> Iterator[int]:
    """The bytes of each file as it is done; `workers` processes, 0: this one.

    When a process dies, the files on which any was at work are tried again one at a time, which shows the video that
    kills the decoder; that one is then skipped.

    Raises:
        KinemaError: the processes die without having read anything.
    """
    if not workers:
        yield from (job.write_file(file, skip=(), notes=None) for file in todo)
        return
    with tempfile.TemporaryDirectory(prefix="kinema-") as notes:
        yield from _run_all(job, list(todo), workers, Path(notes))


def _run_all(job: FileWriter, left: list[int], workers: int, notes: Path) -> Iterator[int]:
    doubtful, skip = set[int](), set[int]()
    while left:
        alone = [file for file in left if file in doubtful][:1]
        try:
            for file, size in _run(job, alone or left, 1 if alone else workers, skip, notes):
                left.remove(file)
                doubtful.discard(file)
                yield size
        except BrokenProcessPool:
            found = _at_work(notes)
            if not found:
                raise KinemaError("the processes that read videos die at once: is there enough memory?") from None
            skip |= {entry for _, entry in found} if len(found) == 1 else set()
            doubtful |= {file for file, _ in found}


def _at_work(notes: Path) -> list[tuple[int, int]]:
    """(file, entry) of what was being read when the processes died; the notes are cleared."""
    found = []
    for note in list(notes.iterdir()):
        file, entry = note.name.split("-")
        found.append((int(file), int(entry)))
        note.unlink()
    return found


def _run(job: FileWriter, files: Sequence[int], workers: int, skip: set[int], notes: Path) -> Iterator[tuple[int, int]]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (job, frozenset(skip), notes))
    # Not all at once: a store may have a hundred thousand files.
    waiting = list(reversed(files))
    running: dict[Future[int], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                file = waiting.pop()
                running[pool.submit(_write, file)] = file
            job_done = next(as_completed(running))
            yield running.pop(job_done), job_done.result()
    finally:
        pool.shutdown(wait=not running, cancel_futures=True)


def _begin(job: FileWriter, skip: frozenset[int], notes: Path) -> None:
    global _task
    _task = (job, tuple(skip), notes)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a stop from the keyboard ends all at once, without tracebacks
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write(file: int) -> int:
    job, skip, notes = _task
    return job.write_file(file, skip=skip, notes=notes)


_task: tuple[FileWriter, Sequence[int], Path]
