"""Operations on bytes that look every value up in a table: invert, posterise, solarise, autocontrast, equalise …

A table is uint8 [B, C, T, 256], T = 1 where all frames of a clip share it. Results are those of PIL, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinema.views.masking import skips


def look_up(clips: Tensor, tables: Tensor) -> Tensor:
    """Replace every value of uint8 clips [B, C, T, H, W] by its entry."""
    batch, channels, frames = clips.shape[:3]
    tables = tables.expand(batch, channels, frames, 256)
    if skips(clips):
        return _look_up_in_opencv(clips, tables)
    return tables.flatten(0, 2).gather(1, clips.reshape(batch * channels * frames, -1).long()).view(clips.shape)


def histograms(clips: Tensor, *, per_frame: bool = True) -> Tensor:
    """Counts of each value: int64 [B, C, T or 1, 256] of uint8 clips."""
    batch, channels, frames = clips.shape[:3]
    rows = batch * channels * (frames if per_frame else 1)
    values = clips.reshape(rows, -1).long()
    counts = values.new_zeros(rows, 256).scatter_add_(1, values, torch.ones_like(values))
    return counts.view(batch, channels, -1, 256)


def invert_table(like: Tensor) -> Tensor:
    """255 - x."""
    return _levels(like).neg().add_(255).to(torch.uint8)


def posterise_table(bits: Tensor) -> Tensor:
    """Keep the `bits` [B] most significant bits."""
    levels = _levels(bits)
    low = torch.bitwise_left_shift(torch.ones_like(bits), (8 - bits).clamp(0, 8)).view(-1, 1, 1, 1) - 1
    return (levels & ~low).to(torch.uint8)


def solarise_table(threshold: Tensor) -> Tensor:
    """255 - x where x >= `threshold` [B]."""
    levels = _levels(threshold)
    return torch.where(levels < threshold.view(-1, 1, 1, 1), levels, 255 - levels).to(torch.uint8)


def solarise_add_table(amount: Tensor, threshold: int = 128) -> Tensor:
    """min(255, x + `amount` [B]) where x < `threshold`."""
    levels = _levels(amount)
    added = (levels + amount.view(-1, 1, 1, 1)).clamp(max=255)
    return torch.where(levels < threshold, added, levels).to(torch.uint8)


def brightness_table(factor: Tensor) -> Tensor:
    """A blend of black and the picture by `factor` [B]."""
    levels = _levels(factor).float().expand(len(factor), 1, 1, 256)
    return cut(factor.float().view(-1, 1, 1, 1) * levels)


def contrast_table(factor: Tensor, clips: Tensor, *, per_frame: bool = True) -> Tensor:
    """A blend of the mean grey of each frame, or of the whole clip, and the picture, by `factor` [B]."""
    grey = byte_grey(clips)
    total = grey.sum((3, 4) if per_frame else (2, 3, 4), keepdim=True).flatten(3)
    count = grey[0, 0].numel() // total.shape[2]
    middle = torch.div(2 * total + count, 2 * count, rounding_mode="floor").float()
    return cut(middle + factor.float().view(-1, 1, 1, 1) * (_levels(factor) - middle))


def autocontrast_table(counts: Tensor) -> Tensor:
    """Stretch what is there to 0 … 255; `counts` as of `histograms`."""
    there, levels = counts > 0, _levels(counts).double()
    low = torch.where(there, levels, 255.0).amin(-1, keepdim=True)
    high = torch.where(there, levels, 0.0).amax(-1, keepdim=True)
    scale = 255.0 / (high - low).clamp(min=1)
    stretched = (levels * scale - low * scale).trunc().clamp(0, 255)
    return torch.where(high > low, stretched, levels).to(torch.uint8)


def equalise_table(counts: Tensor) -> Tensor:
    """Make all levels equally frequent; `counts` as of `histograms`."""
    levels = _levels(counts)
    last = torch.where(counts > 0, levels, -1).amax(-1, keepdim=True).clamp(min=0)
    step = (counts.sum(-1, keepdim=True) - counts.gather(-1, last)) // 255
    before = counts.cumsum(-1) - counts
    equal = torch.div(step // 2 + before, step.clamp(min=1), rounding_mode="floor").clamp(max=255)
    return torch.where(step > 0, equal, levels).to(torch.uint8)


def byte_grey(clips: Tensor) -> Tensor:
    """Luma of uint8 clips as PIL makes it, in fixed point: int32 [B, 1, T, H, W] of 0 … 255."""
    red, green, blue = clips.to(torch.int32).unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16)[:, None]


def cut(values: Tensor) -> Tensor:
    """Floating values as bytes, the fraction cut off, as PIL's blends do."""
    return values.clamp(0, 255).to(torch.uint8)


def _levels(like: Tensor) -> Tensor:
    return torch.arange(256, device=like.device).view(1, 1, 1, 256)


def _look_up_in_opencv(clips: Tensor, tables: Tensor) -> Tensor:
    import cv2

    out = torch.empty(clips.shape, dtype=torch.uint8)
    frames = clips.flatten(0, 2).numpy()
    for source, target, table in zip(frames, out.flatten(0, 2).numpy(), tables.flatten(0, 2).numpy(), strict=True):
        cv2.LUT(source, table, target)
    return out
