"""What a clip in slow motion would show, and where it moves (PRP, CVPR 2020, arXiv 2006.11476)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

LOW, HIGH = 0.8, 2.0
"""Published range of motion masks."""

EPSILON = 1e-6
"""Of the min-max scaling."""


class SlowMotion(NamedTuple):
    """A clip at half its dilation.

    Attributes:
        frames: floating [B, 3, 2T, S, S].
        known: floating [B, 2T], 1 for frames that the video holds, 0 for those made up.
    """

    frames: Tensor
    known: Tensor


def slow_motion_target(shown: Tensor, dilation: Tensor) -> SlowMotion:
    """The target of reconstruction from the frames at `slow_motion_positions`.

    Where the dilation is 1 nothing lies between frames k and k + 1: slot 2k + 1 becomes their mean (the last slot
    repeats the last frame) and is not known.

    Args:
        shown: floating [B, 3, 2T, S, S]; every second frame, from the first, is the clip.
        dilation: integers [B].
    """
    clip, between = shown[:, :, ::2], shown[:, :, 1::2]
    following = torch.cat([clip[:, :, 1:], clip[:, :, -1:]], 2)
    adjacent = dilation == 1
    between = torch.where(adjacent.view(-1, 1, 1, 1, 1), (clip + following) / 2, between)
    known = torch.ones(shown.shape[0], shown.shape[2], device=shown.device)
    known[:, 1::2] -= adjacent.to(known.dtype)[:, None]
    return SlowMotion(torch.stack([clip, between], 3).flatten(2, 3), known)


def window_differences(frames: Tensor, window: int, step: int) -> Tensor:
    """Mean squared differences of neighbouring frames in square windows.

    Args:
        frames: floating [N, C, F, S, S].
        window: side of a window; 28 is published for S = 112.
        step: between windows; 7 is published.

    Returns:
        [N, C, g, g] with g = (S - window) // step + 1, the mean over the F - 1 pairs.
    """
    differences = frames.diff(dim=2).square_().mean(2)
    if window % step:
        return avg_pool2d(differences, window, step)
    # Overlapping windows of whole steps: each step is averaged once.
    return avg_pool2d(avg_pool2d(differences, step), window // step, 1)


def pooled_mask(differences: Tensor, size: int, *, low: float = LOW, high: float = HIGH) -> Tensor:
    """DPAU: per channel, differences [N, C, g, g] scaled to [low, high] over the grid, then enlarged to [N, C, S, S].

    All ones where nothing differs between windows in any channel, as in a still clip. A single such channel among
    others is `high` everywhere, as the published scaling has it.
    """
    least, most = differences.amin((2, 3), keepdim=True), differences.amax((2, 3), keepdim=True)
    scaled = low + (high - low) * (differences - least + EPSILON) / (most - least + EPSILON)
    grown = interpolate(scaled, (size, size), mode="bilinear", align_corners=False)
    return _ones_where(most == least, grown)


def gauss_mask(
    differences: Tensor, size: int, *, window: int, step: int, sigma: float, low: float = LOW, high: float = HIGH
) -> Tensor:
    """A Gaussian about the middle of the window with the largest difference: [N, 1, S, S] in [low, high].

    All ones where nothing differs between windows, which the sources leave open.
    """
    total = differences.sum(1)
    best, grid = total.flatten(1).argmax(1), differences.shape[-1]
    places = torch.arange(size, device=differences.device, dtype=differences.dtype)
    corners = torch.stack([best // grid, best % grid], 1) * step
    away = places - (corners[:, :, None] + (window - 1) / 2)
    down, across = torch.exp(-away.square() / (2 * sigma**2)).unbind(1)
    bump = (down[:, :, None] * across[:, None, :])[:, None]
    least, most = bump.amin((2, 3), keepdim=True), bump.amax((2, 3), keepdim=True)
    scaled = low + (high - low) * (bump - least) / (most - least)
    return _ones_where((total.amax((1, 2)) == total.amin((1, 2))).view(-1, 1, 1, 1), scaled)


def _ones_where(still: Tensor, mask: Tensor) -> Tensor:
    """`still` is bool [N, C, 1, 1]; a mask becomes ones where all its channels are."""
    return torch.where(still.all(1, keepdim=True), torch.ones_like(mask), mask)
