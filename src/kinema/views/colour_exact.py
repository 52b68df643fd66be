"""The colour operations one after another, cut to [0, 1] after each, hue and saturation in HSV: as stock libraries do.

All take floating clips [B, 3, T, H, W] in [0, 1] and one number per clip, and return the same shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinema.views.colour import BRIGHTNESS, CONTRAST, GREY_WEIGHTS, HUE, SATURATION, ColourJitter, Pivot
from kinema.views.masking import over_clip, where_drawn

Weights = tuple[float, float, float]


def jitter_exactly(jitter: ColourJitter, clips: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """The drawn operations (float [B, 4]) in the drawn order (int64 [B, 4])."""
    operations = {
        BRIGHTNESS: add_brightness if jitter.additive else adjust_brightness,
        CONTRAST: lambda x, factor: adjust_contrast(x, factor, jitter.pivot, jitter.grey),
        SATURATION: scale_hsv_saturation
        if jitter.hsv_saturation
        else lambda x, factor: adjust_saturation(x, factor, jitter.grey),
        HUE: shift_hue,
    }
    changes = factors != factors.new_tensor(jitter.identity)
    for place in range(4):
        for number, operation in operations.items():
            drawn = (order[:, place] == number) & changes[:, number]
            clips = where_drawn(clips, drawn, operation, factors[:, number])
    return clips


def adjust_brightness(clips: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor`."""
    return (clips * over_clip(factor, clips)).clamp_(0, 1)


def add_brightness(clips: Tensor, amount: Tensor) -> Tensor:
    """Add `amount`."""
    return (clips + over_clip(amount, clips)).clamp_(0, 1)


def adjust_contrast(clips: Tensor, factor: Tensor, pivot: Pivot = "clip", weights: Weights = GREY_WEIGHTS) -> Tensor:
    """Stretch to pivot + factor (x - pivot); see `ColourJitter.pivot`."""
    values = clips if pivot.endswith("channel") else to_grey(clips, weights)
    middle = values.mean((3, 4) if pivot.startswith("frame") else (2, 3, 4), keepdim=True)
    if pivot == "zero":
        middle = torch.zeros_like(middle)
    return torch.lerp(middle.expand_as(clips), clips, over_clip(factor, clips)).clamp_(0, 1)


def adjust_saturation(clips: Tensor, factor: Tensor, weights: Weights = GREY_WEIGHTS) -> Tensor:
    """Stretch to grey + factor (x - grey), pixel by pixel."""
    return torch.lerp(to_grey(clips, weights).expand_as(clips), clips, over_clip(factor, clips)).clamp_(0, 1)


def scale_hsv_saturation(clips: Tensor, factor: Tensor) -> Tensor:
    """Saturation of HSV times `factor`, at most 1, without going there: value - gain (value - x)."""
    value = clips.amax(1, keepdim=True)
    chroma = value - clips.amin(1, keepdim=True)
    gain = torch.minimum(over_clip(factor, clips), value / chroma.clamp(min=1e-12))
    return (value - (value - clips) * gain).clamp_(0, 1)


def shift_hue(clips: Tensor, turns: Tensor) -> Tensor:
    """Hue of HSV moved by `turns`, modulo 1; value and saturation stay.

    With the hue h in sixths of a turn, a channel is minimum + chroma * clamp(w, 0, 1), where w is |h - 3| - 1 for red,
    2 - |h - 2| for green and 2 - |h - 4| for blue.
    """
    red, green, blue = clips.unbind(1)
    value, minimum = clips.amax(1), clips.amin(1)
    chroma = value - minimum
    # Choosing by arithmetic is several times faster on the CPU than torch.where.
    is_red, is_green = ((value == channel).to(clips.dtype) for channel in (red, green))
    rise = torch.lerp(torch.lerp(red - green, blue - red, is_green), green - blue, is_red)
    start = (4 - 2 * is_green).mul_(1 - is_red)
    sixths = rise.div_(chroma.clamp(min=1e-12)).add_(start).add_(6 * over_clip(turns, rise))
    sixths.sub_((sixths / 6).floor_().mul_(6))
    out = torch.empty_like(clips)
    for channel, (middle, sign, height) in enumerate(((3, 1, -1), (2, -1, 2), (4, -1, 2))):
        weight = (sixths - middle).abs_().mul_(sign).add_(height).clamp_(0, 1)
        torch.addcmul(minimum, chroma, weight, out=out[:, channel])
    return out


def to_grey(clips: Tensor, weights: Weights = GREY_WEIGHTS) -> Tensor:
    """Weighted mean of the channels: [B, 1, T, H, W]."""
    red, green, blue = clips.unbind(1)
    return (weights[0] * red + weights[1] * green + weights[2] * blue)[:, None]
