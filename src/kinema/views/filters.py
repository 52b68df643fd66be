"""Gaussian blur, solarisation and gamma, drawn per clip and applied to all of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kinema.errors import RecipeError
from kinema.views.masking import over_clip, skips

Padding = Literal["reflect", "zero", "replicate"]

_NEGLIGIBLE = 1e-6
"""Taps beyond which less than this share of the kernel lies are left out on the CPU."""


@dataclass(frozen=True)
class Blur:
    """Gaussian blur with one width per clip.

    Attributes:
        p: probability.
        sigma: range of the standard deviation in pixels; uniform.
        taps: length of the kernel, odd; beyond, it is cut off (stock libraries: 23 for 224 pixels, 10 % of the side).
        padding: beyond the border: "reflect" (stock libraries), "replicate", or "zero", which darkens borders (CVRL).
    """

    p: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    taps: int = 23
    padding: Padding = "reflect"

    def __post_init__(self) -> None:
        if self.taps % 2 == 0 or self.taps < 1:
            raise RecipeError(f"taps={self.taps}: a kernel needs an odd number of taps")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise RecipeError(f"sigma={self.sigma}: give two positive numbers, the smaller one first")

    def draw(self, rng: np.random.Generator) -> float:
        """Standard deviation of one clip, 0 for none."""
        drawn, sigma = rng.random() < self.p, rng.uniform(*self.sigma)
        return float(sigma) if drawn else 0.0


@dataclass(frozen=True)
class Gamma:
    """Every value to one drawn power.

    Attributes:
        power: its range; uniform.
        p: probability.
    """

    power: tuple[float, float] = (0.7, 1.4)
    p: float = 1.0

    def draw(self, rng: np.random.Generator) -> float:
        """The power of one clip, 1 for none."""
        drawn, power = rng.random() < self.p, rng.uniform(*self.power)
        return float(power) if drawn else 1.0


def gaussian_blur(clips: Tensor, sigma: Tensor, *, taps: int = 23, padding: Padding = "reflect") -> Tensor:
    """Blur clips where `sigma` is positive.

    Args:
        clips: floating [B, C, T, H, W].
        sigma: float [B], 0 for none.
        taps: length of the kernel, odd.
        padding: see `Blur`.

    Raises:
        RecipeError: the kernel does not fit the frame.
    """
    if taps // 2 >= min(clips.shape[-2:]):
        raise RecipeError(f"taps={taps}: too long for frames of {tuple(clips.shape[-2:])}; lower it")
    if skips(clips):
        return _blur_drawn(clips, sigma, taps, padding)
    rows, columns = (_blur_matrix(sigma, length, taps, padding).to(clips.dtype) for length in clips.shape[-2:])
    return torch.matmul(rows[:, None, None], torch.matmul(clips, columns[:, None, None].transpose(-1, -2)))


def gaussian_kernel(sigma: Tensor, taps: int) -> Tensor:
    """[B, taps] for `sigma` [B], summing to one; a unit impulse where sigma is 0."""
    places = torch.arange(taps, device=sigma.device) - taps // 2
    weights = torch.exp(-0.5 * (places / sigma.float().clamp(min=1e-3)[:, None]).square())
    return weights / weights.sum(1, keepdim=True)


def solarise(clips: Tensor, drawn: Tensor, threshold: float = 0.5) -> Tensor:
    """1 - x where x >= threshold, for the clips that are `drawn` (bool [B]); floating clips in [0, 1]."""
    if skips(clips) and not drawn.any():
        return clips
    turned = ((clips >= threshold) & over_clip(drawn, clips)).to(clips.dtype)
    # As torch.where, but several times faster on the CPU.
    return torch.lerp(clips, 1 - clips, turned)


def gamma(clips: Tensor, power: Tensor) -> Tensor:
    """Raise to `power` [B]; floating clips in [0, 1]. A power of 1 changes nothing."""
    if skips(clips) and bool((power == 1).all()):
        return clips
    return clips.pow(over_clip(power.to(clips.dtype), clips))


def _blur_drawn(clips: Tensor, sigma: Tensor, taps: int, padding: Padding) -> Tensor:
    """Frame by frame in OpenCV, only where drawn, without the taps that weigh nothing."""
    import cv2

    border = {"reflect": cv2.BORDER_REFLECT_101, "zero": cv2.BORDER_CONSTANT, "replicate": cv2.BORDER_REPLICATE}
    picked = sigma.nonzero()[:, 0].tolist()
    if not picked:
        return clips
    out = torch.empty_like(clips) if len(picked) == len(clips) else clips.clone()
    for i in picked:
        kernel = _trimmed(gaussian_kernel(sigma[i : i + 1], taps)[0].numpy())
        frames = clips[i].reshape(-1, *clips.shape[-2:]).numpy()
        blurred = out[i].view(frames.shape).numpy()
        for source, target in zip(frames, blurred, strict=True):
            cv2.sepFilter2D(source, -1, kernel, kernel, dst=target, borderType=border[padding])
    return out


def _trimmed(kernel: np.ndarray) -> np.ndarray:
    beyond = np.cumsum(kernel)[: len(kernel) // 2]
    cut = int((beyond < _NEGLIGIBLE / 2).sum())
    kept = kernel[cut : len(kernel) - cut]
    return np.asarray(kept / kept.sum(), kernel.dtype)


def _blur_matrix(sigma: Tensor, length: int, taps: int, padding: Padding) -> Tensor:
    """[B, length, length]: the blur of one line, its border included."""
    kernel = gaussian_kernel(sigma, taps)
    places = torch.arange(length, device=sigma.device)[:, None] + torch.arange(taps, device=sigma.device) - taps // 2
    inside = (places >= 0) & (places < length)
    if padding == "reflect":
        places = places.abs()
        places = torch.where(places >= length, 2 * (length - 1) - places, places)
    weights = kernel[:, None, :].expand(-1, length, -1)
    if padding == "zero":
        weights = weights * inside
    places = places.clamp(0, length - 1).expand(len(kernel), -1, -1)
    return kernel.new_zeros(len(kernel), length, length).scatter_add_(2, places, weights)
