"""Training with few labels: which videos of each class stay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinema.errors import RecipeError
from kinema.evaluation.splits import Fold, Split, checked
from kinema.randomness import numpy_generator

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subset:
    """How few training videos a protocol gets; at most one of the first three.

    Every class has one order of its videos, drawn by `seed` and the number of the draw, and gives its first ones: a
    smaller subset is contained in each larger one of the same draw. A class with fewer videos gives all of them.

    Attributes:
        shots: videos per class (10 and 50 in the child-view study).
        fraction: share of each class, rounded, at least one video (0.01 and 0.1 in semi-supervised protocols).
        examples: videos over all classes, ceil(examples / classes) of each (1000 in the SEVERE benchmark).
        draws: how often this is drawn anew; each draw is a row of its own.
        seed: key of the draws. The same for every arm and training seed, so that all see the same lists.
    """

    shots: int | None = None
    fraction: float | None = None
    examples: int | None = None
    draws: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        named = {"shots": self.shots, "fraction": self.fraction, "examples": self.examples}
        given = {name: value for name, value in named.items() if value is not None}
        if len(given) > 1:
            raise RecipeError(f"{' and '.join(given)} exclude each other: give one")
        for name, value in (given | {"draws": self.draws}).items():
            if not value > 0 or (name == "fraction" and value > 1):
                raise RecipeError(f"{name}={value}: must be positive{', at most 1' if name == 'fraction' else ''}")

    @property
    def is_whole(self) -> bool:
        """True where all training videos stay."""
        return self.shots is None and self.fraction is None and self.examples is None

    @property
    def description(self) -> str:
        """For cards."""
        if self.shots is not None:
            return f"{self.shots} per class"
        if self.fraction is not None:
            return f"{100 * self.fraction:g} % of each class"
        return f"{self.examples} examples" if self.examples is not None else "all"

    def per_class(self, classes: int) -> Callable[[int], int]:
        """From the size of a class to the videos that it gives, where there are `classes` classes."""
        if self.shots is not None:
            return lambda size: min(size, self.shots or 0)
        if self.examples is not None:
            share = math.ceil(self.examples / classes)
            return lambda size: min(size, share)
        fraction = 1.0 if self.fraction is None else self.fraction
        return lambda size: min(size, max(1, round(fraction * size)))


def subset_split(split: Split, subset: Subset, draw: int) -> Split:
    """The same division with the training rows of each fold reduced; test and validation rows stay."""
    if subset.is_whole:
        return split
    folds = tuple(fold._replace(train=_chosen(split, fold, subset, draw)) for fold in split.folds)
    name = f"{split.name}, {subset.description}"
    description = f"{split.description}; training videos: {subset.description}, draw {draw}"
    return checked(Split(name, description, folds, split.groups, split.classes, split.labels))


def _chosen(split: Split, fold: Fold, subset: Subset, draw: int) -> IntArray:
    labels = split.labels[fold.train]
    kept = []
    count = subset.per_class(len(split.classes))
    for number in np.unique(labels):
        rows = fold.train[labels == number]
        order = numpy_generator("subset", subset.seed, draw, fold.name, split.classes[number]).permutation(len(rows))
        kept.append(rows[order[: count(len(rows))]])
    return np.sort(np.concatenate(kept))
