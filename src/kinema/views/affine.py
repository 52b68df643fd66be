"""Rotation, shear and translation of whole clips, together with crop, resize and mirror in one bilinear warp."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from kinema.views.geometry import Size
from kinema.views.masking import constant, skips


def rotation_matrix(angle: Tensor, frame: Size) -> Tensor:
    """[B, 2, 3] for a turn of the picture by `angle` [B] degrees counter-clockwise about the middle of the frame."""
    turn = torch.deg2rad(angle.float())
    cosine, sine = turn.cos(), turn.sin()
    x, y = frame[1] / 2, frame[0] / 2
    across = torch.stack([cosine, -sine, x - cosine * x + sine * y], 1)
    down = torch.stack([sine, cosine, y - sine * x - cosine * y], 1)
    return torch.stack([across, down], 1)


def view_matrix(box: Tensor, flip: Tensor | None, size: Size) -> Tensor:
    """[B, 2, 3] from points of a view of `size` to points of the frame it shows `box` [B, 4] of, mirrored or not."""
    top, left, height, width = box.float().unbind(1)
    across, down = width / size[1], height / size[0]
    if flip is not None:
        left = torch.where(flip, left + width, left)
        across = torch.where(flip, -across, across)
    zero = torch.zeros_like(top)
    return torch.stack([torch.stack([across, zero, left], 1), torch.stack([zero, down, top], 1)], 1)


def chain(first: Tensor, then: Tensor) -> Tensor:
    """The map [B, 2, 3] that applies `first` to a point, and `then` to the result."""
    linear = then[:, :, :2] @ first[:, :, :2]
    shift = then[:, :, :2] @ first[:, :, 2:] + then[:, :, 2:]
    return torch.cat([linear, shift], 2)


def warp(
    clips: Tensor,
    matrix: Tensor,
    size: Size,
    *,
    mode: Literal["nearest", "bilinear", "bicubic"] = "bilinear",
    fill: Sequence[float] | None = None,
    truncate: bool = False,
) -> Tensor:
    """Look up every pixel of the view in the clip, where `matrix` says; all frames of a clip alike.

    Nothing is smoothed when shrinking; for that, use `resample`.

    Args:
        clips: [B, C, T, H, W], uint8 or floating.
        matrix: [B, 2, 3] from (x, y) of the view to (x, y) of the frame, in pixels from the upper left corner of the
            frame, so that the first pixel's centre is (0.5, 0.5).
        size: (height, width) of the result.
        mode: "bicubic" uses a = -0.75.
        fill: one value per channel for what lies outside the frame; None repeats the frame's border.
        truncate: cut the fraction of bytes off, as PIL does, instead of rounding.

    Returns:
        [B, C, T, height, width], dtype of `clips`.
    """
    rows = torch.arange(size[0], device=clips.device) + 0.5
    columns = torch.arange(size[1], device=clips.device) + 0.5
    points = torch.stack(
        [columns.expand(*size), rows[:, None].expand(*size), torch.ones(size, device=clips.device)], -1
    )
    found = torch.matmul(points.view(1, -1, 3), matrix.to(clips.device).float().transpose(1, 2))
    found = found.view(len(clips), *size, 2)
    look_up = partial(_look_up, mode=mode, fill=fill, truncate=truncate)
    if not skips(clips):
        return look_up(clips, found)
    # Clip by clip, all that one needs stays in the processor's cache.
    out = clips.new_empty((*clips.shape[:3], *size))
    for i in range(len(clips)):
        out[i] = look_up(clips[i : i + 1], found[i : i + 1])[0]
    return out


def _look_up(clips: Tensor, found: Tensor, *, mode: str, fill: Sequence[float] | None, truncate: bool) -> Tensor:
    """The values of `clips` at the points `found` [B, h, w, 2]."""
    batch, channels, frames, height, width = clips.shape
    # Clips as read have their channels innermost: bytes are put in order before they become four times as many.
    flat = clips.reshape(batch, channels * frames, height, width)
    flat = flat.float() if clips.dtype == torch.uint8 else flat
    extent = constant((width, height), found.device)
    grid = (2 * found / extent - 1).to(flat.dtype)
    out = grid_sample(flat, grid, mode=mode, padding_mode="border", align_corners=False)
    out = out.view(batch, channels, frames, *out.shape[2:])
    if fill is not None:
        inside = ((found >= 0) & (found < extent)).all(-1)[:, None, None]
        out = torch.where(inside, out, constant(tuple(fill), out.device).to(out.dtype).view(1, -1, 1, 1, 1))
    if clips.dtype != torch.uint8:
        return out
    # A little more than the fraction of whole values that sums of floats fell short of.
    return out.add_(1e-3 if truncate else 0.5).floor_().clamp_(0, 255).to(torch.uint8)
