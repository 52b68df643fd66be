"""The three ways in which a square frame is cut into regions, and counting over all of their regions at once.

Every pixel belongs to one *cell*: the set of pixels that lie in the same regions of all three patterns. What is counted
per cell (64 of them) is summed to the 28 regions afterwards, so the pixels are visited once instead of three times.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kinema.errors import RecipeError

PATTERNS = (1, 2, 3)
REGIONS = (16, 4, 8)
"""Number of regions of the patterns 1 (4 x 4 grid), 2 (square rings) and 3 (triangles around the centre)."""


class Cells(NamedTuple):
    """The joint cells of the three patterns on one frame size.

    Attributes:
        of_pixel: int64 [S * S], the cell of each pixel, row by row.
        total: number of cells C.
        members, starts: the cells of each of the 28 regions (patterns 1, 2, 3 in turn), one list after another.
        areas: float64 [28], pixels of each region.
    """

    of_pixel: Tensor
    total: int
    members: Tensor
    starts: Tensor
    areas: Tensor

    def sum_regions(self, table: Tensor) -> Tensor:
        """Sums over cells, [N, C, K] (float32 or float64), to sums over regions, [N, 28, K].

        Plain additions, so that counts stay exact whatever precision torch is allowed to use in matrix products.
        """
        rows = torch.arange(table.shape[0], device=table.device)[:, None]
        members, starts = rows * self.total + self.members, rows * len(self.members) + self.starts
        sums = functional.embedding_bag(members.flatten(), table.flatten(0, 1), starts.flatten(), mode="sum")
        return sums.view(table.shape[0], -1, table.shape[2])


def partition(pattern: int, size: int) -> Tensor:
    """Masks of one partitioning pattern on a square frame (STS section 3, figure 3).

    Pattern 1: a 4 x 4 grid, row by row. Pattern 2: four square rings, from the inside out, of sides k * size / 4.
    Pattern 3: eight triangles between the centre lines and the diagonals: left side upper half, top left, top right,
    right upper, left lower, bottom left, bottom right, right lower. Pixels on a diagonal belong to both triangles.

    Args:
        pattern: 1, 2 or 3.
        size: side S of the frame in pixels, a multiple of 8.

    Returns:
        bool [R, S, S] with R = 16, 4, 8.

    Raises:
        RecipeError: another pattern, or a size that is not divisible by 8.
    """
    check_size(size)
    if pattern not in PATTERNS:
        raise RecipeError(f"pattern {pattern} does not exist. Known: 1 (grid), 2 (rings), 3 (triangles).")
    return (_grid, _rings, _triangles)[pattern - 1](size)


def check_size(size: int) -> None:
    """Refuse frame sizes on which the patterns have no whole-pixel borders.

    Raises:
        RecipeError: `size` is not a positive multiple of 8.
    """
    if size < 8 or size % 8:
        near = max(8, 8 * round(size / 8))
        raise RecipeError(f"crop size {size}: the region patterns need a multiple of 8. Choose size {near}.")


@lru_cache(maxsize=8)
def joint_cells(size: int, device: torch.device) -> Cells:
    """The cells of a frame size, kept for the next batch."""
    masks = torch.cat([partition(pattern, size) for pattern in PATTERNS]).flatten(1)
    signature = (masks.long() << torch.arange(len(masks))[:, None]).sum(0)
    signatures, of_pixel = torch.unique(signature, return_inverse=True)
    inside = (signatures >> torch.arange(len(masks))[:, None]) & 1 == 1
    members = torch.cat([region.nonzero()[:, 0] for region in inside])
    starts = inside.sum(1).cumsum(0) - inside.sum(1)
    areas = masks.sum(1).double()
    return Cells(of_pixel.to(device), len(signatures), members.to(device), starts.to(device), areas.to(device))


def by_pattern(values: Tensor, dim: int) -> tuple[Tensor, ...]:
    """Cut the axis of the 28 regions into those of patterns 1, 2 and 3."""
    return torch.split(values, list(REGIONS), dim)


def tally(index: Tensor, size: int, weights: Tensor) -> Tensor:
    """Sum `weights` by `index` into [size], in the type of `weights`; never waits for the device.

    Args:
        index: integers 0 .. size - 1 of any shape.
        size: number of sums.
        weights: float32 or float64 of the same shape; repeated values may be an expanded tensor.
    """
    if index.device.type == "cpu":
        return torch.bincount(index.reshape(-1), weights.reshape(-1), minlength=size)
    return scatter_tally(index, size, weights)


def scatter_tally(index: Tensor, size: int, weights: Tensor) -> Tensor:
    """`tally` for devices where `torch.bincount` would wait for the result."""
    return weights.new_zeros(size).scatter_add_(0, index.reshape(-1).long(), weights.reshape(-1))


def clips_per_pass(device: torch.device) -> int:
    """How many clips to treat at once: one on the CPU, where its tables then stay in the cache, more elsewhere."""
    return 1 if device.type == "cpu" else 16


def _grid(size: int) -> Tensor:
    line = torch.arange(size) // (size // 4)
    return (4 * line[:, None] + line) == torch.arange(16)[:, None, None]


def _rings(size: int) -> Tensor:
    from_border = torch.arange(size).minimum(size - 1 - torch.arange(size)) // (size // 8)
    return from_border[:, None].minimum(from_border) == torch.arange(3, -1, -1)[:, None, None]


def _triangles(size: int) -> Tensor:
    along = 2 * torch.arange(size) + 1 - size
    y, x = along[:, None].expand(size, size), along.expand(size, size)
    top, left = y < 0, x < 0
    beside, above = x.abs() >= y.abs(), y.abs() >= x.abs()
    upper = (top & left & beside, top & left & above, top & ~left & above, top & ~left & beside)
    lower = (~top & left & beside, ~top & left & above, ~top & ~left & above, ~top & ~left & beside)
    return torch.stack(upper + lower)
