"""A ring of keys of earlier batches: the negatives of momentum contrast (He et al., CVPR 2020)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from kinema.errors import RecipeError
from kinema.modules.gather import gather_rows


class FeatureQueue(nn.Module):
    """The last `size` keys, oldest overwritten first; the same in every process.

    `rows` [size, dim] and `position`, where the next key goes, are buffers: a checkpoint holds them.

    Args:
        size: K.
        dim: D.
        start: rows before any key came: "gaussian" directions of norm 1 (MoCo, RSPNet), or "uniform" in
            +-1 / sqrt(D / 3), of norm about 1 (TDL).
    """

    rows: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int, *, start: Literal["gaussian", "uniform"] = "gaussian") -> None:
        super().__init__()
        if size < 1:
            raise RecipeError(f"queue={size}: a queue needs room for at least one key")
        bound = 1 / math.sqrt(dim / 3)
        rows = torch.randn(size, dim) if start == "gaussian" else torch.empty(size, dim).uniform_(-bound, bound)
        self.register_buffer("rows", normalize(rows, dim=1) if start == "gaussian" else rows)
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Store keys [B, D] of all processes, in the order of ranks; B may be anything, and differ between them."""
        size = len(self.rows)
        keys = gather_rows(keys.detach()).rows
        places = (self.position + torch.arange(len(keys), device=self.rows.device)) % size
        # Of more keys than there are places only the last stay.
        self.rows.index_copy_(0, places[-size:], keys[-size:].to(self.rows.dtype))
        self.position.copy_((self.position + len(keys)) % size)


def whole_batches(size: int, batch: int) -> int:
    """The largest multiple of a global batch that fits into `size`: 16,384 keys at batch 96 become 16,320 (RSPNet).

    A `FeatureQueue` takes any size; this is for comparing with codes that do not.

    Raises:
        RecipeError: not even one batch fits.
    """
    if not 0 < batch <= size:
        raise RecipeError(f"queue={size} cannot hold a batch of {batch}: make the queue larger")
    return size // batch * batch
