"""Crops and horizontal mirrors of whole batches, on numbers that were drawn before.

Drawing and applying are separate. `plan` draws with a keyed NumPy generator, one draw per clip; `prepare` applies the
drawn numbers to the clip, its flow, masks … alike. Applying moves values and never interpolates, so that the CPU and a
GPU give the same bits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kinema.errors import RecipeError

Size = tuple[int, int]


def draw_crop(rng: np.random.Generator, source: Size, size: Size) -> tuple[int, int]:
    """(top, left) of a `size` window in a `source` frame, both (height, width); uniform over all that fit.

    Raises:
        RecipeError: when the window is larger than the frame.
    """
    rows, columns = _free_room(source, size)
    return int(rng.integers(rows + 1)), int(rng.integers(columns + 1))


def centre_crop(source: Size, size: Size) -> tuple[int, int]:
    """(top, left) of the central `size` window; an odd remainder leaves the extra pixel below or on the right.

    Raises:
        RecipeError: when the window is larger than the frame.
    """
    rows, columns = _free_room(source, size)
    return rows // 2, columns // 2


def draw_flip(rng: np.random.Generator, p: float = 0.5) -> bool:
    """Whether to mirror a clip: True with probability `p`."""
    return bool(rng.random() < p)


def crop_flip(clip: Tensor, top: Tensor, left: Tensor, flip: Tensor, size: Size) -> Tensor:
    """Cut one window out of each clip, then mirror it left-right where asked; all frames of a clip alike.

    Args:
        clip: [B, C, T, H, W] of any dtype.
        top: integers [B], first row of each window.
        left: integers [B], first column of each window.
        flip: bool [B].
        size: (height, width) of the windows.

    Returns:
        [B, C, T, height, width], contiguous, dtype and device of `clip`.

    Raises:
        RecipeError: when a window leaves the frame (on the CPU; elsewhere the offsets are trusted, since looking at
            them would make the host wait for the device).
    """
    return _windows(clip, top, left, flip, size) if clip.device.type == "cpu" else _gather(clip, top, left, flip, size)


def crop_flip_flow(
    flow: Tensor, top: Tensor, left: Tensor, flip: Tensor, size: Size, *, negate_u: bool = False
) -> Tensor:
    """`crop_flip` for optical flow [B, 2, T, H, W], channels (u, v), float or in the 8-bit coding (uint8).

    A mirror reverses horizontal motion: `negate_u` changes the sign of u in mirrored samples, in the coding
    g -> 255 - g. False mirrors the field only, as the published STS code does.
    """
    out = crop_flip(flow, top, left, flip, size)
    if negate_u:
        u = out[:, 0]
        opposite = 255 - u if u.dtype == torch.uint8 else -u
        out[:, 0] = torch.where(flip.to(out.device).view(-1, 1, 1, 1), opposite, u)
    return out


def gather_pixels(clip: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels [B, C, T, h, w] of `clip` [B, C, T, H, W] at integer `rows` [B, h] and `columns` [B, w]."""
    index = (rows[:, :, None] * clip.shape[-1] + columns[:, None, :]).flatten(1)
    index = index[:, None, None].expand(-1, *clip.shape[1:3], -1)
    return clip.flatten(3).gather(3, index).view(*clip.shape[:3], rows.shape[1], columns.shape[1])


def box_mask(box: Tensor, size: Size) -> Tensor:
    """Bool [B, 1, 1, H, W]: which pixels of frames of `size` lie in `box` [B, 4] (top, left, height, width)."""
    rows, columns = (torch.arange(length, device=box.device) for length in size)
    top, left, height, width = (side[:, None] for side in box.unbind(1))
    down = (rows >= top) & (rows < top + height)
    across = (columns >= left) & (columns < left + width)
    return (down[:, :, None] & across[:, None, :])[:, None, None]


def _free_room(source: Size, size: Size) -> Size:
    rows, columns = source[0] - size[0], source[1] - size[1]
    if rows < 0 or columns < 0:
        raise RecipeError(f"a crop of {size} does not fit into frames of {source} (height, width): lower 'size'")
    return rows, columns


def _windows(clip: Tensor, top: Tensor, left: Tensor, flip: Tensor, size: Size) -> Tensor:
    """Slices copied into one output: on the CPU several times faster than gathering by index."""
    (height, width), source = size, (clip.shape[-2], clip.shape[-1])
    out = clip.new_empty((*clip.shape[:3], height, width))
    for i, (row, column, mirrored) in enumerate(zip(top.tolist(), left.tolist(), flip.tolist(), strict=True)):
        if not (0 <= row <= source[0] - height and 0 <= column <= source[1] - width):
            raise RecipeError(f"the crop of {size} at ({row}, {column}) leaves the frame of {source} (height, width)")
        window = clip[i, :, :, row : row + height, column : column + width]
        out[i] = window.flip(-1) if mirrored else window
    return out


def _gather(clip: Tensor, top: Tensor, left: Tensor, flip: Tensor, size: Size) -> Tensor:
    """The same without reading a drawn number on the host: one gather over flattened pixels."""
    (height, width), device = size, clip.device
    top, left, flip = (draw.to(device, non_blocking=True) for draw in (top, left, flip))
    across = torch.arange(width, device=device)
    rows = top[:, None] + torch.arange(height, device=device)
    columns = left[:, None] + torch.where(flip[:, None], width - 1 - across, across)
    return gather_pixels(clip, rows, columns)
