"""Is the network learning features at all? Cheap measures on a few hundred samples, and their meaning in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from kinema.errors import DataError
from kinema.metrics.classification import knn_scores, topk_accuracy
from kinema.metrics.representation import effective_rank, feature_std

Level = Literal["good", "warning", "bad"]

# Rules of thumb. Measured for orientation: an untrained R3D on 218 clips has a spread of 0.18 and uses 10 % of the
# possible rank, with BatchNorm statistics of those clips 0.35 and 38 %.
_COLLAPSED, _CLOSE = 0.02, 0.08
_LOW_SHARE, _LOW_RANK = 0.03, 2.0
_NEIGHBOURS = 20


@dataclass(frozen=True)
class Health:
    """Measures of a set of features and what they mean.

    Attributes:
        feature_std: mean standard deviation of the L2-normalised features, relative to 1 / sqrt(D): 0 when all features
            point the same way, 1 when they fill the sphere evenly (SimSiam, Chen and He 2021, section 4.1).
        effective_rank: how many dimensions the features use, 1 to min(N, D) (Roy and Vetterli, 2007).
        dimension: D.
        knn: leave-one-out accuracy of 20 weighted nearest neighbours in percent; None without labels.
        level: "good", "warning" or "bad".
        verdict: one or two sentences for a person, with the remedy where one is needed.
    """

    feature_std: float
    effective_rank: float
    dimension: int
    knn: float | None
    level: Level
    verdict: str


def measure_health(features: Tensor, labels: Tensor | None = None) -> Health:
    """Measure features [N, D], one row per sample, optionally with class labels int64 [N].

    Give one row per video: clips of the same video are each other's neighbours and would flatter kNN.

    Raises:
        DataError: fewer than two samples.
    """
    if len(features) < 2:
        raise DataError(f"health needs the features of at least two samples, got {len(features)}")
    values = features.detach().float().cpu()
    count, dimension = values.shape
    broken = int((~values.isfinite()).any(1).sum())
    if broken:
        return Health(math.nan, math.nan, dimension, None, "bad", _broken(broken, count))
    spread = feature_std(values) * math.sqrt(dimension)
    rank = effective_rank(values)
    level, verdict = _judge(spread, rank, possible=min(count, dimension))
    knn = None
    if labels is not None:
        knn, chance = _leave_one_out(values, labels.detach().cpu())
        verdict += _knn_words(knn, chance)
    return Health(spread, rank, dimension, knn, level, verdict)


def _broken(broken: int, count: int) -> str:
    return (
        f"{broken} of {count} feature vectors are not finite: the weights have diverged. "
        "Lower the learning rate (optimiser.lr) or set clip_grad=1, and start again from an earlier checkpoint."
    )


def _judge(spread: float, rank: float, *, possible: int) -> tuple[Level, str]:
    numbers = f"spread {spread:.2f} of 1, effective rank {rank:.0f} of {possible}"
    if spread < _COLLAPSED:
        return "bad", (
            f"The features have collapsed: all videos look the same to the network ({numbers}). "
            "Lower the learning rate (optimiser.lr) or lengthen its warm-up (schedule.warmup), and start again."
        )
    if rank < max(_LOW_RANK, _LOW_SHARE * possible):
        return "warning", (
            f"The features use few of their dimensions ({numbers}). "
            "Early in training this is normal; if it lasts, lower the learning rate or the weight decay."
        )
    if spread < _CLOSE:
        return "warning", (
            f"The features lie close together ({numbers}). "
            "Early in training this is normal; if it shrinks further, lower the learning rate."
        )
    return "good", f"The features are spread out and use many dimensions ({numbers})."


def _leave_one_out(features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy of kNN and the share of the commonest class, both in percent."""
    _, numbers = np.unique(labels.numpy(), return_inverse=True)
    counts = np.bincount(numbers)
    scores = knn_scores(features, numbers, features, classes=len(counts), k=_NEIGHBOURS, exclude_self=True)
    return topk_accuracy(scores, numbers), float(100 * counts.max() / len(numbers))


def _knn_words(knn: float, chance: float) -> str:
    """What kNN says. It lowers no level: labels may ask for what the pretext cannot teach."""
    against = f"kNN finds the right class for {knn:.1f} % (always the commonest class: {chance:.1f} %)"
    return f" {against}, so they do not tell these classes apart yet." if knn <= chance else f" {against}."
