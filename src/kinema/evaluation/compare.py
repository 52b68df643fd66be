"""Is one arm better than another? Paired differences on the same videos, and a verdict in one word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.evaluation.measure import group_means
from kinema.evaluation.rows import Comparison
from kinema.metrics import paired_bootstrap, sign_flip_test

# With fewer groups no outcome of the sign-flip test can reach p = 0.05: 2 / 2^5 = 0.0625.
FEWEST_GROUPS = 6
LARGEST_P = 0.05

Hits = Mapping[tuple[int, int], npt.NDArray[np.float64]]


class Judged(NamedTuple):
    """One arm under one protocol: by seed and training subset, `hits` [test videos] of the headline in percent."""

    arm: str
    protocol: str
    metric: str
    hits: Hits

    @property
    def value(self) -> float:
        """Mean over seeds and videos."""
        return float(np.mean(list(self.hits.values())))


def compare(first: Judged, second: Judged, member: npt.NDArray[np.int64]) -> Comparison:
    """`first` minus `second`; `member` [test videos] numbers the groups from 0.

    Seeds are paired where both arms have the same ones; else each seed of `first` meets the mean of `second`.
    """
    counts = np.bincount(member)
    differences = _differences(first.hits, second.hits, member)
    estimate, low, high = paired_bootstrap(differences, weights=counts)
    p_value = sign_flip_test(differences.mean(0), weights=counts)
    return Comparison(
        first.arm,
        second.arm,
        first.protocol,
        first.metric,
        estimate,
        low,
        high,
        p_value,
        len(counts),
        verdict(low, high, len(counts), p_value),
        second.protocol if second.protocol != first.protocol else "",
    )


def verdict(low: float, high: float, groups: int, p_value: float) -> str:
    """The word: "beats" or "loses" only where the interval excludes 0, p is at most 0.05, and groups suffice.

    Over few groups an interval from resampling is too narrow: of two equal methods it would name a better one in every
    tenth comparison over nine groups.
    """
    if groups < FEWEST_GROUPS:
        return "too few groups"
    if p_value > LARGEST_P or low <= 0 <= high:
        return "not distinguishable"
    return "beats" if low > 0 else "loses"


def compare_with_references(
    first: Judged, references: Sequence[Judged], member: npt.NDArray[np.int64]
) -> list[Comparison]:
    """Comparisons with the pixel references; beating the best of them is called "useful"."""
    best = max(references, key=lambda judged: judged.value, default=None)
    found = []
    for reference in references:
        comparison = compare(first, reference, member)
        useful = reference is best and comparison.verdict == "beats"
        found.append(replace(comparison, verdict="useful") if useful else comparison)
    return found


def _differences(first: Hits, second: Hits, member: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """[seeds of first, groups]"""
    paired = first.keys() == second.keys()
    mean = np.mean(list(second.values()), axis=0)
    return np.stack([group_means(first[seed] - (second[seed] if paired else mean), member) for seed in sorted(first)])
