"""Random erasing: one box per clip, through all of its frames, filled with noise, a colour or a constant.

Zhong et al., "Random erasing data augmentation", AAAI 2020; the video form (one box for all frames) is VideoMAE's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.views.geometry import Size, box_mask, draw_crop
from kinema.views.masking import skips


@dataclass(frozen=True)
class Erasing:
    """Configuration.

    Attributes:
        p: probability.
        area: range of the box's area as a share of the frame; uniform.
        ratio: range of height / width, log-uniform.
        fill: "noise", a standard normal value per pixel, channel and frame (for normalised clips); "colour", one per
            channel; or "constant".
        value: the constant.
        tries: after so many boxes that do not fit, nothing is erased.
    """

    p: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    fill: Literal["noise", "colour", "constant"] = "noise"
    value: float = 0.0
    tries: int = 10

    def draw(self, rng: np.random.Generator, size: Size, *, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
        """The numbers of one clip whose frames have `size`: a box, empty for none, and the key of its noise."""
        drawn, key = rng.random() < self.p, rng.integers(2**31)
        box = self._box(rng, size) if drawn else np.zeros(4, np.int64)
        return {prefix + "erased": box, prefix + "erased_key": np.array(key)}

    def apply(self, clips: Tensor, draws: Mapping[str, Any], *, prefix: str = "") -> Tensor:
        """Floating clips [B, C, T, H, W], usually normalised, with their boxes filled; `clips` stays as it is."""
        box = draws[prefix + "erased"].to(clips.device, non_blocking=True)
        key = draws[prefix + "erased_key"].to(clips.device, non_blocking=True)
        places = torch.arange(clips[0].numel(), device=clips.device).view(clips.shape[1:])
        if self.fill != "noise":
            places = places[:, :1, :1, :1].expand_as(places)
        if not skips(clips):
            inside = box_mask(box, (clips.shape[-2], clips.shape[-1]))
            return torch.where(inside, self._filling(key, places).to(clips.dtype), clips)
        out = clips.clone()
        for i, (top, left, height, width) in enumerate(box.tolist()):
            if height:
                window = (..., slice(top, top + height), slice(left, left + width))
                out[i][window] = self._filling(key[i : i + 1], places[window])[0].to(clips.dtype)
        return out

    def _box(self, rng: np.random.Generator, size: Size) -> npt.NDArray[np.int64]:
        low, high = np.log(self.ratio)
        for _ in range(self.tries):
            area = size[0] * size[1] * rng.uniform(*self.area)
            shape = math.exp(rng.uniform(low, high))
            height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < height < size[0] and 0 < width < size[1]:
                return np.array([*draw_crop(rng, size, (height, width)), height, width])
        return np.zeros(4, np.int64)

    def _filling(self, key: Tensor, places: Tensor) -> Tensor:
        if self.fill == "constant":
            return torch.full((len(key), *places.shape), self.value, device=key.device)
        return keyed_normal(key, places)


def keyed_normal(key: Tensor, places: Tensor) -> Tensor:
    """Standard normal numbers [B, *places.shape] that depend on `key` (int64 [B]) and place alone, on every device.

    A hash of key and place (Murmur's finaliser, twice) gives two uniform numbers, Box and Muller's rule a normal one.
    """
    first = _mix(_mix(places.flatten() + 1)[None] ^ _mix(key)[:, None])
    second = _mix(first ^ 0x5BD1E995)
    radius = torch.sqrt(-2 * torch.log((first.float() + 1) / (2**32 + 1)))
    return (radius * torch.cos(2 * math.pi / 2**32 * second.float())).view(len(key), *places.shape)


def _mix(value: Tensor) -> Tensor:
    """Murmur3's finaliser on 32 bits, kept in int64."""
    value = value & 0xFFFFFFFF
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return value ^ (value >> 16)
