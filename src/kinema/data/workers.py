"""What to say when a process that reads is ended from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kinema.errors import KinemaError

# The loader's words; a worker's own errors carry their traceback instead.
_DIED = re.compile(r"DataLoader worker \(pid.*?\) (is killed by signal: ([\w ]+)|exited unexpectedly)", re.DOTALL)


@contextmanager
def dead_workers_explained() -> Iterator[None]:
    """Turn the loader's notice that one of its processes died, wherever it strikes, into an error with a remedy.

    Raises:
        KinemaError: a process that reads was killed or crashed.
    """
    try:
        yield
    except RuntimeError as error:
        died = _DIED.match(str(error))
        if died is None:
            raise
        raise KinemaError(_words(died[2])) from error


def _words(signal: str | None) -> str:
    if signal == "Bus error":
        cause = "Shared memory ran out (in a container: --shm-size, or /dev/shm)"
    elif signal == "Segmentation fault":
        cause = "It crashed, most likely on a damaged video: scan the videos again"
    else:
        cause = "Most often the system ended it because memory ran out: close other programs"
    return (
        f"a process that reads videos died{f' ({signal})' if signal else ''}. {cause}, use fewer workers or a smaller "
        "batch, or workers=0 to read in the main process. A run goes on from its last checkpoint with --resume"
    )
