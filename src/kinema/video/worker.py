"""Probing in a process of its own: a decoder that crashes, hangs or eats the memory takes only one file with it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from kinema.errors import KinemaError, VideoError
from kinema.video.fingerprint import fingerprint
from kinema.video.probe import content_hash, probe

_COMMAND = (sys.executable, "-c", "from kinema.video.worker import main; main()")
_READY = "ready"


class Prober:
    """Probes one file after the other in a child process, which is replaced when it dies.

    The child is a plain interpreter that imports only the reader: it starts in a fraction of a second and never runs
    the caller's own script again. Used by one thread; `close` it in the end.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Break off, from another thread, whatever is or will be read; it is then reported as a crash."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the child process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def columns(self, path: str | Path, time_limit: float, *, fps: float | None = None) -> dict[str, Any]:
        """`VideoInfo.to_columns` of a file, its content `hash` and its `fingerprint`.

        Args:
            path: the file, or the folder of frames.
            time_limit: seconds after which the file is given up.
            fps: rate of a folder of frames.

        Raises:
            VideoError: the file cannot be read, crashed the decoder or took too long.
            KinemaError: the child process cannot even start.
        """
        process = self._process = self._process or _start()
        if self._stopped:
            process.kill()
        late = threading.Event()
        alarm = threading.Timer(time_limit, _give_up, (process, late))
        alarm.start()
        try:
            _send((str(path), fps), _pipe(process.stdin))
            answer = pickle.load(_pipe(process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self.close()
            reason = f"took more than {time_limit:.0f} s to read" if late.is_set() else "crashed the decoder"
            raise VideoError(path, f"damaged: {reason}") from error
        finally:
            alarm.cancel()
            alarm.join()
        if late.is_set():  # it answered in the last moment, but was ended all the same
            self.close()
        if isinstance(answer, VideoError):
            raise answer
        return dict(answer)


def survey(path: str, fps: float | None) -> dict[str, Any]:
    """The manifest columns of one file, in this process.

    Raises:
        VideoError: the file cannot be read.
    """
    info = probe(path, fps=fps)
    return {**info.to_columns(), "hash": content_hash(path), "fingerprint": fingerprint(info)}


def main() -> None:
    """Answer pickled paths on standard input by pickled columns or a VideoError on standard output, until it closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not get between the answers
    _send(_READY, answers)
    while True:
        try:
            path, fps = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _send(_answer(path, fps), answers)


def _send(message: Any, pipe: IO[bytes]) -> None:
    pickle.dump(message, pipe)
    pipe.flush()


def _answer(path: str, fps: float | None) -> dict[str, Any] | VideoError:
    try:
        return survey(path, fps)
    except VideoError as error:
        return error
    except Exception as error:  # whatever a broken file provokes must be told, and must not end the scan
        return VideoError(path, f"damaged: {type(error).__name__}: {error}")


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment
        )
        try:
            if pickle.load(_pipe(process.stdout)) == _READY:
                return process
        except (EOFError, pickle.UnpicklingError):
            pass
        process.kill()
        process.communicate()
        complaints.seek(0)
        last = complaints.read().decode(errors="replace").strip().splitlines()[-1:]
        raise KinemaError(f"the process that reads videos does not start ({' '.join(_COMMAND)}): {''.join(last)}")


def _give_up(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
