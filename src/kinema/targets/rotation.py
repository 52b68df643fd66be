"""Turns of whole clips by multiples of 90 degrees, and their labels (3DRotNet, arXiv 1811.11387)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kinema.errors import RecipeError


def quarter_turns(angles: Sequence[int]) -> tuple[int, ...]:
    """Angles in degrees as counts of quarter turns, 0 to 3.

    Raises:
        RecipeError: an angle is no multiple of 90, two are the same turn, or there are fewer than two.
    """
    quarters = tuple(angle // 90 % 4 for angle in angles)
    if any(angle % 90 for angle in angles) or len(set(quarters)) < len(quarters) or len(quarters) < 2:
        raise RecipeError(f"angles={list(angles)}: give at least two different multiples of 90 degrees")
    return quarters


def turn(clips: Tensor, quarters: int) -> Tensor:
    """Square clips [..., S, S] turned by `quarters` times 90 degrees counter-clockwise, every frame alike.

    One quarter is out[i, j] = in[j, S - 1 - i]. Pixels are moved, never interpolated.

    Raises:
        RecipeError: the clips are not square, so that their turns would differ in shape.
    """
    if clips.shape[-1] != clips.shape[-2]:
        raise RecipeError(f"only square clips can be turned: these are {tuple(clips.shape[-2:])} (height, width)")
    return torch.rot90(clips, quarters, (-2, -1))


def turn_each(clips: Tensor, labels: Tensor, quarters: Sequence[int]) -> Tensor:
    """Clips [B, C, T, S, S], clip b turned by `quarters[labels[b]]`.

    On the CPU clip by clip; elsewhere all turns of all clips, so that no label (int64 [B]) is read on the host.
    """
    if clips.device.type == "cpu":
        out = torch.empty_like(clips, memory_format=torch.contiguous_format)
        for shown, clip, label in zip(out, clips, labels.tolist(), strict=True):
            shown.copy_(turn(clip, quarters[label]))
        return out
    return _turn_masked(clips, labels, quarters)


def _turn_masked(clips: Tensor, labels: Tensor, quarters: Sequence[int]) -> Tensor:
    out = turn(clips, 0)
    for label, count in enumerate(quarters):
        chosen = (labels == label).view(-1, 1, 1, 1, 1)
        out = torch.where(chosen, turn(clips, count), out)
    return out


def all_turns(clips: Tensor, quarters: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Every clip under every turn, turn by turn: [R B, C, T, S, S], and labels int64 [R B]: B zeros, B ones, …"""
    turned = torch.cat([turn(clips, count) for count in quarters])
    labels = torch.arange(len(quarters), device=clips.device).repeat_interleave(len(clips))
    return turned, labels
