"""From the labels of a clip to what a network predicts: 27 numbers, 35 numbers or 27 classes, whole or in groups.

STS section 3.5.2 (table 4): 1D regression predicts the labels themselves, 2D regression writes the places of patterns 1
and 3 as (row, column), classification uses class = label - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kinema.errors import RecipeError
from kinema.targets.statistics.patterns import PATTERNS, REGIONS

Encoding = Literal["1d", "2d", "classification"]
DIRECTIONS = 8
OCTANTS = 8

MOTION_NAMES = (*(f"{label}_{w}, pattern {k}" for k in PATTERNS for w in "uv" for label in "po"), "I_u", "I_v")
APPEARANCE_NAMES = (*(f"{label}_{kind}, pattern {k}" for k in PATTERNS for kind in "ls" for label in "pc"), "C")
"""The paper's symbols of the labels, in order."""

_LOCAL_GROUPS = tuple(pattern for pattern in PATTERNS for _ in range(4))
# Which 1D entry each 2D entry comes from: places of patterns 1 and 3 (even positions there) appear twice.
_LOCAL_2D = tuple(i for i in range(12) for _ in range(2 if i % 2 == 0 and not 4 <= i < 8 else 1))
MOTION_2D_SOURCE = (*_LOCAL_2D, 12, 13)
APPEARANCE_2D_SOURCE = (*_LOCAL_2D, 12)
"""Index of the 1D label behind every 2D number, for example to expand a validity mask: `valid[:, MOTION_2D_SOURCE]`."""


class Encoded(NamedTuple):
    """A pair for the two branches of the network; what the parts hold depends on the function that returns it."""

    motion: Tensor
    appearance: Tensor


class ClassCounts(NamedTuple):
    """Number of classes of each label."""

    motion: tuple[int, ...]
    appearance: tuple[int, ...]


class Columns(NamedTuple):
    """Positions of the chosen labels within all motion and all appearance labels."""

    motion: tuple[int, ...]
    appearance: tuple[int, ...]


@dataclass(frozen=True)
class LabelGroups:
    """Which labels take part (the switches of the published ablations).

    Attributes:
        motion: patterns (1, 2, 3) whose four motion labels are used.
        motion_global: use I_u and I_v, the moments of largest motion.
        appearance: patterns whose four appearance labels are used.
        appearance_global: use C, the colour of the clip.
    """

    motion: tuple[int, ...] = PATTERNS
    motion_global: bool = True
    appearance: tuple[int, ...] = PATTERNS
    appearance_global: bool = True

    def __post_init__(self) -> None:
        for name, patterns in (("motion", self.motion), ("appearance", self.appearance)):
            if not set(patterns) <= set(PATTERNS):
                raise RecipeError(f"label group {name}={list(patterns)}: the patterns are 1, 2 and 3.")
        columns = self.columns()
        if not columns.motion and not columns.appearance:
            raise RecipeError("all label groups are switched off: keep at least one pattern or global label.")

    def columns(self, encoding: Encoding = "1d") -> Columns:
        """Positions of the chosen labels, in order: among 14 and 13 numbers, or 18 and 17 when `encoding` is "2d"."""
        local = _LOCAL_GROUPS if encoding != "2d" else tuple(_LOCAL_GROUPS[i] for i in _LOCAL_2D)
        return Columns(
            _chosen(local, self.motion, 2 * self.motion_global), _chosen(local, self.appearance, self.appearance_global)
        )

    def select(self, motion: Tensor, appearance: Tensor, encoding: Encoding = "1d") -> Encoded:
        """The chosen columns of [..., 14] and [..., 13] (or [..., 18] and [..., 17] when "2d"); also for masks."""
        columns = self.columns(encoding)
        return Encoded(_take(motion, columns.motion), _take(appearance, columns.appearance))


def to_2d(motion: Tensor, appearance: Tensor) -> Encoded:
    """Replace the places of patterns 1 and 3 by 1-based (row, column); order and all else stay.

    Pattern 1 has 4 rows of 4, pattern 3 two rows of 4 (upper half 1 .. 4, lower half 5 .. 8). Label 0 becomes (0, 0).

    Args:
        motion: integers [..., 14].
        appearance: integers [..., 13].

    Returns:
        [..., 18] and [..., 17], for pattern 1: [row_u, column_u, o_u, row_v, column_v, o_v].
    """
    return Encoded(_spread(motion, MOTION_2D_SOURCE), _spread(appearance, APPEARANCE_2D_SOURCE))


def class_counts(groups: LabelGroups | None = None, *, rgb_frames: int = 16) -> ClassCounts:
    """Classes per label of the chosen groups (None: all); the class of a label is label - 1, and 0 has none.

    For 16 frames: motion 16 8 16 8, 4 8 4 8, 8 8 8 8, 15 15; appearance 16 8 16 8, 4 8 4 8, 8 8 8 8, 8; together 246.
    """
    columns = (groups or LabelGroups()).columns()
    local = tuple(count for regions in REGIONS for count in (regions, DIRECTIONS, regions, DIRECTIONS))
    motion, appearance = (*local, rgb_frames - 1, rgb_frames - 1), (*local, OCTANTS)
    return ClassCounts(tuple(motion[i] for i in columns.motion), tuple(appearance[i] for i in columns.appearance))


def _chosen(local: Sequence[int], patterns: Sequence[int], last: int) -> tuple[int, ...]:
    """Positions of `patterns` within `local`, then the `last` global labels that follow it."""
    return (*(i for i, pattern in enumerate(local) if pattern in patterns), *range(len(local), len(local) + last))


def _take(labels: Tensor, columns: Sequence[int]) -> Tensor:
    # views instead of an index tensor, which would have to be copied to the device
    return torch.stack([labels[..., i] for i in columns], -1) if columns else labels[..., :0]


def _spread(labels: Tensor, source: tuple[int, ...]) -> Tensor:
    spread = _take(labels, source)
    for position, origin in enumerate(source[:-1]):
        if source[position + 1] == origin:
            place = labels[..., origin]
            spread[..., position] = (place + 3) // 4
            spread[..., position + 1] = torch.where(place > 0, (place - 1) % 4 + 1, 0)
    return spread
