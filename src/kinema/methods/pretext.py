"""What methods share whose answers come for free from a clip: which windows are used, and how clips are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.index import Index, by_duration, per_row
from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.modules.encoder import EncoderInput
from kinema.views.augment import ClipAugment
from kinema.views.colour import ColourJitter, to_uint8
from kinema.views.crops import Box, RandomCrop
from kinema.views.geometry import centre_crop
from kinema.views.photometric import Photometric

Size = tuple[int, int]
Draws = dict[str, npt.NDArray[Any]]
Sampling = Literal["random", "windows"]
Colour = tuple[float, float, float, float]

UNCHANGED: Colour = (0.0, 0.0, 0.0, 0.0)
"""No change of brightness, contrast, saturation and hue."""

PIXELS = ((0.0,) * 3, (1.0,) * 3)
"""Mean and standard deviation of methods that feed values in [0, 1] as they are."""


@dataclass(frozen=True)
class MiddleCrop:
    """The central crop of the view's own size; draws nothing."""

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> Box:
        """A box of whole numbers."""
        return np.array([*centre_crop(source, size), *size])


@dataclass(frozen=True)
class Look:
    """How frames become clips; drawn once per clip and shared by its frames.

    Attributes:
        resize: (height, width) of whole frames as read.
        size: side of the square crop.
        crop: a "random" place of the crop, or the "centre".
        resizes: sizes to which whole frames are scaled before the crop, one of which is drawn; empty for none.
        flip: probability of a horizontal mirror.
        rotation: largest turn in degrees, either way.
        colour: largest change of brightness (added, share of white), contrast and saturation (factors), hue (turns).
        colour_p: probability of each of the four.
        border: share of the frame left out along each side, against letterbox bars and logos.
    """

    resize: Size
    size: int
    crop: Literal["random", "centre"] = "random"
    resizes: tuple[Size, ...] = ()
    flip: float = 0.0
    rotation: float = 0.0
    colour: Colour = UNCHANGED
    colour_p: float = 0.2
    border: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.border < 0.5:
            raise RecipeError(f"border={self.border}: a share of the frame along each side, in [0, 0.5)")
        if self.resizes and self.crop == "centre":
            raise RecipeError("resizes are drawn for random crops: set crop=random, or leave resizes empty")
        # Refuse now what would fail when the first clip is read.
        for frame in self.resizes or (self.source,):
            centre_crop(frame, (self.size, self.size))
        assert self.augment  # refuses its own options

    @property
    def margin(self) -> Size:
        """Rows and columns left out along each side."""
        return round(self.resize[0] * self.border), round(self.resize[1] * self.border)

    @property
    def source(self) -> Size:
        """(height, width) of frames without their border."""
        return self.resize[0] - 2 * self.margin[0], self.resize[1] - 2 * self.margin[1]

    @cached_property
    def augment(self) -> ClipAugment:
        """The view that these options stand for."""
        brightness, contrast, saturation, hue = self.colour
        jitter = ColourJitter(
            brightness=(-brightness, brightness),
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            each=self.colour_p,
            shuffled=False,
            additive=True,
        )
        return ClipAugment(
            (self.size, self.size),
            crop=MiddleCrop() if self.crop == "centre" else RandomCrop(resized=self.resizes),
            flip=self.flip,
            rotation=self.rotation,
            photometric=Photometric(colour=jitter if any(self.colour) else None),
        )

    def input(
        self, frames: int, stride: int, rate: float | None, *, normalisation: tuple[Any, Any] | None = None
    ) -> EncoderInput:
        """What the network is fed: clips of one look; `normalisation` is (mean, std), ImageNet's where None."""
        view = ("video", frames, stride, rate, self.resize, (self.size, self.size))
        return EncoderInput(*view, *normalisation) if normalisation else EncoderInput(*view)

    def draw(self, rng: np.random.Generator) -> Draws:
        """The numbers of one clip, by name."""
        return self.augment.draw(rng, self.source)

    def geometry(self, clips: Tensor, draws: Mapping[str, Any]) -> Tensor:
        """Clips [B, 3, T, *resize] cut to [B, 3, T, size, size]; keeps their dtype."""
        rows, columns = self.margin
        height, width = self.source
        return self.augment.geometry(clips[..., rows : rows + height, columns : columns + width], draws)

    def colours(self, clips: Tensor, draws: Mapping[str, Any]) -> Tensor:
        """Colours of uint8 clips, changed where that is asked for; uint8."""
        return to_uint8(self.augment.colours(clips, draws)) if any(self.colour) else clips


def sampled_index(manifest: Manifest, sampling: Sampling, *, frames: int, rate: float | None) -> Index:
    """One sample per row ("random"), or one per window of `frames` frames, in proportion to duration ("windows")."""
    return per_row(manifest) if sampling == "random" else by_duration(manifest, frames=frames, rate=rate)


def stretches(manifest: Manifest, window: int | None, *, rate: float | None = None) -> Index:
    """One sample per stretch of `window` frames of the sampled rate; None: one per row."""
    return per_row(manifest) if window is None else by_duration(manifest, frames=window, rate=rate)


def drawn_per_clip(draws: list[Draws]) -> Draws:
    """The numbers of several clips of one sample, stacked: [clips, ...] each."""
    return {name: np.stack([one[name] for one in draws]) for name in draws[0]}


def side_by_side(clips: Tensor, *, gap: int = 4) -> npt.NDArray[np.uint8]:
    """uint8 [N, 3, T, H, W] as one moving picture [T, H, N W + gaps, 3] on white."""
    count, _, frames, height, width = clips.shape
    page = torch.full((frames, height, count * (width + gap) - gap, 3), 255, dtype=torch.uint8)
    for number, clip in enumerate(clips):
        page[:, :, number * (width + gap) :][:, :, :width] = clip.permute(1, 2, 3, 0)
    return page.numpy()
