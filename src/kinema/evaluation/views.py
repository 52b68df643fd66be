"""Which frames and which pixels of a video an encoder is shown at test time: the field's presets, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.errors import RecipeError, suggest
from kinema.modules.encoder import EncoderInput

IntArray = npt.NDArray[np.int64]


class Crop(NamedTuple):
    """One crop of a scaled frame: the upper left corner, and whether it is mirrored afterwards."""

    top: int
    left: int
    flip: bool = False


class Geometry(NamedTuple):
    """How the frames of one video become what the network sees: scaled to `resize`, then cut to `size` at `crops`."""

    resize: tuple[int, int]
    size: tuple[int, int]
    crops: tuple[Crop, ...]


@dataclass(frozen=True)
class ViewPreset:
    """A named rule for clips and crops.

    Attributes:
        name: as in result cards.
        clips: clips per video.
        starts: (length, span, clips) to the first frame of each clip, in frames of the sampled rate.
        crops: (height, width, crop height, crop width) to the crops of each frame.
        short_side: None scales whole frames to the encoder's `resize`. A number keeps the shape of the frame and makes
            it just cover the encoder's `size` times this number, which is also what is cropped.
        subsample: the clip is cut from the video thinned out to every stride-th frame.
    """

    name: str
    clips: int
    starts: Callable[[int, int, int], npt.NDArray[np.floating] | IntArray]
    crops: Callable[[int, int, int, int], list[Crop]]
    short_side: float | None = None
    subsample: bool = False

    @property
    def views(self) -> int:
        """Clips times crops."""
        return self.clips * len(self.crops(8, 8, 4, 4))


def clip_indices(preset: ViewPreset, length: int, *, frames: int, stride: int = 1) -> IntArray:
    """Frames of every clip [clips, frames] out of `length` frames; a video that is too short repeats its last one."""
    thinned = np.arange(0, length, stride) if preset.subsample else np.arange(length)
    stride = 1 if preset.subsample else stride
    span = (frames - 1) * stride + 1
    # int() of the published codes cuts towards zero; short videos would start below it.
    starts = np.maximum(0, preset.starts(len(thinned), span, preset.clips)).astype(np.int64)
    wanted = starts[:, None] + stride * np.arange(frames)
    return np.asarray(thinned[np.minimum(wanted, len(thinned) - 1)], np.int64)


def geometry(preset: ViewPreset, network: EncoderInput, *, height: int, width: int) -> Geometry:
    """Scale and crops for a video of `height` x `width` pixels."""
    resize, size = network.resize, network.size
    if preset.short_side is not None:
        size = (int(size[0] * preset.short_side), int(size[1] * preset.short_side))
        scale = max(size[0] / height, size[1] / width)
        resize = (max(size[0], int(height * scale)), max(size[1], int(width * scale)))
    return Geometry(resize, size, tuple(preset.crops(*resize, *size)))


def uniform_starts(length: int, span: int, clips: int) -> npt.NDArray[np.floating]:
    """VCOP, PRP, RSPNet: centres linspace(n / 2, L - n / 2)."""
    return np.linspace(span / 2, length - span / 2, clips) - span / 2


def tsn_starts(length: int, span: int, clips: int) -> npt.NDArray[np.floating]:
    """CtP: the middles of equal parts of the range of possible starts."""
    tick = (length - span + 1) / clips
    return tick / 2 + tick * np.arange(clips)


def dense_starts(length: int, span: int, clips: int) -> npt.NDArray[np.floating]:
    """VideoMAE: k (m - n) / (S - 1)."""
    return np.arange(clips) * (length - span) / (clips - 1)


def cvrl_starts(length: int, span: int, clips: int) -> npt.NDArray[np.floating]:
    """CVRL: linspace from the first to the last possible start."""
    return np.linspace(0, max(0, length - span), clips)


def middle_start(length: int, span: int, clips: int) -> IntArray:
    """One clip in the middle."""
    return np.full(clips, (length - span) // 2)


def center_crop(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """The middle, halves rounded to even."""
    return [Crop(round((height - crop_height) / 2), round((width - crop_width) / 2))]


def three_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """Three along the longer side at int(i (long - short) / 2), in the middle of the other side."""
    spare_height, spare_width = height - crop_height, width - crop_width
    if spare_width >= spare_height:
        return [Crop(spare_height // 2, int(i * spare_width / 2)) for i in range(3)]
    return [Crop(int(i * spare_height / 2), spare_width // 2) for i in range(3)]


def five_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """The four corners and the middle."""
    bottom, right = height - crop_height, width - crop_width
    corners = [Crop(0, 0), Crop(0, right), Crop(bottom, 0), Crop(bottom, right)]
    return corners + center_crop(height, width, crop_height, crop_width)


def ten_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """The five crops and their mirror images."""
    upright = five_crops(height, width, crop_height, crop_width)
    return upright + [crop._replace(flip=True) for crop in upright]


PRESETS = {
    preset.name: preset
    for preset in (
        ViewPreset("uniform10", 10, uniform_starts, center_crop),
        ViewPreset("tsn_uniform", 10, tsn_starts, center_crop),
        ViewPreset("dense5x3", 5, dense_starts, three_crops, short_side=1.0, subsample=True),
        ViewPreset("10x3", 10, cvrl_starts, three_crops, short_side=256 / 224),
        ViewPreset("10x10", 10, uniform_starts, ten_crops),
        ViewPreset("single_center", 1, middle_start, center_crop),
    )
}


def view_preset(name: str) -> ViewPreset:
    """The preset called `name`; "uniformN" spreads any number N of clips by the rule of "uniform10".

    Raises:
        RecipeError: there is none.
    """
    count = re.fullmatch(r"uniform([1-9]\d*)", name)
    if count:
        return replace(PRESETS["uniform10"], name=name, clips=int(count[1]))
    if name not in PRESETS:
        raise RecipeError(f"there are no views called '{name}'.{suggest(name, PRESETS)}")
    return PRESETS[name]
