"""Rotary positions along time, height and width (RoFormer, Su et al., 2021; in three axes by V-JEPA 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from kinema.modules.transformer.attention import Rotation
from kinema.modules.transformer.patches import Grid


def axis_width(head_width: int) -> int:
    """Channels of a head that each of the three axes turns: the largest even number of which three fit."""
    return 2 * (head_width // 3 // 2)


def rotary(grid: Grid, head_width: int, *, stretched_from: Grid | None = None, like: Tensor) -> Rotation:
    """A rotation of queries and keys [B, heads, N, head_width] by the places of N tokens on `grid`.

    A token at place p on an axis turns the channels (2i, 2i + 1) of that axis's share; what no axis takes stays as it
    is. As published, channel c of a share of C channels has the frequency 10000^(-j / (C / 2)), j = c mod C / 2: the
    two channels of a pair have different ones, so that what comes out is no pure rotation. Weights were trained so.

    Args:
        grid: (time, height, width); tokens stand in that order, width fastest.
        head_width: channels of one head.
        stretched_from: places are scaled onto this grid (position interpolation); None: places count from 0.
        like: its device is that of the table.
    """
    share = axis_width(head_width)
    half = torch.arange(share // 2, dtype=torch.float32, device=like.device)
    rates = (10000.0 ** (-half / max(share // 2, 1))).repeat(2)
    scales = [1.0] * 3 if stretched_from is None else [old / new for old, new in zip(stretched_from, grid, strict=True)]
    axes = [torch.arange(count, device=like.device) * scale for count, scale in zip(grid, scales, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).float()
    angles = (places[:, :, None] * rates).flatten(1)
    angles = torch.nn.functional.pad(angles, (0, head_width - 3 * share))
    return _Turn(angles.cos(), angles.sin())


class _Turn:
    """x cos + x' sin, where x' swaps the channels of each pair, the first negated."""

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        self.cos, self.sin = cos, sin

    def __call__(self, x: Tensor) -> Tensor:
        odd = x.shape[-1] % 2
        pairs = x[..., : x.shape[-1] - odd].unflatten(-1, (-1, 2))  # type: ignore[no-untyped-call]
        swapped = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
        swapped = torch.nn.functional.pad(swapped, (0, odd))
        return x * self.cos.to(x.dtype) + swapped * self.sin.to(x.dtype)
