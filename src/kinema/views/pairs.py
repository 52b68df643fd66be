"""Two views of one picture, or of two: one is left whole, the other will be masked (CropMAE, SiamMAE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.errors import RecipeError
from kinema.views.crops import Box, ResizedCrop, scale_box
from kinema.views.geometry import Size, draw_flip
from kinema.views.photometric import Draws
from kinema.views.resampling import Kernel, resample

Strategy = Literal["global-to-local", "random", "local-to-global", "same"]

ANTIALIASED = Kernel("bilinear", antialias=True)


class Pair(NamedTuple):
    """Two views [B, 3, 1, S, S], uint8 like the frames that they show.

    Attributes:
        reference: seen whole.
        target: masked and reconstructed.
    """

    reference: Tensor
    target: Tensor


@dataclass(frozen=True)
class CropPair:
    """Two crops of one picture (CropMAE).

    "global-to-local": the reference is a random resized crop; the target is one *of that crop after it was resized*, so
    a zoom of an already resampled picture that lies wholly in it. "local-to-global": the other way round. "random": two
    independent crops of the picture. "same": one crop twice. Mirrors are drawn for each view, for "same" once.

    Attributes:
        size: (height, width) of either view.
        strategy: which crops.
        whole: rule of crops of the picture.
        part: rule of crops of a crop.
        flip: probability of a left-right mirror.
    """

    size: Size = (224, 224)
    strategy: Strategy = "global-to-local"
    whole: ResizedCrop = field(default_factory=lambda: ResizedCrop((0.1, 1.0)))
    part: ResizedCrop = field(default_factory=lambda: ResizedCrop((0.3, 0.6)))
    flip: float = 0.5

    def __post_init__(self) -> None:
        check_flip(self.flip)

    def draw(self, rng: np.random.Generator, source: Size, *, measured: Size) -> Draws:
        """The numbers of one picture: boxes "whole" [4] and "second" [4], and "flips" [2], reference first.

        Args:
            rng: the sample's generator.
            source: (height, width) of the picture as read.
            measured: its own size, in which crops are drawn.
        """
        whole = draw_in(self.whole, rng, measured=measured, source=source, size=self.size)
        if self.strategy == "same":
            return {"whole": whole, "second": whole, "flips": np.repeat(draw_flip(rng, self.flip), 2)}
        if self.strategy == "random":
            second = draw_in(self.whole, rng, measured=measured, source=source, size=self.size)
        else:
            second = self.part.draw(rng, self.size, self.size)
        return {"whole": whole, "second": second, "flips": draw_flips(rng, self.flip)}

    def apply(self, frames: Tensor, draws: Mapping[str, Any]) -> Pair:
        """uint8 pictures [B, 3, 1, H, W] as pairs of views."""
        whole = resample(frames, draws["whole"], None, self.size, ANTIALIASED)
        if self.strategy == "same":
            second = whole
        else:
            second = resample(
                frames if self.strategy == "random" else whole, draws["second"], None, self.size, ANTIALIASED
            )
        first, last = (second, whole) if self.strategy == "local-to-global" else (whole, second)
        flips = draws["flips"]
        return Pair(mirrored(first, flips[:, 0]), mirrored(last, flips[:, 1]))


@dataclass(frozen=True)
class FramePair:
    """Two frames of one video through one crop and one mirror (SiamMAE): the earlier is the reference.

    Attributes:
        size: (height, width) of either view.
        crop: rule of the crop.
        flip: probability of a left-right mirror.
    """

    size: Size = (224, 224)
    crop: ResizedCrop = field(default_factory=lambda: ResizedCrop((0.5, 1.0)))
    flip: float = 0.5

    def __post_init__(self) -> None:
        check_flip(self.flip)

    def draw(self, rng: np.random.Generator, source: Size, *, measured: Size) -> Draws:
        """The numbers of one pair: "whole" [4] and "flips" scalar. Arguments as in `CropPair.draw`."""
        box = draw_in(self.crop, rng, measured=measured, source=source, size=self.size)
        return {"whole": box, "flips": np.array(draw_flip(rng, self.flip))}

    def apply(self, frames: Tensor, draws: Mapping[str, Any]) -> Pair:
        """uint8 pairs of frames [B, 3, 2, H, W] as pairs of views."""
        views = resample(frames, draws["whole"], draws["flips"], self.size, ANTIALIASED)
        return Pair(views[:, :, :1], views[:, :, 1:])


def draw_in(rule: ResizedCrop, rng: np.random.Generator, *, measured: Size, source: Size, size: Size) -> Box:
    """A box of whole numbers in the picture as read, of size `source`, drawn in its own size `measured`.

    Where the two differ, each edge is rounded to the nearest line of the picture as read.
    """
    box = rule.draw(rng, measured, size)
    if measured == source:
        return box
    top, left, height, width = scale_box(box, measured, source)
    first, last = np.rint([top, left]), np.rint([top + height, left + width])
    first = np.minimum(first, np.array(source) - 1)
    return np.concatenate([first, np.maximum(last - first, 1)]).astype(np.int64)


def draw_gap(rng: np.random.Generator, frames: int, least: int = 4, most: int = 48) -> int:
    """Distance of two frames out of `frames`: uniform in [min(least, n - 1), min(most, n)), upper end left out.

    4 to 47 in long videos; n - 1 where n is at most 4 (SiamMAE as re-implemented with CropMAE).

    Raises:
        RecipeError: fewer than two frames, or limits that leave nothing.
    """
    if frames < 2:
        raise RecipeError(f"a pair needs two frames, not {frames}")
    if not 1 <= least < most:
        raise RecipeError(f"gap=({least}, {most}): the least distance, at least 1, and the one above the largest")
    return int(rng.integers(min(least, frames - 1), min(most, frames)))


def draw_frames(rng: np.random.Generator, frames: int, gap: tuple[int, int] = (4, 48)) -> npt.NDArray[np.int64]:
    """Positions [2] of an earlier and a later frame of `frames`: `draw_gap` apart, the first uniform over what fits."""
    distance = draw_gap(rng, frames, *gap)
    first = int(rng.integers(frames - distance))
    return np.array([first, first + distance])


def draw_flips(rng: np.random.Generator, p: float) -> npt.NDArray[np.bool_]:
    """Bool [2], drawn independently."""
    return np.array([draw_flip(rng, p), draw_flip(rng, p)])


def mirrored(views: Tensor, flip: Tensor) -> Tensor:
    """Views [B, ..., W] mirrored left-right where `flip` [B] says so."""
    chosen = flip.to(views.device, non_blocking=True).view(-1, *(1,) * (views.ndim - 1))
    return torch.where(chosen, views.flip(-1), views)


def check_flip(flip: float) -> None:
    """Refuse what is no probability."""
    if not 0 <= flip <= 1:
        raise RecipeError(f"flip={flip:g}: a probability lies in [0, 1]")
