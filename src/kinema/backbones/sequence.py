"""A transformer over sequences of embeddings: a long video as one vector per segment (LV-MAE, ICCV 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kinema.modules.transformer.blocks import Block, initialise_xavier
from kinema.modules.transformer.positions import Positions


class SequenceTransformer(nn.Module):
    """Vectors with their places and a class token in front, through pre-norm blocks and a LayerNorm.

    The vectors are the tokens: there is no input projection. The class token has no place (a row of zeros).

    Args:
        width: D of the vectors; even, and a multiple of `heads`.
        depth: blocks.
        heads: of the attention.
        tokens: the longest sequence.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.

    Raises:
        RecipeError: `width` is odd or the heads do not divide it.
    """

    def __init__(self, width: int, *, depth: int, heads: int, tokens: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.feature_dim, self.heads, self.tokens = width, heads, tokens
        self.positions = Positions((tokens, 1, 1), width, "line")
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio=mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.initialise()

    def initialise(self) -> None:
        """First weights: Xavier-uniform, the class token N(0, 0.02)."""
        initialise_xavier(self)
        self.positions.initialise()
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(
        self,
        vectors: Tensor,
        places: Tensor | None = None,
        *,
        padding: Tensor | None = None,
        wanted: Sequence[int] = (),
    ) -> list[Tensor]:
        """Vectors [B, N, D] to tokens [B, 1 + N, D], the class token first.

        Args:
            vectors: as they are; whoever wants unit length scales them before.
            places: int64 [B, N], where in its sequence each vector stands; None: in order, from 0.
            padding: bool [B, N], True where a vector only fills up: nobody looks at it.
            wanted: numbers of blocks.

        Returns:
            What the blocks `wanted` return, and last the normalised output of the last one.
        """
        table = self.positions()
        x = vectors + (table[: vectors.shape[1]] if places is None else table[places])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        padding = None if padding is None else pad(padding, (1, 0))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x, padding=padding)
            if number in wanted:
                found.append(x)
        return [*found, self.norm(x)]
