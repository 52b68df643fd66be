"""Which frames and which pixels of a video an encoder is shown at test time: the field's presets, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kinema.errors import RecipeError, suggest
from kinema.evaluation import windows
from kinema.evaluation.windows import IntArray, Windows
from kinema.modules.encoder import EncoderInput
from kinema.randomness import numpy_generator


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


Crops = Callable[[int, int, int, int], list[Crop]]
MOST = 256
"""Clips of one row, where a preset does not fix their number: an hour of video must not fill the memory."""


@dataclass(frozen=True)
class ViewPreset:
    """A named rule for clips and crops.

    Attributes:
        name: as in result cards.
        clips: clips per video; None where it is as many as the video has room for. Their features are then joined into
            one average per video as soon as they are taken, and there is no accuracy of clips.
        windows: which frames the clips show.
        crops: (height, width, crop height, crop width) to the crops of each frame.
        short_side: None scales whole frames to the encoder's `resize`. A number keeps the shape of the frame and makes
            it just cover the encoder's `size` times this number.
        cropped: what is cut out of it, in multiples of the encoder's `size`.
        drawn: a rule of which each video draws its own: from the video's generator, which is the same each time, to the
            preset that holds for it; `windows`, `crops` and `short_side` are then moot.
    """

    name: str
    clips: int | None
    windows: Windows
    crops: Crops
    short_side: float | None = None
    cropped: float = 1.0
    drawn: Callable[[np.random.Generator], ViewPreset] | None = None

    @property
    def views(self) -> int | None:
        """Clips times crops."""
        return None if self.clips is None else self.clips * len(self.crops(8, 8, 4, 4))

    def of(self, *video: str) -> ViewPreset:
        """The preset that holds for the video named so: itself, where nothing is drawn."""
        return self.drawn(numpy_generator("views", self.name, *video)) if self.drawn else self

    def __reduce__(self) -> tuple[Callable[[str], ViewPreset], tuple[str]]:
        """Pickle by name: rules are functions, which cannot cross process borders everywhere."""
        return view_preset, (self.name,)


def clip_indices(preset: ViewPreset, length: int, *, frames: int, stride: int = 1) -> IntArray:
    """Frames of every clip [clips, frames] out of `length` frames; a video that is too short repeats its last one.

    Where a preset shows as many clips as there is room for, `MOST` evenly spaced ones stand for more.
    """
    found = np.minimum(preset.windows(length, frames, stride), length - 1)
    if preset.clips is None and len(found) > MOST:
        found = found[np.linspace(0, len(found) - 1, MOST).astype(np.int64)]
    return found


def geometry(preset: ViewPreset, network: EncoderInput, *, height: int, width: int) -> Geometry:
    """Scale and crops for a video of `height` x `width` pixels."""
    resize = network.resize
    size = (int(network.size[0] * preset.cropped), int(network.size[1] * preset.cropped))
    if preset.short_side is not None:
        cover = (int(network.size[0] * preset.short_side), int(network.size[1] * preset.short_side))
        # In whole numbers: int(width * (cover / height)) can fall a pixel short of the published int(cover * w / h).
        wide = cover[0] * width >= cover[1] * height
        resize = (cover[0], cover[0] * width // height) if wide else (cover[1] * height // width, cover[1])
    return Geometry(resize, size, tuple(preset.crops(*resize, *size)))


def center_crop(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """The middle, halves rounded to even."""
    return [Crop(round((height - crop_height) / 2), round((width - crop_width) / 2))]


def three_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """Three along the longer side at int(i (long - short) / 2), in the middle of the other side."""
    spare_height, spare_width = height - crop_height, width - crop_width
    if spare_width >= spare_height:
        return [Crop(spare_height // 2, int(i * spare_width / 2)) for i in range(3)]
    return [Crop(int(i * spare_height / 2), spare_width // 2) for i in range(3)]


def three_even_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """V-JEPA: as `three_crops`, but the step is cut to whole pixels first, i ((long - short) // 2)."""
    spare_height, spare_width = height - crop_height, width - crop_width
    return three_crops(crop_height + spare_height // 2 * 2, crop_width + spare_width // 2 * 2, crop_height, crop_width)


def five_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """The four corners and the middle."""
    bottom, right = height - crop_height, width - crop_width
    corners = [Crop(0, 0), Crop(0, right), Crop(bottom, 0), Crop(bottom, right)]
    return corners + center_crop(height, width, crop_height, crop_width)


def ten_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """The five crops and their mirror images."""
    upright = five_crops(height, width, crop_height, crop_width)
    return upright + [crop._replace(flip=True) for crop in upright]


def three_uniform_crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """MAE-ST: both ends and the middle of the longer side; middles are rounded up."""
    top, left = -(-(height - crop_height) // 2), -(-(width - crop_width) // 2)
    if width >= height:
        return [Crop(top, place) for place in (0, left, width - crop_width)]
    return [Crop(place, left) for place in (0, top, height - crop_height)]


def uniform_center_crop(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
    """The middle one of `three_uniform_crops`."""
    return three_uniform_crops(height, width, crop_height, crop_width)[1:2]


def random_view(rng: np.random.Generator) -> ViewPreset:
    """child-view's validation: any start, short side 256 to 320 of 224, crop anywhere, mirrored or not."""
    start, down, right, flip = rng.random(4)

    def crops(height: int, width: int, crop_height: int, crop_width: int) -> list[Crop]:
        return [Crop(int(down * (height - crop_height + 1)), int(right * (width - crop_width + 1)), bool(flip < 0.5))]

    side = int(rng.integers(256, 321)) / 224
    return ViewPreset("child_view_random", 1, windows.spread_at(start), crops, short_side=side)


_CROPS: dict[str, Crops] = {"1": center_crop, "3": three_crops, "5": five_crops, "10": ten_crops}
_WIDER = 256 / 224
PRESETS = {
    preset.name: preset
    for preset in (
        ViewPreset("uniform10", 10, windows.uniform(10), center_crop),
        ViewPreset("tsn_uniform", 10, windows.tsn(10), center_crop),
        ViewPreset("dense5x3", 5, windows.dense(5), three_crops, short_side=1.0),
        ViewPreset("ssv2_2x3", 2, windows.interleaved, three_crops, short_side=1.0),
        ViewPreset("10x3", 10, windows.first_to_last(10), three_crops, short_side=_WIDER, cropped=_WIDER),
        ViewPreset("10x10", 10, windows.uniform(10), ten_crops),
        ViewPreset("vjepa_8x3", 8, windows.segments(8), three_even_crops, short_side=1.0),
        ViewPreset("vjepa_2x3", 2, windows.segments(2), three_even_crops, short_side=1.0),
        ViewPreset("vjepa_center", 1, windows.segments(1), center_crop, short_side=_WIDER),
        ViewPreset("mae_st_center", 1, windows.spread(1), uniform_center_crop, short_side=1.0),
        ViewPreset("mae_st_10x3", 10, windows.spread(10), three_uniform_crops, short_side=1.0),
        ViewPreset("child_view_random", 1, windows.spread(1), center_crop, drawn=random_view),
        ViewPreset("single_center", 1, windows.middle, center_crop),
        ViewPreset("sliding", None, windows.sliding, center_crop),
        ViewPreset("coclr", None, windows.coclr, center_crop, short_side=_WIDER),
        ViewPreset("coclr_ten", None, windows.coclr, ten_crops, short_side=_WIDER),
    )
}


def view_preset(name: str) -> ViewPreset:
    """The preset called `name`.

    "uniformN" spreads any number N of clips by the rule of "uniform10", and "uniformNxC" shows C = 1, 3, 5 or 10 crops
    of each.

    Raises:
        RecipeError: there is none.
    """
    if name in PRESETS:
        return PRESETS[name]
    spread = re.fullmatch(r"uniform([1-9]\d*)(?:x(1|3|5|10))?", name)
    if spread is None:
        raise RecipeError(f"there are no views called '{name}'.{suggest(name, PRESETS)}")
    clips, crops = int(spread[1]), _CROPS[spread[2] or "1"]
    return replace(PRESETS["uniform10"], name=name, clips=clips, windows=windows.uniform(clips), crops=crops)
