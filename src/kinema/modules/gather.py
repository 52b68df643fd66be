"""Join the tensors of all processes, with exact gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Joined(NamedTuple):
    """Rows of all processes in the order of ranks, without padding.

    Attributes:
        rows: [total, ...].
        first: where this process's own rows begin, `rows[first : first + counts[rank]]`.
        counts: rows of each process.
    """

    rows: Tensor
    first: int
    counts: tuple[int, ...]


def distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def process() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are; (0, 1) outside of distributed training."""
    return (dist.get_rank(), dist.get_world_size()) if distributed() else (0, 1)


def all_gather(x: Tensor, counts: tuple[int, ...] | None = None) -> Tensor:
    """[B, ...] of every process to [sum of all B, ...], in the order of ranks; in a single process, `x` itself.

    The gradient of an entry is the sum of what all processes' losses say about it, so that the sum of the losses over
    the processes is differentiated exactly.

    Args:
        x: the same shape in every process, but for the rows where `counts` is given.
        counts: rows of each process, the same tuple in all of them (`row_counts`); None: all have as many as this one.
    """
    if not distributed():
        return x
    joined: Tensor = _AllGather.apply(  # type: ignore[no-untyped-call]
        x, counts or (len(x),) * dist.get_world_size()
    )
    return joined


def row_counts(x: Tensor) -> tuple[int, ...]:
    """Rows of `x` in every process. They travel as a CPU tensor, so that a GPU never waits."""
    if not distributed():
        return (len(x),)
    counts = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    counts[dist.get_rank()] = len(x)
    dist.all_reduce(counts)
    return tuple(counts.tolist())


def gather_rows(x: Tensor) -> Joined:
    """Join [B, ...] of all processes, whose B may differ: a broken sample makes one process's batch smaller.

    Gradients as in `all_gather`. With the rows of `Joined` as negatives or keys, the mean of a loss over own rows,
    weighted by their number, is that of one process on the joined batch.
    """
    counts = row_counts(x)
    return Joined(all_gather(x, counts), sum(counts[: process()[0]]), counts)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        # Collectives take equal shapes only: shorter parts are padded on the way.
        own = x.new_zeros(max(counts), *x.shape[1:])
        own[: len(x)] = x
        parts = [torch.empty_like(own) for _ in counts]
        dist.all_gather(parts, own)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # A contiguous copy: collectives ignore strides, and they write into a tensor that others may hold.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        own = slice(sum(ctx.counts[: dist.get_rank()]), sum(ctx.counts[: dist.get_rank() + 1]))
        return gradient[own], None
