"""What a masked autoencoder regresses: the pixels of a patch, as they are or standardised."""

from __future__ import annotations

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
        variance, mean = _moments(patches.float(), -1)
        return (patches - mean) / (variance + 1e-6).sqrt()
    colours = patches.float().unflatten(-1, (-1, channels))  # type: ignore[no-untyped-call]
    variance, mean = _moments(colours, -2)
    standardised: Tensor = ((colours - mean) / (variance.sqrt() + 1e-6)).flatten(-2)
    return standardised


def _moments(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return values.var(dim, keepdim=True), values.mean(dim, keepdim=True)
