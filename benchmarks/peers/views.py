"""Views that the contrastive peers share: boxes and turns by `grid_sample`, all colours as one matrix.

Clip by clip, since one clip with all that is made of it stays in the processor's cache: twice as fast as whole batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

GREY = np.tile(np.array([0.2989, 0.587, 0.114]), (3, 1))
TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
FROM_YIQ = np.linalg.inv(TO_YIQ)
_NAMES = ("box", "flip", "angle", "factors", "factor_order", "grey")


class Drawn(NamedTuple):
    """The numbers of one clip's view, as Python numbers: reading them one by one from tensors takes longer."""

    box: list[float]
    flip: bool
    angle: float = 0.0
    factors: Sequence[float] = ()
    order: Sequence[int] = ()
    grey: bool = False


def all_drawn(read: Mapping[str, Tensor], prefix: str) -> list[Drawn]:
    """The numbers of a batch, clip by clip."""
    names = {"factor_order": "order"}
    found = {name: read[prefix + name].tolist() for name in _NAMES if prefix + name in read}
    rows = zip(*found.values(), strict=True)
    return [Drawn(**{names.get(name, name): value for name, value in zip(found, row, strict=True)}) for row in rows]


def look(clip: Tensor, drawn: Drawn, size: int) -> Tensor:
    """The box (top, left, height, width) of a uint8 clip [3, T, H, W] at `size`, turned about the frame's middle.

    Floats [3, T, size, size], 0 to 255.
    """
    channels, frames, height, width = clip.shape
    top, left, high, wide = drawn.box
    # From view coordinates in [-1, 1] to pixels about the frame's middle, and on to the frame's [-1, 1].
    across = np.array([(-wide if drawn.flip else wide) / 2, 0, left + wide / 2 - width / 2])
    down = np.array([0, high / 2, top + high / 2 - height / 2])
    cosine, sine = math.cos(math.radians(drawn.angle)), math.sin(math.radians(drawn.angle))
    theta = np.stack([(cosine * across - sine * down) * 2 / width, (sine * across + cosine * down) * 2 / height])
    grid = affine_grid(torch.from_numpy(theta).float()[None], [1, 1, size, size], align_corners=False)
    flat = clip.reshape(1, channels * frames, height, width).float()
    return grid_sample(flat, grid, padding_mode="border", align_corners=False).view(channels, frames, size, size)


def colour_map(drawn: Drawn, mean: np.ndarray, *, grey_first: bool, per_channel: bool) -> tuple[Tensor, Tensor]:
    """Matrix [3, 3] and offset [3, 1] from values 0 to 255 to [0, 1]; `mean` [3] is the clip's, per channel."""
    matrix, offset = np.eye(3) / 255, np.zeros(3)
    if drawn.grey and grey_first:
        matrix = GREY @ matrix
    for place in drawn.order:
        factor = drawn.factors[place]
        if place == 0:
            matrix, offset = factor * matrix, factor * offset
        elif place == 1:
            now = matrix @ mean + offset
            pivot = now if per_channel else GREY @ now
            matrix, offset = factor * matrix, factor * offset + (1 - factor) * pivot
        else:
            step = _saturation(factor) if place == 2 else _hue(factor)
            matrix, offset = step @ matrix, step @ offset
    if drawn.grey and not grey_first:
        matrix, offset = GREY @ matrix, GREY @ offset
    return torch.from_numpy(matrix).float(), torch.from_numpy(offset).float()[:, None]


def coloured(clip: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """A clip [3, T, H, W] through its matrix, cut to [0, 1]."""
    return torch.addmm(offset, matrix, clip.reshape(3, -1)).view(clip.shape).clamp_(0, 1)


def _saturation(factor: float) -> np.ndarray:
    return factor * np.eye(3) + (1 - factor) * GREY


def _hue(turns: float) -> np.ndarray:
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    return FROM_YIQ @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]]) @ TO_YIQ
