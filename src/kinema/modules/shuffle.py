"""Shuffling before batch normalisation (He et al., CVPR 2020, Sec. 3.3): keys in other company than their queries.

A query and its key in the same place of the same group would let the network tell them by the group's statistics.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kinema.modules.gather import all_gather, gather_rows, process
from kinema.randomness import torch_generator


@torch.no_grad()
def shuffled(encode: Callable[[Tensor], Tensor], clips: Tensor, *, step: int, groups: int = 1) -> Tensor:
    """`encode(clips)`, row by row, with the batch of all processes permuted and cut into groups before.

    Each group is one call of `encode`, so that BatchNorm layers in train mode normalise it alone. N processes with one
    group each have the same groups as one process with N. Without gradients.

    Args:
        encode: [b, ...] to [b, ...], a row of output per row of input.
        clips: [B, ...] of this process; B may differ between processes.
        step: number of the training step; the permutation is a function of it, and the same in every process.
        groups: groups of each process. One group in one process encodes the batch as it is.
    """
    number, processes = process()
    if groups * processes == 1:
        return encode(clips)
    joined = gather_rows(clips)
    order = torch.randperm(len(joined.rows), generator=torch_generator("shuffle", step))
    order = order.to(clips.device, non_blocking=True)
    shares = order.tensor_split(processes)
    encoded = [encode(joined.rows[part]) for part in shares[number].tensor_split(groups) if len(part)]
    outputs = all_gather(torch.cat(encoded), tuple(map(len, shares)))
    restored = torch.empty_like(outputs)
    restored[order] = outputs
    return restored[joined.first : joined.first + len(clips)]
