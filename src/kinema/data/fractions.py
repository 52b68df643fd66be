"""A part of the files, the first by name or time of recording, or drawn; smaller parts lie in larger ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.randomness import numpy_generator

FractionBy = Literal["name", "time", "random"]
_DATE = re.compile(r"(?<!\d)(\d{4})([-_.]?)(\d{2})\2(\d{2})(?=\D|$|\d{6}(?!\d))")
"""A date, where no other digits are, or before six digits of a time; only the order of names tells times."""


def fraction_rows(
    manifest: Manifest, fraction: float, *, by: FractionBy = "name", seed: int = 0
) -> npt.NDArray[np.int64]:
    """Rows of the first ceil(p n) of n files, in the manifest's order; all segments of a file stay together.

    Args:
        manifest: the videos.
        fraction: p in (0, 1].
        by: the order of files: by "name", the whole path; by "time" of recording, from a column `recorded` (a date, or
            numbers), else from the date in each file's name, on one day by name, numbers as numbers; or "random".
        seed: key of the random order.

    Raises:
        DataError: by "time", a file without one.
    """
    names = [str(name) for name in manifest.column("path")]
    files = list(dict.fromkeys(names))
    if by == "random":
        ordered = [sorted(files)[k] for k in numpy_generator(seed, "fraction").permutation(len(files))]
    elif by == "time":
        times = _recorded(manifest, names) if "recorded" in manifest.columns else {name: _dated(name) for name in files}
        ordered = sorted(files, key=lambda name: (times[name], natural(name)))
    else:
        ordered = sorted(files)
    # Some products of a share and a number end a hair above the whole number that they are.
    kept = set(ordered[: math.ceil(fraction * len(files) - 1e-9)])
    return np.array([row for row, name in enumerate(names) if name in kept], np.int64)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts "part2" before "part10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _recorded(manifest: Manifest, names: Sequence[str]) -> dict[str, Any]:
    values = manifest.column("recorded")
    lacking = [name for name, value in zip(names, values, strict=True) if value is None]
    if lacking:
        raise DataError(
            f"{lacking[0]} has no 'recorded' ({len(lacking)} rows lack it): fill it in, or set fraction_by=name"
        )
    try:
        return {name: _moment(value) for name, value in zip(names, values, strict=True)}
    except ValueError as error:
        raise DataError(f"column 'recorded': {error}; write dates as 2013-05-31 or 2013-05-31T08:30:00") from error


def _moment(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    text = value if isinstance(value, str) else value.isoformat()
    return datetime.fromisoformat(text).timestamp()


def _dated(name: str) -> date:
    for year, _, month, day in _DATE.findall(PurePath(name).name):
        try:
            return date(int(year), int(month), int(day))
        except ValueError:  # digits that are no date
            continue
    raise DataError(
        f"{name}: no date of recording in its name (such as 20130531); add a column 'recorded', or set fraction_by=name"
    )
