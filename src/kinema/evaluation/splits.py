"""Which rows train a probe and which test it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.randomness import numpy_generator

IntArray = npt.NDArray[np.int64]
FOLDS = 5
_NONE = np.empty(0, np.int64)


class Fold(NamedTuple):
    """Row numbers of one division; `validation` is for choosing settings and may be empty."""

    name: str
    train: IntArray
    test: IntArray
    validation: IntArray


@dataclass(frozen=True)
class Split:
    """How a manifest is divided.

    Attributes:
        name: for result rows.
        description: one sentence for the card.
        folds: each row is tested at most once over all folds.
        groups: group of every row: rows of a group are dependent and count as one in comparisons.
        classes: names of the classes.
        labels: int64 [N], class of every row.
    """

    name: str
    description: str
    folds: tuple[Fold, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    labels: IntArray

    @property
    def test(self) -> IntArray:
        """All tested rows, fold after fold."""
        return np.concatenate([_NONE, *(fold.test for fold in self.folds)])

    @property
    def single(self) -> bool:
        """True where train and test are divided once."""
        return len(self.folds) == 1

    def restrict(self, kept: IntArray) -> Split:
        """The same division of the rows `kept` (sorted), which are renumbered 0, 1, …"""
        number = np.full(len(self.groups), -1)
        number[kept] = np.arange(len(kept))

        def renumber(rows: IntArray) -> IntArray:
            return number[rows][number[rows] >= 0]

        folds = tuple(Fold(f.name, *(renumber(rows) for rows in (f.train, f.test, f.validation))) for f in self.folds)
        folds = tuple(fold for fold in folds if len(fold.test))
        groups = tuple(self.groups[row] for row in kept)
        return checked(Split(self.name, self.description, folds, groups, self.classes, self.labels[kept]))


def labelled(manifest: Manifest, *, label: str = "label", folds: str | None = None) -> Manifest:
    """The rows that a division can use; see `labelled_rows`."""
    kept = labelled_rows(manifest, label=label, folds=folds)
    return manifest if len(kept) == len(manifest) else manifest.select(kept)


def labelled_rows(manifest: Manifest, *, label: str = "label", folds: str | None = None) -> IntArray:
    """Numbers of the rows with a label and a value of the column `folds` or, without it, in a known split.

    Whom a row without a value belongs to is not known: it could be tested by its own group.

    Raises:
        DataError: there is none, or no column of labels.
    """
    manifest.require([label], "evaluation")
    kept = np.array([value not in (None, "") for value in manifest.column(label)])
    if folds is None and "split" in manifest.columns:
        kept &= np.isin(_texts(manifest, "split"), ("train", "test", "val"))
    if folds is not None:
        kept &= _texts(manifest, folds) != ""
    wanted = f"'{folds}'" if folds is not None else "split of train, val or test"
    if not kept.any():
        raise DataError(f"no row of the manifest has a '{label}' and a {wanted}")
    return np.flatnonzero(kept)


def make_split(
    manifest: Manifest,
    *,
    label: str = "label",
    group: str = "group",
    folds: str | None = None,
    within: str | None = None,
    seed: int = 0,
) -> Split:
    """Divide the rows of `manifest` (see `labelled`).

    In this order: leave one value of the column `folds` out at a time (within each value of the column `within`, if
    given); else the column `split` with train, test and maybe val; else five folds with balanced classes, drawn by
    `seed`, that keep every group whole.

    Args:
        manifest: labelled rows.
        label: column of the classes.
        group: column of what belongs together (a scene, a person, a source video). Absent: the file itself.
        folds: column whose values are left out in turn; it is the group as well.
        within: column whose values are never mixed in one fold.
        seed: key of the drawn folds.

    Raises:
        DataError: a column is missing, or a fold would train or test on nothing.
    """
    labels, classes = manifest.labels(label)
    if folds is not None:
        left_out = _texts(manifest, folds)
        worlds = _texts(manifest, within) if within else np.full(len(manifest), "")
        groups = [f"{world}/{name}" if within else str(name) for world, name in zip(worlds, left_out, strict=True)]
        divided = _leave_one_out(np.array(groups), worlds)
        description = f"leave one '{folds}' out" + (f" within each '{within}'" if within else "")
        name = f"leave-one-{folds}-out"
    else:
        groups = file_groups(manifest, group)
        name, description, divided = _stated(manifest) or _drawn(groups, labels, seed)
    return checked(Split(name, description, tuple(divided), tuple(groups), tuple(classes), labels))


def every_row(count: int) -> Split:
    """Stands for a division of the videos where there is none: all of them calibrate."""
    every = np.arange(count)
    fold = Fold("", every, every, _NONE)
    return Split("all", "", (fold, fold), tuple(map(str, every)), ("",), np.zeros(count, np.int64))


def file_groups(manifest: Manifest, group: str) -> list[str]:
    """The column `group`; absent, the content hash; absent too, the path."""
    column = next(name for name in (group, "hash", "path") if name in manifest.columns)
    paths = manifest.column("path")
    return [str(paths[i] if value in (None, "") else value) for i, value in enumerate(manifest.column(column))]


def row_names(manifest: Manifest) -> list[str]:
    """Unique names of all rows: the path as the manifest has it, and the bounds of a segment."""
    columns = [manifest.column(name) for name in ("path", "start", "end") if name in manifest.columns]
    return [" ".join(str(cell) for cell in cells if cell is not None) for cells in zip(*columns, strict=True)]


def division_digest(split: Split, names: Sequence[str]) -> str:
    """32 hexadecimal digits that two evaluations share where the same samples train and test in the same folds."""
    folds = [[fold.name, *([names[row] for row in rows] for rows in fold[1:])] for fold in split.folds]
    stated = json.dumps([folds, split.classes, split.labels.tolist(), split.groups])
    return hashlib.blake2b(stated.encode(), digest_size=16).hexdigest()


def checked(split: Split) -> Split:
    """The same split.

    Raises:
        DataError: a fold trains on less than two classes, or nothing is tested.
    """
    if not len(split.test):
        raise DataError(f"the split '{split.name}' has no test rows: label some rows with split=test, or ask for folds")
    for fold in split.folds:
        if len(np.unique(split.labels[fold.train])) < 2:
            raise DataError(
                f"fold '{fold.name}' of '{split.name}' would train on {len(fold.train)} rows of "
                f"{len(np.unique(split.labels[fold.train]))} class(es); a probe needs two classes or more"
            )
    return split


def _texts(manifest: Manifest, column: str) -> npt.NDArray[np.str_]:
    manifest.require([column], "evaluation")
    return np.array(["" if value is None else str(value) for value in manifest.column(column)])


def _stated(manifest: Manifest) -> tuple[str, str, list[Fold]] | None:
    if "split" not in manifest.columns:
        return None
    stated = _texts(manifest, "split")
    train, validation, test = (np.flatnonzero(stated == name) for name in ("train", "val", "test"))
    if len(test):
        return "test", "column 'split': train against test", [Fold("test", train, test, validation)]
    return "val", "column 'split': train against val", [Fold("val", train, validation, _NONE)]


def _leave_one_out(groups: npt.NDArray[np.str_], within: npt.NDArray[np.str_]) -> list[Fold]:
    folds = []
    for group in np.unique(groups):
        test = np.flatnonzero(groups == group)
        train = np.flatnonzero((within == within[test[0]]) & (groups != group))
        folds.append(Fold(str(group), train, test, _NONE))
    return folds


def _drawn(groups: Sequence[str], labels: IntArray, seed: int) -> tuple[str, str, list[Fold]]:
    names, member = np.unique(groups, return_inverse=True)
    count = min(FOLDS, len(names))
    if count < 2:
        raise DataError("the manifest has a single group, so nothing is left to test on: add a column 'split'")
    tally = np.zeros((len(names), labels.max() + 1))
    np.add.at(tally, (member, labels), 1.0)
    tally /= tally.sum(0).clip(1)
    fold_of, filled = np.zeros(len(names), np.int64), np.zeros((count, tally.shape[1]))
    order = numpy_generator("folds", seed).permutation(len(names))
    # Large groups first; each goes where it evens the classes out best.
    for name in order[np.argsort(-tally[order].sum(1), kind="stable")]:
        cost = ((filled + tally[name]) ** 2).sum(1) - (filled**2).sum(1)
        fold_of[name] = cost.argmin()
        filled[fold_of[name]] += tally[name]
    tested = fold_of[member]
    folds = [Fold(str(i), np.flatnonzero(tested != i), np.flatnonzero(tested == i), _NONE) for i in range(count)]
    description = (
        f"the manifest has no column 'split': {count} folds drawn by seed {seed}, classes balanced, groups whole"
    )
    return f"{count}-fold", description, folds
