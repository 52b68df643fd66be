"""Crop, resize and mirror in one resampling per clip; flow, masks and boxes follow.

Pixel i covers [i, i + 1): its centre is at i + 1/2 (`align_corners=False`), as in PyTorch, PIL and OpenCV.

On the CPU each clip's window is cut out and resampled by `torch.nn.functional.interpolate`; the result is the stock
library's. Boxes of floating numbers are looked up by `grid_sample`. Elsewhere, and with other kernels than plain
bilinear, the same weights are two small matrices per clip, multiplied from both sides: no drawn number is read on the
host. uint8 clips are rounded after each direction, as PyTorch and PIL do (by `grid_sample` once), so that all differ by
one level at most (bicubic: two).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kinema.errors import RecipeError
from kinema.views.affine import view_matrix, warp
from kinema.views.geometry import Size, gather_pixels
from kinema.views.masking import constant, skips

Interpolation = Literal["nearest", "bilinear", "bicubic"]


class Kernel(NamedTuple):
    """How pixels between pixels are made.

    Attributes:
        mode: "bilinear", "bicubic" (a = -0.75, with antialias -0.5, as PyTorch), or "nearest" (the pixel that holds the
            centre; for masks).
        antialias: widen the kernel when shrinking.
        align_corners: let the centres of the corner pixels coincide instead of the corners of the frame.
    """

    mode: Interpolation = "bilinear"
    antialias: bool = False
    align_corners: bool = False


BILINEAR = Kernel()
NEAREST = Kernel("nearest")


def resample(clips: Tensor, box: Tensor, flip: Tensor | None, size: Size, kernel: Kernel = BILINEAR) -> Tensor:
    """Show `box` of each clip at `size`, mirrored left-right where `flip` says so; all frames of a clip alike.

    Args:
        clips: [B, C, T, H, W], uint8 or floating; masks of any dtype with the nearest kernel.
        box: [B, 4] (top, left, height, width). Integers: crop, then resize. Floating: resize, then crop.
        flip: bool [B], or None.
        size: (height, width) of the result.
        kernel: interpolation.

    Returns:
        [B, C, T, height, width], contiguous, dtype and device of `clips`.

    Raises:
        RecipeError: a box of integers leaves the frame (on the CPU; elsewhere boxes are trusted).
    """
    box = box.to(clips.device, non_blocking=True)
    flip = torch.zeros_like(box[:, 0], dtype=torch.bool) if flip is None else flip.to(clips.device, non_blocking=True)
    if kernel.mode == "nearest":
        return _nearest(clips, box, flip, size, kernel)
    if not skips(clips):
        return _matrices(clips, box, flip, size, kernel)
    if not box.is_floating_point():
        return _windows(clips, box, flip, size, kernel)
    # Four looks at the frame for each pixel of the view, instead of rows and columns of weights that are mostly zero.
    warped = kernel == BILINEAR
    return warp(clips, view_matrix(box, flip, size), size) if warped else _matrices(clips, box, flip, size, kernel)


def resample_flow(
    flow: Tensor,
    box: Tensor,
    flip: Tensor | None,
    size: Size,
    *,
    negate_u: bool = True,
    rescale: bool = True,
    kernel: Kernel = BILINEAR,
) -> Tensor:
    """`resample` for optical flow [B, 2, T, H, W] in pixels per frame, channels (u, v), float or 8-bit coded (uint8).

    `rescale`: motion grows with the picture, u by width / box width, v by height / box height. `negate_u`: a mirror
    reverses horizontal motion. The published STS code does neither.
    """
    out = resample(flow, box, flip, size, kernel)
    if not (rescale or negate_u):
        return out
    box = box.to(out.device).float()
    factor = torch.ones(len(out), 2, device=out.device)
    if rescale:
        factor = torch.stack([size[1] / box[:, 3], size[0] / box[:, 2]], 1)
    if negate_u and flip is not None:
        factor[:, 0] *= torch.where(flip.to(out.device), -1.0, 1.0)
    factor = factor.view(-1, 2, 1, 1, 1)
    if out.dtype == torch.uint8:
        # Grey level 127.5 codes no motion.
        return ((out.float() - 127.5) * factor + 127.5).round_().clamp_(0, 255).to(torch.uint8)
    return out * factor


def resample_masks(masks: Tensor, box: Tensor, flip: Tensor | None, size: Size) -> Tensor:
    """`resample` for masks or label maps [B, C, T, H, W] of any dtype: nearest pixel, so that no new value appears."""
    return resample(masks, box, flip, size, NEAREST)


def resample_boxes(boxes: Tensor, box: Tensor, flip: Tensor | None, size: Size, *, clamp: bool = True) -> Tensor:
    """Objects' boxes [B, ..., 4] (left, top, right, bottom), in pixels of the frame, as they lie in the view.

    `clamp` cuts them at the view's borders; what is wholly outside becomes empty (right = left or bottom = top).
    """
    lead = (-1, *(1,) * (boxes.ndim - 2))
    top, left, height, width = (side.view(lead) for side in box.to(boxes.device).float().unbind(1))
    x, y = (boxes[..., 0::2].unbind(-1), boxes[..., 1::2].unbind(-1))
    left_edge, right_edge = ((side - left) * (size[1] / width) for side in x)
    top_edge, bottom_edge = ((side - top) * (size[0] / height) for side in y)
    if flip is not None:
        mirrored = flip.to(boxes.device).view(lead)
        left_edge, right_edge = (
            torch.where(mirrored, size[1] - right_edge, left_edge),
            torch.where(mirrored, size[1] - left_edge, right_edge),
        )
    out = torch.stack([left_edge, top_edge, right_edge, bottom_edge], -1)
    if not clamp:
        return out
    return torch.minimum(out.clamp_(min=0), constant((size[1], size[0], size[1], size[0]), out.device))


def _windows(clips: Tensor, box: Tensor, flip: Tensor, size: Size, kernel: Kernel) -> Tensor:
    out = clips.new_empty((*clips.shape[:3], *size))
    frame = (clips.shape[-2], clips.shape[-1])
    for i, ((top, left, height, width), mirrored) in enumerate(zip(box.tolist(), flip.tolist(), strict=True)):
        if min(top, left, height - 1, width - 1, frame[0] - top - height, frame[1] - left - width) < 0:
            raise RecipeError(f"the box {(top, left, height, width)} leaves the frame of {frame} (height, width)")
        shown = _resize(clips[i, :, :, top : top + height, left : left + width], size, kernel)
        out[i] = shown.flip(-1) if mirrored else shown
    return out


def _resize(window: Tensor, size: Size, kernel: Kernel) -> Tensor:
    """[C, T, h, w] to [C, T, height, width]."""
    if window.shape[-2:] == size:
        return window
    if window.dtype != torch.uint8:
        return _interpolate(window, size, kernel)
    # PyTorch's fast path for bytes wants the channels last.
    frames = window.permute(1, 2, 3, 0).contiguous().permute(0, 3, 1, 2)
    return _interpolate(frames, size, kernel).transpose(0, 1)


def _interpolate(frames: Tensor, size: Size, kernel: Kernel) -> Tensor:
    return interpolate(
        frames, size, mode=kernel.mode, antialias=kernel.antialias, align_corners=kernel.align_corners or None
    )


def _matrices(clips: Tensor, box: Tensor, flip: Tensor, size: Size, kernel: Kernel) -> Tensor:
    rows = _weights(box[:, 0], box[:, 2], clips.shape[-2], size[0], kernel)
    columns = _weights(box[:, 1], box[:, 3], clips.shape[-1], size[1], kernel)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns).transpose(1, 2)
    if clips.dtype != torch.uint8:
        rows, columns = rows.to(clips.dtype), columns.to(clips.dtype)
        return torch.matmul(rows[:, None, None], torch.matmul(clips, columns[:, None, None]))
    across = _whole(torch.matmul(clips.float(), columns[:, None, None]))
    return _whole(torch.matmul(rows[:, None, None], across)).to(torch.uint8)


def _whole(values: Tensor) -> Tensor:
    """Rounded to bytes as PyTorch's own resampling does, halves upwards; in place."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def _centres(start: Tensor, extent: Tensor, out: int, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Positions of the `out` pixels in the frame, in pixel indices [B, out], and the size of a step [B, 1]."""
    steps = torch.arange(out, device=start.device, dtype=torch.float32)
    start, extent = start.float()[:, None], extent.float()[:, None]
    if kernel.align_corners and out > 1:
        step = (extent - 1) / (out - 1)
        # PyTorch keeps the half-pixel rule for antialiased centres even here.
        return (start + (steps + 0.5) * step - 0.5 if kernel.antialias else start + steps * step), step
    step = extent / out
    return start + (steps + 0.5) * step - 0.5, step


def _weights(start: Tensor, extent: Tensor, length: int, out: int, kernel: Kernel) -> Tensor:
    """[B, out, length]: the share of each pixel of the frame in each pixel of the view."""
    centre, step = _centres(start, extent, out, kernel)
    bounded = not start.is_floating_point()
    low = start.float()[:, None] if bounded else torch.zeros_like(step)
    high = (start + extent - 1).float()[:, None] if bounded else torch.full_like(step, length - 1.0)
    if kernel.antialias:
        pixels = torch.arange(length, device=start.device, dtype=torch.float32)
        distance = (pixels - centre[..., None]).abs() / step.clamp(min=1)[..., None]
        weights = _cubic(distance, -0.5) if kernel.mode == "bicubic" else (1 - distance).clamp(min=0)
        inside = (pixels >= low[..., None]) & (pixels <= high[..., None])
        weights = weights * inside
        return weights / weights.sum(-1, keepdim=True)
    taps = (
        torch.arange(-1, 3, device=start.device) if kernel.mode == "bicubic" else torch.arange(2, device=start.device)
    )
    if kernel.mode == "bilinear":
        centre = centre.maximum(low).minimum(high)
    places = centre.floor()[..., None] + taps
    distance = (places - centre[..., None]).abs()
    weights = _cubic(distance, -0.75) if kernel.mode == "bicubic" else (1 - distance).clamp(min=0)
    places = places.maximum(low[..., None]).minimum(high[..., None]).long()
    return torch.zeros(*centre.shape, length, device=start.device).scatter_add_(2, places, weights)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel."""
    near = ((a + 2) * distance - (a + 3)) * distance.square() + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))


def _nearest(clips: Tensor, box: Tensor, flip: Tensor, size: Size, kernel: Kernel) -> Tensor:
    rows, _ = _centres(box[:, 0], box[:, 2], size[0], kernel)
    columns, _ = _centres(box[:, 1], box[:, 3], size[1], kernel)
    # The pixel whose area holds the centre; centres on an edge belong to the later pixel.
    rows = (rows + 0.5).floor().long().clamp(0, clips.shape[-2] - 1)
    columns = (columns + 0.5).floor().long().clamp(0, clips.shape[-1] - 1)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    return gather_pixels(clips, rows, columns)
