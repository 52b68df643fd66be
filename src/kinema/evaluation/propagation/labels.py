"""Labels on the way between pictures and the grid of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Size = tuple[int, int]


def one_hot(ids: Tensor, numbers: Sequence[int]) -> Tensor:
    """Ids [H, W] to float32 [L, H, W], one map for each of the `numbers`; other ids are in none."""
    wanted = torch.tensor(list(numbers), device=ids.device)
    return (ids[None] == wanted[:, None, None]).float()


def to_grid(
    ids: Tensor, numbers: Sequence[int], size: Size, grid: Size, *, how: Literal["bilinear", "nearest"] = "bilinear"
) -> Tensor:
    """Ids [H, W] of a picture to soft labels [L, h, w] on the grid of features.

    "bilinear": the nearest ids at the size of the encoded frame, as one-hot maps, scaled bilinearly without smoothing.
    "nearest": the nearest ids at the grid.
    """
    if how == "nearest":
        return one_hot(resized_ids(ids, grid), numbers)
    maps = one_hot(resized_ids(ids, size), numbers)
    return interpolate(maps[None], grid, mode="bilinear", align_corners=False)[0]


def to_picture(
    labels: Tensor,
    size: Size,
    shown: Size,
    *,
    stretch: Literal["none", "place", "label"] = "none",
) -> Tensor:
    """Soft labels [L, h, w] to the largest one's place in the list, uint8 [H, W] at the size `shown`; of equal ones the
    first.

    Labels are scaled bilinearly to `size`, that of the encoded frame, and the choice to `shown` by the nearest.
    """
    maps = _stretched(labels, (0,)) if stretch == "place" else labels
    maps = interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    maps = _stretched(maps, (1, 2)) if stretch == "label" else maps
    return resized_ids(maps.argmax(0).byte(), shown)


def resized_ids(ids: Tensor, size: Size) -> Tensor:
    """Ids [H, W] at another size: each pixel takes the id at its own centre."""
    if tuple(ids.shape) == size:
        return ids
    rows, columns = (
        ((torch.arange(new, device=ids.device, dtype=torch.float64) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in zip(size, ids.shape, strict=True)
    )
    return ids[rows[:, None], columns]


def _stretched(maps: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Maps brought to 0 … 1 over the axes; what is constant becomes 0."""
    low, high = maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)
