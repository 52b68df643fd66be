"""Views that the contrastive peers share: boxes and turns by `grid_sample`, all colours as one matrix per clip."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

GREY = np.tile(np.array([0.2989, 0.587, 0.114]), (3, 1))
TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
FROM_YIQ = np.linalg.inv(TO_YIQ)


def look(clips: Tensor, box: Tensor, flip: Tensor, size: int, angle: Tensor | None = None) -> Tensor:
    """Boxes (top, left, height, width) of uint8 clips at `size`, as floats 0 to 255, turned about the frame's middle."""
    batch, channels, frames, height, width = clips.shape
    theta = np.empty((batch, 2, 3))
    angles = angle.tolist() if angle is not None else [0.0] * batch
    drawn = zip(box.tolist(), flip.tolist(), angles, strict=True)
    for i, ((top, left, high, wide), mirrored, turned) in enumerate(drawn):
        # From view coordinates in [-1, 1] to pixels about the frame's middle, and on to the frame's [-1, 1].
        across = np.array([(-wide if mirrored else wide) / 2, 0, left + wide / 2 - width / 2])
        down = np.array([0, high / 2, top + high / 2 - height / 2])
        cosine, sine = math.cos(math.radians(turned)), math.sin(math.radians(turned))
        theta[i] = (cosine * across - sine * down) * 2 / width, (sine * across + cosine * down) * 2 / height
    grid = affine_grid(torch.from_numpy(theta).float(), [batch, 1, size, size], align_corners=False)
    out = torch.empty(batch, channels * frames, size, size)
    for i in range(batch):  # twice as fast as all at once, which leaves the processor's cache
        flat = clips[i].reshape(1, channels * frames, height, width).float()
        out[i] = grid_sample(flat, grid[i : i + 1], padding_mode="border", align_corners=False)[0]
    return out.view(batch, channels, frames, size, size)


def colour_maps(
    factors: Tensor, order: Tensor, means: Tensor, *, grey: Tensor | None, grey_first: bool, per_channel: bool
) -> tuple[Tensor, Tensor]:
    """Matrices [B, 3, 3] and offsets [B, 3, 1] from values 0 to 255 to [0, 1], from the clips' channel means [B, 3]."""
    matrices, offsets = np.empty((len(factors), 3, 3)), np.empty((len(factors), 3))
    turned = grey.tolist() if grey is not None else [False] * len(factors)
    for i, (numbers, places, mean) in enumerate(zip(factors.tolist(), order.tolist(), means.numpy(), strict=True)):
        matrix, offset = np.eye(3) / 255, np.zeros(3)
        if turned[i] and grey_first:
            matrix = GREY @ matrix
        for place in places:
            factor = numbers[place]
            if place == 0:
                matrix, offset = factor * matrix, factor * offset
            elif place == 1:
                now = matrix @ mean + offset
                pivot = now if per_channel else GREY @ now
                matrix, offset = factor * matrix, factor * offset + (1 - factor) * pivot
            else:
                step = _saturation(factor) if place == 2 else _hue(factor)
                matrix, offset = step @ matrix, step @ offset
        if turned[i] and not grey_first:
            matrix, offset = GREY @ matrix, GREY @ offset
        matrices[i], offsets[i] = matrix, offset
    return torch.from_numpy(matrices).float(), torch.from_numpy(offsets).float()[..., None]


def coloured(clips: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Clips [B, 3, T, H, W] through their matrices, cut to [0, 1]."""
    return torch.baddbmm(offset, matrix, clips.flatten(2)).view(clips.shape).clamp_(0, 1)


def _saturation(factor: float) -> np.ndarray:
    return factor * np.eye(3) + (1 - factor) * GREY


def _hue(turns: float) -> np.ndarray:
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    return FROM_YIQ @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]]) @ TO_YIQ
