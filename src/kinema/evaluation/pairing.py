"""Pairs of videos that show the same class or not, in folds: read from a CSV file, or drawn."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kinema.errors import DataError
from kinema.randomness import numpy_generator

IntArray = npt.NDArray[np.int64]
NAME = "similarity"
FOLDS, PER_FOLD = 10, 600
_TRUE, _FALSE = ("1", "true", "yes", "same"), ("0", "false", "no", "different")


@dataclass(frozen=True)
class SimilarityPreset:
    """How pairs are described and divided.

    Attributes:
        taps: stages whose features are compared; "pooled" is the encoder's own vector.
        normalise: before measures 9 to 12; the table of measures does not say which norm, "l1" is the other option.
        pairs: CSV file of pairs (see `read_pairs`); without one they are drawn.
        folds, per_fold: most folds, and most pairs of each, where they are drawn.
        views: clips of a video.
    """

    taps: tuple[str, ...] = ("p3", "p4", "p5")
    normalise: Literal["l2", "l1"] = "l2"
    pairs: str = ""
    folds: int = FOLDS
    per_fold: int = PER_FOLD
    views: str = "sliding"

    @property
    def name(self) -> str:
        """As in result rows: with its stages, where they are not the published ones."""
        return NAME if self.taps == SimilarityPreset().taps else f"{NAME}@{'+'.join(self.taps)}"


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows of a manifest.

    Attributes:
        rows: int64 [P, 2].
        same: int64 [P], 1 where both show the same class.
        folds: [P], name of each pair's fold.
        description: where they come from.
    """

    rows: IntArray
    same: IntArray
    folds: tuple[str, ...]
    description: str

    def keep(self, kept: IntArray) -> Pairs:
        """The pairs of which both videos are among the rows `kept` (sorted), which are renumbered 0, 1, …"""
        inside = np.flatnonzero(np.isin(self.rows, kept).all(axis=1))
        folds = tuple(self.folds[pair] for pair in inside)
        return Pairs(np.searchsorted(kept, self.rows[inside]), self.same[inside], folds, self.description)

    def shared_classes(self, labels: Sequence[object]) -> int:
        """How many classes occur in more than one fold: 0 in the protocol, where test classes are always new."""
        homes: dict[object, set[str]] = {}
        for pair, fold in zip(self.rows.tolist(), self.folds, strict=True):
            for row in pair:
                homes.setdefault(labels[row], set()).add(fold)
        return sum(len(folds) > 1 for folds in homes.values())


def read_pairs(path: str | Path, names: Sequence[str]) -> Pairs:
    """Pairs from a CSV file with the columns `first`, `second`, `same` and `fold`.

    `first` and `second` name videos as the manifest's column `path` does (a segment by "path start end"); `same` is 1
    or 0; `fold` is any text, and the pairs of each fold are tested once, by a classifier of all others.

    Raises:
        DataError: the file, a column or a name is missing, or a cell cannot be understood.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a list of pairs: {error}") from error
    absent = [name for name in ("first", "second", "same", "fold") if not lines or name not in lines[0]]
    if absent:
        raise DataError(
            f"{path}: a list of pairs needs lines and the columns first, second, same, fold; no {absent[0]}"
        )
    numbers = {name: row for row, name in enumerate(names)}
    for line, cells in enumerate(lines, 2):
        for column in ("first", "second"):
            if cells[column] not in numbers:
                raise DataError(f"{path}, line {line}: '{cells[column]}' is no video of the manifest with a usable row")
        if cells["same"].lower() not in _TRUE + _FALSE:
            raise DataError(f"{path}, line {line}: same is '{cells['same']}'; write 1 or 0")
    rows = np.array([[numbers[cells["first"]], numbers[cells["second"]]] for cells in lines], np.int64)
    same = np.array([cells["same"].lower() in _TRUE for cells in lines], np.int64)
    return Pairs(rows, same, tuple(cells["fold"] for cells in lines), f"pairs and folds of {path.name}")


def draw_pairs(labels: IntArray, *, seed: int, folds: int = FOLDS, per_fold: int = PER_FOLD) -> Pairs:
    """Folds with classes of their own, as many pairs of one class as of two in each, all folds of one size.

    ASLAN (Kliper-Gross et al., TPAMI 2012) has ten folds of 300 + 300 pairs. Fewer where there are not two classes for
    each fold, or not that many pairs; pairs are drawn without repetition, by `seed`.

    Raises:
        DataError: fewer than four classes, or a fold without two videos of one class.
    """
    classes = np.unique(labels)
    folds = min(folds, len(classes) // 2)
    if folds < 2:
        raise DataError(f"pairs need folds with two classes each, so four classes at least; there are {len(classes)}")
    generator = numpy_generator("pairs", seed)
    parts = np.array_split(generator.permutation(classes), folds)
    offered = [_all_pairs(np.flatnonzero(np.isin(labels, part)), labels) for part in parts]
    count = min(per_fold // 2, *(len(kind) for kinds in offered for kind in kinds))
    if not count:
        raise DataError("a fold would have no pair of one class: every class needs two videos or more")
    rows = [generator.permutation(kind)[:count] for kinds in offered for kind in kinds]
    same = np.tile(np.repeat([1, 0], count), folds)
    names = tuple(f"{number:02d}" for number in range(folds) for _ in range(2 * count))
    described = f"{folds} folds with classes of their own and {2 * count} pairs each, drawn by seed {seed}"
    return Pairs(np.concatenate(rows), same, names, described)


def _all_pairs(rows: IntArray, labels: IntArray) -> tuple[IntArray, IntArray]:
    """All pairs of these rows: of one class, of two."""
    first, second = np.triu_indices(len(rows), 1)
    pairs = np.stack([rows[first], rows[second]], 1)
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    return pairs[same], pairs[~same]
