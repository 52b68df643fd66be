"""RandAugment on clips of bytes: a few operations of drawn kind and strength, the same for all frames of a clip.

Cubuk et al., "RandAugment", NeurIPS 2020, in timm's variant and notation: "rand-m7-n4-mstd0.5-inc1" is magnitude 7,
4 operations, a standard deviation of 0.5 of the magnitude, and operations that all grow stronger with it. Every
operation does what PIL does to bytes; only bicubic warps differ, by PIL's sharper kernel.

One step of a clip is one of four passes over its pixels: a table (all that treats values alone), a blend with its grey,
a 3 x 3 filter, or an affine warp.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from kinema.errors import RecipeError
from kinema.views import tables
from kinema.views.affine import rotation_matrix, warp
from kinema.views.geometry import Size
from kinema.views.masking import constant, over_clip, skips, where_drawn

OPERATIONS = (
    "autocontrast",
    "equalise",
    "invert",
    "rotate",
    "posterise",
    "solarise",
    "solarise-add",
    "colour",
    "contrast",
    "brightness",
    "sharpness",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
)
"""In timm's order, which the drawn numbers count in; -1 stands for an operation that was left out."""

_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}
_TABLES = ("autocontrast", "equalise", "invert", "posterise", "solarise", "solarise-add", "contrast", "brightness")
_WARPS = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")


@dataclass(frozen=True)
class RandAugment:
    """Configuration, named as in timm.

    Attributes:
        magnitude: m, on a scale to 10.
        operations: n, operations per clip; each is drawn from all of them.
        deviation: mstd, of a normal magnitude; infinity draws uniformly from 0 to `magnitude`.
        increasing: inc, operations whose strength grows with the magnitude; else posterise and solarise weaken, and
            blends run from 0.1 to 1.9.
        p: probability of each operation.
        statistics: what autocontrast, equalise and contrast look at: each "frame" (as published, every frame being an
            image of its own), or the whole "clip", so that the strength does not flicker.
        mode: interpolation of warps. PIL's bicubic kernel is sharper (a = -1) than ours.
        fill: (R, G, B) of what warps uncover, as bytes; timm's is the rounded ImageNet mean.
    """

    magnitude: float = 7.0
    operations: int = 4
    deviation: float = 0.5
    increasing: bool = True
    p: float = 0.5
    statistics: Literal["frame", "clip"] = "frame"
    mode: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    fill: tuple[float, float, float] = (124, 116, 104)

    @classmethod
    def parse(cls, text: str, **options: Any) -> RandAugment:
        """From timm's notation, such as "rand-m7-n4-mstd0.5-inc1".

        Raises:
            RecipeError: a part that is not known.
        """
        head, *parts = text.split("-")
        found: dict[str, Any] = {"magnitude": 10.0, "operations": 2, "deviation": 0.0, "increasing": False}
        for part in parts:
            match = re.fullmatch(r"(mstd|inc|m|n|p)(inf|\d*\.?\d+)", part)
            if match is None:
                raise RecipeError(f"RandAugment '{text}': '{part}' is none of m…, n…, mstd…, inc…, p…")
            found[_PARTS[match[1]]] = float(match[2])
        if head != "rand":
            raise RecipeError(f"RandAugment '{text}': the text begins with 'rand-'")
        found |= {"operations": int(found["operations"]), "increasing": bool(found["increasing"])}
        # timm takes deviations above 100 to mean uniform magnitudes.
        found["deviation"] = float("inf") if found["deviation"] > 100 else found["deviation"]
        return cls(**found, **options)

    def draw(self, rng: np.random.Generator, *, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
        """The numbers of one clip: operations int64 [n], -1 for none, and their strengths float32 [n]."""
        chosen = rng.integers(len(OPERATIONS), size=self.operations)
        chosen[rng.random(self.operations) > self.p] = -1
        if np.isinf(self.deviation):
            level = rng.uniform(0, self.magnitude, self.operations)
        else:
            level = rng.normal(self.magnitude, self.deviation, self.operations)
        sign = np.where(rng.random(self.operations) < 0.5, -1.0, 1.0)
        shares = np.clip(level, 0, 10) / 10
        strength = [self.strength(n, x, s) for n, x, s in zip(chosen, shares, sign, strict=True)]
        return {prefix + "operations": chosen, prefix + "strengths": np.array(strength, np.float32)}

    def strength(self, operation: int, share: float, sign: float) -> float:
        """What `share` in [0, 1] of the full magnitude means: degrees, a factor, bits, a level, a share of the side."""
        name = OPERATIONS[operation] if operation >= 0 else ""
        if name in ("colour", "contrast", "brightness", "sharpness"):
            return max(0.1, 1 + 0.9 * share * sign) if self.increasing else 0.1 + 1.8 * share
        if name in ("posterise", "solarise"):
            full = 4 if name == "posterise" else 256
            return float(full - int(full * share) if self.increasing else int(full * share))
        if name == "solarise-add":
            return float(int(110 * share))
        return sign * share * {"rotate": 30.0, "shear-x": 0.3, "shear-y": 0.3}.get(name, 0.45)

    def apply(self, clips: Tensor, draws: dict[str, Any], *, prefix: str = "") -> Tensor:
        """uint8 clips [B, 3, T, H, W] after all operations, same shape and dtype.

        Raises:
            RecipeError: clips that are not bytes.
        """
        if clips.dtype != torch.uint8:
            raise RecipeError(f"RandAugment works on uint8 clips as they are read, not on {clips.dtype}")
        operations = draws[prefix + "operations"].to(clips.device, non_blocking=True)
        strengths = draws[prefix + "strengths"].to(clips.device, non_blocking=True)
        for operation, strength in zip(operations.unbind(1), strengths.unbind(1), strict=True):
            clips = self.step(clips, operation, strength)
        return clips

    def step(self, clips: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
        """One operation per clip: int64 [B] of `OPERATIONS`, with its strength, float [B]."""
        clips = where_drawn(clips, _is(operation, *_TABLES), self._by_table, operation, strength)
        clips = where_drawn(clips, _is(operation, "colour"), blend_grey, strength)
        clips = where_drawn(clips, _is(operation, "sharpness"), sharpen, strength)
        return where_drawn(clips, _is(operation, *_WARPS), self._warp, operation, strength)

    def _by_table(self, clips: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
        per_frame = self.statistics == "frame"
        whole = strength.long()
        makers: dict[str, Callable[[], Tensor]] = {
            "invert": lambda: tables.invert_table(clips),
            "posterise": lambda: tables.posterise_table(whole),
            "solarise": lambda: tables.solarise_table(whole),
            "solarise-add": lambda: tables.solarise_add_table(whole),
            "brightness": lambda: tables.brightness_table(strength),
            "contrast": lambda: tables.contrast_table(strength, clips, per_frame=per_frame),
            "autocontrast": lambda: tables.autocontrast_table(tables.histograms(clips, per_frame=per_frame)),
            "equalise": lambda: tables.equalise_table(tables.histograms(clips, per_frame=per_frame)),
        }
        if skips(clips):
            return tables.look_up(clips, makers[OPERATIONS[int(operation)]]())
        table = tables.invert_table(clips)
        for name, make in makers.items():
            table = torch.where(over_clip(_is(operation, name), table), make(), table)
        return tables.look_up(clips, table)

    def _warp(self, clips: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
        size = (clips.shape[-2], clips.shape[-1])
        matrix = warp_matrix(operation, strength, size)
        return warp(clips, matrix, size, mode=self.mode, fill=self.fill, truncate=True)


def blend_grey(clips: Tensor, factor: Tensor) -> Tensor:
    """PIL's "color": a blend of the greyscale picture and uint8 clips by `factor` [B]."""
    return _blend(tables.byte_grey(clips), clips, factor)


def sharpen(clips: Tensor, factor: Tensor) -> Tensor:
    """PIL's "sharpness": a blend of the smoothed picture and uint8 clips by `factor` [B]; border pixels stay."""
    height, width = clips.shape[-2:]
    kernel = constant(_SMOOTH, clips.device).view(1, 1, 3, 3) / 13
    inner = conv2d(clips.reshape(-1, 1, height, width).float(), kernel).add_(0.5).floor_()
    smooth = clips.float()
    smooth[..., 1:-1, 1:-1] = inner.view(*clips.shape[:3], height - 2, width - 2)
    return _blend(smooth, clips, factor)


def warp_matrix(operation: Tensor, strength: Tensor, frame: Size) -> Tensor:
    """[B, 2, 3] of a warp (int64 [B]) with its strength (float [B]); the identity for other operations."""
    matrix = torch.eye(2, 3, device=strength.device).repeat(len(strength), 1, 1)
    zero = torch.zeros_like(strength)
    matrix[:, 0, 1] = torch.where(_is(operation, "shear-x"), strength, zero)
    matrix[:, 1, 0] = torch.where(_is(operation, "shear-y"), strength, zero)
    matrix[:, 0, 2] = torch.where(_is(operation, "translate-x"), strength * frame[1], zero)
    matrix[:, 1, 2] = torch.where(_is(operation, "translate-y"), strength * frame[0], zero)
    turn = rotation_matrix(torch.where(_is(operation, "rotate"), strength, zero), frame)
    return torch.where(over_clip(_is(operation, "rotate"), turn), turn, matrix)


_PARTS = {"m": "magnitude", "n": "operations", "mstd": "deviation", "inc": "increasing", "p": "p"}
_SMOOTH = (1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0)


def _blend(degenerate: Tensor, clips: Tensor, factor: Tensor) -> Tensor:
    return tables.cut(degenerate + over_clip(factor.float(), clips) * (clips - degenerate.float()))


def _is(operation: Tensor, *names: str) -> Tensor:
    """Bool [B]: whether it is one of `names`."""
    found = torch.zeros_like(operation, dtype=torch.bool)
    for name in names:
        found |= operation == _NUMBER[name]
    return found
