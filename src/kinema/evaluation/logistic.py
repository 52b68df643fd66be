"""The `logreg` probe: L2-regularised multinomial logistic regression, its strength chosen on held-out training data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.metrics.classification import softmax
from kinema.randomness import numpy_generator

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_WITHOUT_CHOICE = 1e-2
_SHARE, _ENOUGH, _MOST_PARTS = 0.1, 30, 5


@dataclass(frozen=True)
class LogisticModel:
    """softmax(((x - mean) / scale) W + b) over the classes seen in training; unseen classes have probability 0.

    Attributes:
        mean, scale: [D], of the training features.
        weight, bias: [D, seen], [seen].
        seen: int64 [seen], class numbers.
        classes: number of columns of the result.
    """

    mean: FloatArray
    scale: FloatArray
    weight: FloatArray
    bias: FloatArray
    seen: IntArray
    classes: int

    def probabilities(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """[..., D] to [..., classes]."""
        logits = ((features - self.mean) / self.scale) @ self.weight + self.bias
        full = np.zeros((*logits.shape[:-1], self.classes))
        full[..., self.seen] = softmax(logits)
        return full


class Choice(NamedTuple):
    """The chosen C (inverse strength), the held-out samples it was chosen on, and their log loss at each C."""

    C: float
    held_out: int
    losses: tuple[float, ...]


def fit_logistic(
    features: FloatArray, labels: IntArray, strengths: Sequence[float], *, classes: int
) -> list[LogisticModel]:
    """One model per strength C, in order; each search starts from the optimum before it.

    Features [N, D] are standardised by their own mean and deviation. Where D > N the problem is solved in the span of
    the samples, which holds the optimum: the penalty rules out any part of the weights that no sample can see.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    values = np.asarray(features, np.float64)
    mean, scale = values.mean(0), values.std(0)
    scale[scale < 1e-6 * max(1e-12, float(scale.max(initial=0.0)))] = 1.0
    values = (values - mean) / scale
    basis = np.linalg.svd(values, full_matrices=False)[2].T if values.shape[1] > len(values) else None
    solver = LogisticRegression(max_iter=1000, tol=1e-4, warm_start=True)
    models = []
    for strength in strengths:
        with warnings.catch_warnings():
            # A thousand steps from a neighbouring optimum are near enough for an accuracy.
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.set_params(C=strength).fit(values if basis is None else values @ basis, labels)
        weight, bias = solver.coef_.T, solver.intercept_
        if len(solver.classes_) == 2:
            weight, bias = weight * [[0.0, 1.0]], bias * np.array([0.0, 1.0])
        weight = weight.copy() if basis is None else basis @ weight
        models.append(LogisticModel(mean, scale, weight, bias.copy(), solver.classes_.astype(np.int64), classes))
    return models


def choose_strength(
    features: FloatArray,
    labels: IntArray,
    groups: Sequence[str],
    *,
    classes: int,
    seed: int,
    grid: Sequence[float] = GRID,
) -> Choice:
    """The C of `grid` with the least log loss on held-out tenths (`hold_outs`); ties go to the stronger penalty.

    Where no tenth can be taken out without losing a class, C = 0.01.
    """
    parts = []
    for held in hold_outs(labels, groups, seed=seed):
        train, rest = (features[~held], labels[~held]), (features[held], labels[held])
        parts.append(compare_strengths(train, rest, classes=classes, grid=grid))
    if not parts:
        return Choice(_WITHOUT_CHOICE, 0, ())
    judged = [part.held_out for part in parts]
    losses = np.average([part.losses for part in parts], axis=0, weights=judged)
    return Choice(grid[int(np.argmin(losses))], sum(judged), tuple(losses.tolist()))


def compare_strengths(
    train: tuple[FloatArray, IntArray], held: tuple[FloatArray, IntArray], *, classes: int, grid: Sequence[float] = GRID
) -> Choice:
    """The C of `grid` with the least log loss on `held` after fitting on `train`, each (features, labels)."""
    losses = []
    for model in fit_logistic(*train, grid, classes=classes):
        chosen = model.probabilities(held[0])[np.arange(len(held[1])), held[1]]
        losses.append(float(-np.log(chosen.clip(1e-12)).mean()))
    return Choice(grid[int(np.argmin(losses))], len(held[1]), tuple(losses))


def hold_outs(labels: IntArray, groups: Sequence[str], *, seed: int) -> list[npt.NDArray[np.bool_]]:
    """Disjoint parts of about a tenth each, in whole groups, whose absence leaves a sample of every class.

    One tenth where it holds 30 samples; in smaller sets, where it would decide by chance, up to five tenths until they
    do. Groups are tried in an order drawn by `seed`. Empty where no group can be spared.
    """
    _, member, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    limit = max(_SHARE * len(labels), sizes.min())
    free = list(numpy_generator("hold_outs", seed).permutation(len(sizes)))
    parts: list[npt.NDArray[np.bool_]] = []
    while len(parts) < _MOST_PARTS and sum(part.sum() for part in parts) < _ENOUGH:
        held = np.zeros(len(labels), bool)
        for group in tuple(free):
            tried = held | (member == group)
            if tried.sum() <= limit and len(np.unique(labels[~tried])) == len(np.unique(labels)):
                held = tried
                free.remove(group)
        if not held.any():
            break
        parts.append(held)
    return parts
