"""Colour of whole clips as one 3 x 3 matrix and an offset per clip.

Brightness, contrast, saturation, greyscale and a rotation of hue are all affine in (R, G, B); contrast pivots on a mean
of the picture before it, which follows from the means of the untouched channels, since everything before it is affine
too. So any chain of them is one matrix and one offset: a single pass over the pixels, cut to [0, 1] once, at the end.

The stock libraries cut after every operation and shift hue in HSV, which no matrix can do; `colour_exact` does that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.errors import RecipeError
from kinema.views.masking import constant

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Places in `ColourDraw.factors`, and their names in `ColourDraw.order`."""

GREY_WEIGHTS = (0.2989, 0.587, 0.114)
"""ITU-R 601 luma as torchvision, RSPNet and CVRL round it; kornia uses 0.299."""

Range = float | tuple[float, float]
Pivot = Literal["clip", "frame", "channel", "frame-channel", "zero"]


class ColourDraw(NamedTuple):
    """The numbers of one clip: float32 [4] factors, identity where an operation was not drawn, and their order."""

    factors: npt.NDArray[np.float32]
    order: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue, drawn once per clip.

    A number x means factors from [max(0, 1 - x), 1 + x], for hue shifts from [-x, x] turns; two numbers are the range.

    Attributes:
        brightness: range of the factor; of an added value with `additive`.
        contrast: range of the factor about the pivot.
        saturation: range of the factor about each pixel's grey.
        hue: range of the shift in turns; at most half a turn.
        p: probability that the clip is changed at all.
        each: probability of each of the four, given that.
        shuffled: in random order; else brightness, contrast, saturation, hue.
        additive: add to brightness instead of multiplying (VATT, CtP: 32 / 255).
        pivot: what contrast leaves alone: the mean grey of the "clip" (RSPNet) or of each "frame" (stock libraries),
            each "channel"'s own mean over the clip (CVRL) or each frame ("frame-channel"), or "zero".
        exact: cut to [0, 1] after each operation and shift hue in HSV, as the stock libraries do, instead of one matrix
            with a linear rotation of hue.
        hsv_saturation: scale the saturation of HSV instead (TensorFlow, CVRL); only with `exact`.
        grey: weights of (R, G, B) in a pixel's grey.
    """

    brightness: Range = 0.0
    contrast: Range = 0.0
    saturation: Range = 0.0
    hue: Range = 0.0
    p: float = 1.0
    each: float = 1.0
    shuffled: bool = True
    additive: bool = False
    pivot: Pivot = "clip"
    exact: bool = False
    hsv_saturation: bool = False
    grey: tuple[float, float, float] = GREY_WEIGHTS

    def __post_init__(self) -> None:
        if self.hsv_saturation and not self.exact:
            raise RecipeError("hsv_saturation=true is no matrix: set exact=true as well")
        low, high = _range(self.hue, middle=0.0)
        if not -0.5 <= low <= high <= 0.5:
            raise RecipeError(f"hue={self.hue}: give shifts in turns, within -0.5 and 0.5")

    @property
    def identity(self) -> tuple[float, float, float, float]:
        """The factors that change nothing."""
        return (0.0 if self.additive else 1.0, 1.0, 1.0, 0.0)

    def draw(self, rng: np.random.Generator) -> ColourDraw:
        """The numbers of one clip; as many random numbers are used whatever comes out."""
        order = rng.permutation(4) if self.shuffled else np.arange(4)
        changed = rng.random() < self.p
        drawn = (rng.random(4) < self.each) & changed
        ranges = zip((self.brightness, self.contrast, self.saturation, self.hue), self.identity, strict=True)
        factors = [rng.uniform(*_range(value, middle=middle)) for value, middle in ranges]
        return ColourDraw(np.where(drawn, factors, self.identity).astype(np.float32), order.astype(np.int64))


class Affine(NamedTuple):
    """x -> matrix x + offset: matrix [B, 3, 3], offset [B, 3, 1], or [B, 3, T] where frames differ."""

    matrix: Tensor
    offset: Tensor

    def then(self, matrix: Tensor, offset: Tensor | float = 0.0) -> Affine:
        """This map followed by another."""
        return Affine(matrix @ self.matrix, matrix @ self.offset + offset)


def jitter_matrix(jitter: ColourJitter, factors: Tensor, order: Tensor, *, means: Tensor, start: Affine) -> Affine:
    """`start` followed by the drawn operations.

    Args:
        jitter: their kind.
        factors: float [B, 4].
        order: int64 [B, 4].
        means: [B, 3, 1 or T], mean of each channel before `start`, per clip or per frame as `jitter.pivot` wants.
        start: what has been done to the pixels already.
    """
    now = start
    one = torch.eye(3, device=factors.device)
    # Matrices of all clips, not one for all: so products are the same in a batch and alone.
    grey = constant(jitter.grey, factors.device).expand(len(factors), 3, 3)
    brightness, contrast, saturation, hue = (factor.view(-1, 1, 1) for factor in factors.unbind(1))
    maps = {
        BRIGHTNESS: one.expand(len(factors), 3, 3) if jitter.additive else brightness * one,
        CONTRAST: contrast * one,
        SATURATION: saturation * one + (1 - saturation) * grey,
        HUE: hue_matrix(hue),
    }
    for place in range(4):
        chosen = order[:, place].view(-1, 1, 1)
        matrix = one.expand(len(factors), 3, 3)
        for operation, candidate in maps.items():
            matrix = torch.where(chosen == operation, candidate, matrix)
        pivot = _pivot(now.matrix @ means + now.offset, jitter.pivot, grey)
        offset = torch.where(chosen == CONTRAST, (1 - contrast) * pivot, torch.zeros_like(pivot))
        if jitter.additive:
            offset = offset + torch.where(chosen == BRIGHTNESS, brightness, torch.zeros_like(brightness))
        now = now.then(matrix, offset)
    return now


def grey_matrix(drawn: Tensor, weights: tuple[float, float, float] = GREY_WEIGHTS) -> Tensor:
    """[B, 3, 3]: all channels become the grey where `drawn` (bool [B]), else nothing changes."""
    one = torch.eye(3, device=drawn.device)
    return torch.where(drawn.view(-1, 1, 1), constant(weights, drawn.device).expand(3, 3), one)


def hue_matrix(turns: Tensor) -> Tensor:
    """[B, 3, 3] for `turns` [B, 1, 1]: a rotation of the colour plane of YIQ, which keeps luma and saturation.

    Positive turns go from red towards green, as in HSV. Hues move by other angles than in HSV, whose circle is a
    hexagon, and luma stays where HSV keeps the largest channel.
    """
    angle = 2 * math.pi * turns
    cosine, sine = angle.cos(), angle.sin()
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rows = ((one, zero, zero), (zero, cosine, sine), (zero, -sine, cosine))
    turn = torch.cat([torch.cat(row, 2) for row in rows], 1)
    there, back = (constant(values, turns.device).expand_as(turn) for values in (_TO_YIQ, _FROM_YIQ))
    return back @ (turn @ there)


def channel_means(clips: Tensor, pivot: Pivot) -> Tensor:
    """Means [B, 3, 1], or [B, 3, T] where the pivot is one of each frame; float clips [B, 3, T, H, W]."""
    return clips.mean((3, 4)) if pivot.startswith("frame") else clips.mean((2, 3, 4))[..., None]


def apply_affine(clips: Tensor, affine: Affine) -> Tensor:
    """Floating clips [B, 3, T, H, W] through one matrix and offset each, cut to [0, 1]."""
    batch, _, frames = clips.shape[:3]
    pixels = clips.reshape(batch, 3, -1)
    if affine.offset.shape[2] == 1:
        out = torch.baddbmm(affine.offset, affine.matrix, pixels).view_as(clips)
    else:
        out = (affine.matrix @ pixels).view(clips.shape).add_(affine.offset.view(batch, 3, frames, 1, 1))
    return out.clamp_(0, 1)


def to_uint8(clips: Tensor) -> Tensor:
    """Floating clips in [0, 1] as bytes, rounded."""
    return (clips * 255).round_().clamp_(0, 255).to(torch.uint8)


def normalise(clips: Tensor, mean: tuple[float, ...], std: tuple[float, ...], *, overwrite: bool = False) -> Tensor:
    """(clips - mean) / std per channel, for floating clips [B, C, ...] in [0, 1] or uint8 ones, taken as 0 … 255.

    `overwrite` floating clips that nobody else needs: memory taken anew costs more than the sums.
    """
    shape = (1, -1, *(1,) * (clips.ndim - 2))
    middle, spread = (constant(tuple(values), clips.device).view(shape) for values in (mean, std))
    if clips.dtype == torch.uint8:
        return clips.float().sub_(255 * middle).div_(255 * spread)
    return (clips.sub_(middle) if overwrite else clips - middle).div_(spread)


_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
_FROM_YIQ = tuple(map(tuple, np.linalg.inv(_TO_YIQ).tolist()))


def _pivot(means: Tensor, pivot: Pivot, grey: Tensor) -> Tensor:
    """[B, 3, 1 or T] from the channels' means."""
    if pivot == "zero":
        return torch.zeros_like(means)
    return means if pivot.endswith("channel") else grey @ means


def _range(value: Range, *, middle: float) -> tuple[float, float]:
    if isinstance(value, tuple | list):
        return value[0], value[1]
    return (max(0.0, middle - value) if middle else -value), middle + value
