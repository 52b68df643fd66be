"""Join the tensors of all processes, with exact gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def all_gather(x: Tensor) -> Tensor:
    """[B, ...] of every process to [world * B, ...], in the order of ranks; in a single process, `x` itself.

    Every process must pass the same shape. The gradient of an entry is the sum of what all processes' losses say about
    it, so that the sum of the losses over the processes is differentiated exactly.
    """
    if not distributed():
        return x
    joined: Tensor = _AllGather.apply(x)  # type: ignore[no-untyped-call]
    return joined


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # A contiguous copy: collectives ignore strides, and they write into a tensor that others may hold.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
