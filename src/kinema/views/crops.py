"""Which part of a frame a view shows: rules that draw one box per clip.

A box is (top, left, height, width). **Whole numbers mean "crop, then resize"**: no pixel outside the box is looked at,
as with the stock libraries' random resized crop. **Floating numbers mean "resize the frame, then crop"**: the box is
what the crop of the resized frame covers in the original one, and pixels beside it take part at its border. `resample`
treats them accordingly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from kinema.errors import RecipeError
from kinema.views.geometry import Size, draw_crop

Box = npt.NDArray[np.int64] | npt.NDArray[np.float64]

MULTI_SCALE = (1.0, 0.875, 0.75, 0.66)
"""Sides of a multi-scale crop as shares of the short side (TSN, VideoMAE)."""


class CropRule(Protocol):
    """Draws a box (top, left, height, width) of a `source` frame that will become a view of `size`."""

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> Box:
        """One box; sizes are (height, width)."""


@dataclass(frozen=True)
class ResizedCrop:
    """Random resized crop: a box of random area and shape.

    Attributes:
        scale: range of the area, as a share of the frame; uniform.
        ratio: range of width / height.
        rule: "rejection" (stock libraries): up to `tries` draws of area and log-uniform shape until one fits, else the
            largest centred box whose shape is in the range. "single" (CropMAE's intention): one draw, cut to the frame.
            "tensorflow" (`sample_distorted_bounding_box`, CVRL): uniform shape, uniform whole height among those that
            fit, at most `tries` times, else the whole frame.
        tries: 10 in the stock libraries, 100 in CVRL.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rule: Literal["rejection", "single", "tensorflow"] = "rejection"
    tries: int = 10

    def __post_init__(self) -> None:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise RecipeError(f"{name}=({low}, {high}): give two positive numbers, the smaller one first")

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> Box:
        """A box of whole numbers."""
        candidates = {"rejection": self._rejection, "single": self._single, "tensorflow": self._tensorflow}[self.rule]
        for height, width in candidates(rng, source):
            if 0 < height <= source[0] and 0 < width <= source[1]:
                return np.array([*draw_crop(rng, source, (height, width)), height, width])
        return _whole(source) if self.rule == "tensorflow" else self._fallback(source)

    def _rejection(self, rng: np.random.Generator, source: Size) -> Iterator[Size]:
        low, high = np.log(self.ratio)
        for _ in range(self.tries):
            area = source[0] * source[1] * rng.uniform(*self.scale)
            shape = math.exp(rng.uniform(low, high))
            yield round(math.sqrt(area / shape)), round(math.sqrt(area * shape))

    def _single(self, rng: np.random.Generator, source: Size) -> Iterator[Size]:
        height, width = next(self._rejection(rng, source))
        yield max(1, min(height, source[0])), max(1, min(width, source[1]))

    def _tensorflow(self, rng: np.random.Generator, source: Size) -> Iterator[Size]:
        least, most = (source[0] * source[1] * share for share in self.scale)
        for _ in range(self.tries):
            shape = rng.uniform(*self.ratio)
            shortest = round(math.sqrt(least / shape))
            tallest = min(round(math.sqrt(most / shape)), source[0], math.floor((source[1] + 0.5 - 1e-7) / shape))
            height = int(rng.integers(min(shortest, tallest), tallest + 1))
            # Rounding may leave the range of areas by a row.
            height += int(height * round(height * shape) < least)
            height -= int(height * round(height * shape) > most)
            if least <= height * round(height * shape) <= most:
                yield height, round(height * shape)

    def _fallback(self, source: Size) -> Box:
        low, high = self.ratio
        height, width = source
        if width / height < low:
            height = min(source[0], round(width / low))
        elif width / height > high:
            width = min(source[1], round(height * high))
        return np.array([(source[0] - height) // 2, (source[1] - width) // 2, height, width])


@dataclass(frozen=True)
class RandomCrop:
    """A crop of the view's size at a random place of the frame, which may be resized before.

    Attributes:
        resized: sizes of whole frames, one of which is drawn (CtP: three); empty for none.
        short_side: range of the length of the frame's shorter side, drawn uniformly, the shape kept (SlowFast: 256 to
            320); None for none. The longer side is rounded down.
    """

    resized: Sequence[Size] = ()
    short_side: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.resized and self.short_side:
            raise RecipeError("a random crop takes 'resized' or 'short_side', not both")

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> Box:
        """A box of whole numbers where the frame is not resized, else of floating ones."""
        if not (self.resized or self.short_side):
            return np.array([*draw_crop(rng, source, size), *size])
        if self.short_side:
            short = round(rng.uniform(*self.short_side))
            resized = tuple(short if side == min(source) else side * short // min(source) for side in source)
        else:
            resized = tuple(self.resized[int(rng.integers(len(self.resized)))])
        corner = draw_crop(rng, (resized[0], resized[1]), size)
        return scale_box(np.array([*corner, *size]), (resized[0], resized[1]), source)


@dataclass(frozen=True)
class MultiScaleCrop:
    """TSN's crop (VideoMAE pre-training): sides from a few shares of the short side, at one of thirteen places.

    Attributes:
        scales: shares of the short side.
        max_distort: steps in `scales` by which height and width may differ.
    """

    scales: tuple[float, ...] = MULTI_SCALE
    max_distort: int = 1

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> Box:
        """A box of whole numbers: corners, middle, middles of the sides, quarter points."""
        sides = [int(min(source) * scale) for scale in self.scales]
        # A side within two pixels of the view's own is taken to be that, so that nothing is resampled.
        pairs = [
            tuple(want if abs(side - want) < 3 else side for side, want in zip(pair, size, strict=True))
            for i, pair in ((i - j, (sides[i], sides[j])) for i in range(len(sides)) for j in range(len(sides)))
            if abs(i) <= self.max_distort
        ]
        height, width = pairs[int(rng.integers(len(pairs)))]
        height, width = min(height, source[0]), min(width, source[1])
        row, column = _PLACES[int(rng.integers(len(_PLACES)))]
        return np.array([row * ((source[0] - height) // 4), column * ((source[1] - width) // 4), height, width])


@dataclass(frozen=True)
class CentreCrop:
    """The largest centred box of the view's shape; draws nothing."""

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> Box:
        """A box of whole numbers, rounded down."""
        height, width = source
        if width * size[0] > height * size[1]:
            width = height * size[1] // size[0]
        else:
            height = width * size[0] // size[1]
        return np.array([(source[0] - height) // 2, (source[1] - width) // 2, height, width])


@dataclass(frozen=True)
class WholeFrame:
    """No crop: the whole frame is resized, its shape not kept; draws nothing."""

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> Box:
        """(0, 0, height, width)."""
        return _whole(source)


def scale_box(box: Box, measured: Size, frame: Size) -> npt.NDArray[np.float64]:
    """A box in a frame of size `measured`, for the same frame at size `frame`; floating numbers.

    For crops drawn in the shape of the video when the reader hands over frames of another shape.
    """
    rows, columns = frame[0] / measured[0], frame[1] / measured[1]
    return np.asarray(box * np.array([rows, columns, rows, columns]), np.float64)


_PLACES = [(i, j) for i in (0, 2, 4) for j in (0, 2, 4)] + [(i, j) for i in (1, 3) for j in (1, 3)]


def _whole(source: Size) -> Box:
    return np.array([0, 0, *source])
