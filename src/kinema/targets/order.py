"""Orders of clips as classes: the rank of a permutation in the lexicographic list of all (VCOP, CVPR 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def permutation_rank(order: Sequence[int]) -> int:
    """The place of a permutation of 0 … N - 1 in the lexicographic list of all, from 0.

    (0, 1, 2) is 0, (0, 2, 1) is 1, (2, 1, 0) is 5. `order[j]` is the original place of what now stands at j: the
    permutation that was applied, not its inverse.

    Raises:
        ValueError: `order` is no permutation.
    """
    left = list(range(len(order)))
    if sorted(order) != left:
        raise ValueError(f"{tuple(order)} is no permutation of 0 … {len(order) - 1}")
    rank = 0
    for place in order:
        rank += left.index(place) * math.factorial(len(left) - 1)
        left.remove(place)
    return rank
