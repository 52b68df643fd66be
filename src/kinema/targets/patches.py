"""What a masked autoencoder regresses: the pixels of a patch, as they are or standardised."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

Standard = Literal["none", "patch", "channel"]


def standardise(patches: Tensor, how: Standard = "patch", *, channels: int = 3) -> Tensor:
    """Patches [..., P] of pixels, the channel fastest, as targets of the same shape; statistics in single precision.

    Args:
        patches: from `patchify`.
        how: "none"; "patch": (v - mean) / sqrt(variance + 1e-6) over all P values (image MAE, MAE-ST, CropMAE);
            "channel": (v - mean) / (sqrt(variance) + 1e-6) over the P / channels values of each colour (VideoMAE §3.4).
            Variances divide by the count less one. Constant patches become 0.
        channels: C.
    """
    if how == "none":
        return patches
    if how == "patch":
        # Less the first value, so that a constant patch becomes 0 exactly; in place, since patches are the whole clip.
        values = patches.float() - patches[..., :1]
        values -= values.mean(-1, keepdim=True)
        values *= (values.square().sum(-1, keepdim=True) / (values.shape[-1] - 1) + 1e-6).rsqrt()
        return values
    return _by_channel(patches.float(), channels)


def _by_channel(patches: Tensor, channels: int) -> Tensor:
    count = patches.shape[-1] // channels
    # Sums over rows of several pixels are many times faster than over every third value.
    pixels = math.gcd(count, 16)
    rows = patches.unflatten(-1, (-1, pixels * channels))  # type: ignore[no-untyped-call]
    values = rows - _repeated(rows[..., 0, :channels], pixels)
    values -= _repeated(_sums(values, pixels) / count, pixels)
    deviation = (_sums(values.square(), pixels) / (count - 1)).sqrt()
    values *= _repeated(1 / (deviation + 1e-6), pixels)
    standardised: Tensor = values.flatten(-2)
    return standardised


def _sums(rows: Tensor, pixels: int) -> Tensor:
    """Sums of every colour, [..., R, pixels x C] to [..., C]."""
    sums: Tensor = rows.sum(-2).unflatten(-1, (pixels, -1)).sum(-2)  # type: ignore[no-untyped-call]
    return sums


def _repeated(colours: Tensor, pixels: int) -> Tensor:
    """[..., C] for every pixel of a row, [..., 1, pixels x C]."""
    return colours.repeat(*(1,) * (colours.ndim - 1), pixels).unsqueeze(-2)


def unstandardise(values: Tensor, truth: Tensor, how: Standard = "patch", *, channels: int = 3) -> Tensor:
    """The inverse of `standardise`: values [..., P] with mean and deviation of the patches `truth`, of the same shape.

    Where `values` were predicted and `truth` was hidden, brightness and contrast of the result are not the network's.
    """
    if how == "none":
        return values
    groups = truth.float().unflatten(-1, (-1, channels if how == "channel" else 1))  # type: ignore[no-untyped-call]
    variance, mean = groups.var(-2, keepdim=True), groups.mean(-2, keepdim=True)
    deviation = variance.sqrt() + 1e-6 if how == "channel" else (variance + 1e-6).sqrt()
    restored: Tensor = (values.view_as(groups) * deviation + mean).flatten(-2)
    return restored
