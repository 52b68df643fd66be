"""Errors a person can act on: each names what was given, where, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class KinemaError(Exception):
    """Base of every error that kinema raises on purpose; the command line prints it without a traceback."""


class VideoError(KinemaError):
    """A video file that cannot be read.

    Attributes:
        path: the file.
        reason: one sentence for a person, without the path.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        """Pickle by the two arguments, so that the error crosses process borders whole."""
        return type(self), (self.path, self.reason)


class DataError(KinemaError):
    """A manifest, column, split or folder that does not hold what the job needs."""


class RecipeError(KinemaError):
    """An option, recipe or checkpoint that is unknown, contradictory or of the wrong type."""


class TrainingDiverged(KinemaError):
    """A loss or gradient stopped being finite; the message holds the diagnosis, the last checkpoint is kept."""


class MissingExtra(KinemaError):
    """An optional dependency that is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        self.module, self.extra = module, extra
        super().__init__(f"this needs the package '{module}': install it with  pip install 'kinema[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        """Pickle by the two arguments."""
        return type(self), (self.module, self.extra)


def suggest(wrong: str, known: Iterable[str]) -> str:
    """A sentence that lists the valid names and, where one is close, proposes it."""
    names = sorted(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{hint} Known: {', '.join(names)}."
