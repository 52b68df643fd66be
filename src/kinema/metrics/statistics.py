"""What a difference between two systems is worth: intervals and tests over groups of samples that belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.randomness import numpy_generator

EXACT_GROUPS = 20
_BLOCK = 500


class Interval(NamedTuple):
    """An estimate and its interval, in the unit of what was put in."""

    estimate: float
    low: float
    high: float


def paired_bootstrap(
    differences: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a paired difference over groups and seeds, resampled independently of each other.

    Args:
        differences: [groups] or [seeds, groups]: first system minus second, within each group.
        weights: [groups], the number of samples of each group; default equal. The estimate is the weighted mean,
            which for accuracies is the difference of the pooled accuracies.
        level: coverage of the interval.
        draws: bootstrap samples.
        seed: key of the resampling; the same call gives the same interval.
    """
    table = np.atleast_2d(np.asarray(differences, np.float64))
    seeds, groups = table.shape
    weight = np.ones(groups) if weights is None else np.asarray(weights, np.float64)
    generator = numpy_generator("paired_bootstrap", seed)
    means = []
    for start in range(0, draws, _BLOCK):
        block = min(_BLOCK, draws - start)
        runs = generator.integers(seeds, size=(block, seeds))
        chosen = generator.integers(groups, size=(block, groups))
        share = (runs[:, :, None] == np.arange(seeds)).mean(1)
        values = np.take_along_axis(share @ table, chosen, axis=1)
        means.append((values * weight[chosen]).sum(1) / weight[chosen].sum(1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.average(table.mean(0), weights=weight)), float(low), float(high))


def sign_flip_test(
    differences: npt.ArrayLike, *, weights: npt.ArrayLike | None = None, draws: int = 100_000, seed: int = 0
) -> float:
    """Two-sided p of the hypothesis that the sign of each group's difference [groups] is a coin toss.

    The statistic is the absolute (weighted) sum. Up to 20 groups all 2^groups sign patterns are enumerated; above that
    `draws` patterns are drawn, keyed by `seed`, and p = (1 + as extreme) / (1 + draws).
    """
    values = np.asarray(differences, np.float64)
    values = values if weights is None else values * np.asarray(weights, np.float64)
    # Sums that are equal on paper differ in the last bits.
    bound = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if len(values) <= EXACT_GROUPS:
        return float((np.abs(_all_signed_sums(values)) >= bound).mean())
    generator = numpy_generator("sign_flip_test", seed)
    extreme = 0
    for start in range(0, draws, _BLOCK):
        signs = generator.integers(0, 2, (min(_BLOCK, draws - start), len(values))) * 2.0 - 1.0
        extreme += int((np.abs(signs @ values) >= bound).sum())
    return (1 + extreme) / (1 + draws)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): p values of several tests, raised so that comparing each with 0.05 errs in one out of
    twenty families of tests, not in one out of twenty tests.
    """
    raised, least = list(p_values), 0.0
    for rank, position in enumerate(np.argsort(np.asarray(p_values), kind="stable")):
        least = max(least, min(1.0, (len(raised) - rank) * p_values[position]))
        raised[position] = least
    return raised


def _all_signed_sums(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def wilson_interval(hits: int, total: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share, for independent samples (clips of one scene are not)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))
