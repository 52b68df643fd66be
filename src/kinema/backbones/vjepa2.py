"""The encoder of V-JEPA 2: a transformer on clips whose positions are rotations (Assran, Bardes et al., 2025)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kinema.backbones.vit import ClipTransformer
from kinema.modules.transformer.blocks import Block, drop_path_rates
from kinema.modules.transformer.patches import Grid, PatchEmbedding, grid_of, patchify
from kinema.modules.transformer.rotary import rotary

VJEPA2_SIZES: dict[str, dict[str, Any]] = {
    "large": {"width": 1024, "depth": 24, "heads": 16},
    "huge": {"width": 1280, "depth": 32, "heads": 16},
    "giant": {"width": 1408, "depth": 40, "heads": 22, "mlp_ratio": 48 / 11},
}
"""Options of the published sizes."""


class VJEPA2(ClipTransformer):
    """Tokens of cubes without a position table, blocks that turn queries and keys by time, row and column, LayerNorm.

    Clips of any size that the patches fill are taken: places on a longer or wider grid simply go on counting.
    (transformers' version counts on the configured grid, so that frames of another size get wrong rows and columns.)

    Args:
        size: (frames, height, width) of the clips of training.
        patch: (frames, height, width) of one token.
        width, depth, heads: of the blocks; published ones in `VJEPA2_SIZES`.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
        stretch: scale the places of other clips onto the grid of `size` instead of going on counting.
        drop_path: probability of leaving a branch of the last block out; earlier ones linearly less.

    Raises:
        RecipeError: the patches do not fill the clip, or the heads do not divide the width.
    """

    def __init__(
        self,
        size: Grid = (64, 256, 256),
        patch: Grid = (2, 16, 16),
        *,
        width: int = 1024,
        depth: int = 24,
        heads: int = 16,
        mlp_ratio: float = 4.0,
        stretch: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.size, self.patch, self.grid = size, patch, grid_of(size, patch)
        self.feature_dim, self.heads, self.stretch = width, heads, stretch
        self.patch_embed = PatchEmbedding(width, patch)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=mlp_ratio, drop_path=rate) for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """First weights: truncated normal 0.02, zero biases; what ends a branch of block n is divided by sqrt(2 n)."""
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Conv3d):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        for number, block in enumerate(self.blocks, 1):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_(math.sqrt(2 * number))
            block.mlp.fc2.weight.div_(math.sqrt(2 * number))

    def forward_blocks(self, clips: Tensor, wanted: Sequence[int] = ()) -> list[Tensor]:
        """What the blocks numbered `wanted` return on whole clips, and last what the last one returns, without norm."""
        stretched = self.grid if self.stretch else None
        turn = rotary(self.grid_for(clips), self.feature_dim // self.heads, stretched_from=stretched, like=clips)
        return self.blocks_out(self.patch_embed(patchify(clips, self.patch)), wanted, turn)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips [B, 3, T, H, W] to tokens [B, N, D], after the last LayerNorm."""
        tokens: Tensor = self.norm(self.forward_blocks(clips)[-1])
        return tokens
