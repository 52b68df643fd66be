"""Operations that only some clips of a batch undergo: left out on the CPU, computed and masked on other devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


def skips(clips: Tensor) -> bool:
    """Whether clips that an operation leaves alone are worth looking for: looking is free on the CPU only.

    On any other device it would make the host wait, so there the operation runs on all clips and a mask chooses.
    """
    return clips.device.type == "cpu"


def where_drawn(clips: Tensor, drawn: Tensor, operation: Callable[..., Tensor], *numbers: Tensor) -> Tensor:
    """`operation(clips, *numbers)` for the clips that `drawn` marks, the others as they are.

    Args:
        clips: [B, ...].
        drawn: bool [B].
        operation: takes clips and the same rows of `numbers`; keeps shape and dtype. On the CPU it gets one clip at a
            time.
        numbers: [B, ...] each, on the device of `clips`.

    Returns:
        [B, ...]; `clips` itself where nothing was drawn. `clips` is never written to.
    """
    if not skips(clips):
        return torch.where(drawn.view(-1, *(1,) * (clips.ndim - 1)), operation(clips, *numbers), clips)
    picked = drawn.nonzero()[:, 0].tolist()
    if not picked:
        return clips
    if len(clips) == 1:
        return operation(clips, *numbers)
    out = clips.clone()
    for i in picked:
        out[i : i + 1] = operation(clips[i : i + 1], *(number[i : i + 1] for number in numbers))
    return out


def over_clip(numbers: Tensor, clips: Tensor) -> Tensor:
    """[B] drawn numbers as [B, 1, 1, ...], to be combined with `clips` of any rank."""
    return numbers.view(-1, *(1,) * (clips.ndim - 1))


@cache
def constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """`values` as float32 on `device`, copied there once, since each copy makes the host wait; not to be changed."""
    return torch.tensor(values, dtype=torch.float32, device=device)
