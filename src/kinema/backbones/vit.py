"""Vision transformers on clips, images and visible tokens alone (Dosovitskiy et al., ICLR 2021; VideoMAE; MAE-ST)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.modules.transformer.attention import Bias, Rotation
from kinema.modules.transformer.blocks import Block, drop_path_rates, initialise_xavier
from kinema.modules.transformer.patches import Grid, PatchEmbedding, grid_of, patchify, take
from kinema.modules.transformer.positions import Kind, Positions

Pool = Literal["mean", "class", "late"]
"""What is taken for a clip's vector; see `kinema.methods.encoders.ViTEncoder`."""


class ViTSize(NamedTuple):
    """Width, depth and heads of a transformer."""

    width: int
    depth: int
    heads: int


VIT_SIZES: dict[str, ViTSize] = {
    "tiny": ViTSize(192, 12, 3),
    "small": ViTSize(384, 12, 6),
    "base": ViTSize(768, 12, 12),
    "large": ViTSize(1024, 24, 16),
    "huge": ViTSize(1280, 32, 16),
}
"""Published sizes by name."""


class ClipTransformer(nn.Module):
    """What transformers on clips have in common: cubes become tokens, blocks change them, a LayerNorm ends.

    Attributes:
        size: (frames, height, width) of the clips it is made for.
        patch: (frames, height, width) of one token.
        grid: (time, height, width) of the tokens of such a clip.
        feature_dim: D.
        heads: of the attention.
        class_token: whether a token that is no patch stands in front.
    """

    size: Grid
    patch: Grid
    grid: Grid
    feature_dim: int
    heads: int
    class_token: bool = False
    blocks: nn.ModuleList
    norm: nn.LayerNorm

    def grid_for(self, clips: Tensor) -> Grid:
        """(time, height, width) of the tokens of clips [B, 3, T, H, W].

        Raises:
            RecipeError: the patches do not fill them.
        """
        frames, height, width = clips.shape[2:]
        return grid_of((frames, height, width), self.patch)

    def forward_blocks(self, clips: Tensor, wanted: Sequence[int] = ()) -> list[Tensor]:
        """What the blocks numbered `wanted` return on whole clips, and last what the last one returns, without norm."""
        raise NotImplementedError

    def blocks_out(self, tokens: Tensor, wanted: Sequence[int] = (), rotate: Rotation | None = None) -> list[Tensor]:
        """What the blocks numbered `wanted` return, and last what the last one returns, before the last LayerNorm."""
        found = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, rotate=rotate)
            if number in wanted:
                found.append(tokens)
        return [*found, tokens]


class VisionTransformer(ClipTransformer):
    """Joint attention over all cubes of a clip, or over those that are left visible.

    With the defaults it is VideoMAE's encoder; MAE-ST's has `positions="separable"`, a class token, `bias="all"` and
    three projections; an image MAE's is of one frame with `patch=(1, 16, 16)` and `positions="space"`.

    Args:
        size: (frames, height, width) of the clips for which positions are made; other clips get resampled ones.
        patch: (frames, height, width) of one token.
        width, depth, heads: of the blocks.
        mlp_ratio: hidden width of their MLPs, as a multiple of `width`.
        positions: as in `Positions`.
        class_token: put a learned token in front.
        bias, fused: of the attention, as in `Attention`.
        drop_path: probability of leaving a branch of the last block out; earlier ones linearly less.
        layer_scale: first factor of the branches; None: no factors.

    Raises:
        RecipeError: the patches do not fill the clip, or the heads do not divide the width.
    """

    def __init__(
        self,
        size: Grid = (16, 224, 224),
        patch: Grid = (2, 16, 16),
        *,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        positions: Kind = "index",
        class_token: bool = False,
        bias: Bias = "qv",
        fused: bool = True,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.size, self.patch, self.grid = size, patch, grid_of(size, patch)
        self.feature_dim, self.heads = width, heads
        self.patch_embed = PatchEmbedding(width, patch)
        self.positions = Positions(self.grid, width, positions)
        if class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
            if positions in ("separable", "learned"):
                self.cls_position = nn.Parameter(torch.zeros(1, 1, width))
        self.class_token = class_token
        options = {"mlp_ratio": mlp_ratio, "layer_scale": layer_scale}
        self.blocks = nn.ModuleList(
            Block(width, heads, bias=bias, fused=fused, drop_path=rate, **options)  # type: ignore[arg-type]
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.initialise()

    def initialise(self) -> None:
        """First weights, as the masked autoencoders start: Xavier-uniform, tokens around 0 with deviation 0.02."""
        initialise_xavier(self)
        self.patch_embed.initialise_xavier()
        self.positions.initialise()
        for name in ("cls_token", "cls_position"):
            if hasattr(self, name):
                nn.init.trunc_normal_(getattr(self, name), std=0.02)

    def embed(self, patches: Tensor, kept: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """Tokens with positions, the class token in front where there is one: what goes into the first block.

        Args:
            patches: pixels [B, N, P] from `patchify`.
            kept: int64 [B, K], the visible ones; None: all. The others are not even embedded.
            grid: of the tokens, where it is not `self.grid`.

        Returns:
            [B, K, D] or [B, 1 + K, D].
        """
        return self.embed_seen(patches if kept is None else take(patches, kept), kept, grid)

    def embed_seen(self, seen: Tensor, kept: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """`embed` of patches [B, K, P] that have been taken already, those at the places `kept`."""
        table = self.positions(grid)
        tokens: Tensor = self.patch_embed(seen) + (table if kept is None else table[kept])
        if not self.class_token:
            return tokens
        front: Tensor = self.cls_token + self.cls_position if hasattr(self, "cls_position") else self.cls_token
        return torch.cat([front.expand(len(tokens), -1, -1), tokens], 1)

    def forward_patches(self, patches: Tensor, kept: Tensor | None = None, grid: Grid | None = None) -> Tensor:
        """`embed`, all blocks and the last LayerNorm: [B, K, D] or [B, 1 + K, D]."""
        return self.encode(self.embed(patches, kept, grid))

    def encode(self, embedded: Tensor) -> Tensor:
        """All blocks and the last LayerNorm, of what `embed` returns; the same shape."""
        tokens: Tensor = self.norm(self.blocks_out(embedded)[-1])
        return tokens

    def forward_blocks(self, clips: Tensor, wanted: Sequence[int] = ()) -> list[Tensor]:
        """What the blocks numbered `wanted` return on whole clips, and last what the last one returns, without norm."""
        return self.blocks_out(self.embed(patchify(clips, self.patch), grid=self.grid_for(clips)), wanted)

    def last_attention(self, clips: Tensor) -> Tensor:
        """Who looks at whom in the last block, of whole clips: [B, heads, N, N], or 1 + N; rows sum to 1."""
        tokens = self.embed(patchify(clips, self.patch), grid=self.grid_for(clips))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        shares: Tensor = last.attn.weights(last.norm1(tokens))  # type: ignore[union-attr, operator]
        return shares

    def forward(self, clips: Tensor, kept: Tensor | None = None) -> Tensor:
        """Normalised clips [B, 3, T, H, W] to tokens [B, K, D] or [B, 1 + K, D], after the last LayerNorm."""
        return self.forward_patches(patchify(clips, self.patch), kept, self.grid_for(clips))


def vit_size(model: str, *, width: int | None = None, depth: int | None = None, heads: int | None = None) -> ViTSize:
    """A published size, of which single numbers may be replaced; arguments are named as the methods' options.

    Raises:
        RecipeError: no size of that name.
    """
    if model not in VIT_SIZES:
        raise RecipeError(
            f"model={model}: there are {', '.join(VIT_SIZES)}; width, depth and heads may be set one by one"
        )
    published = VIT_SIZES[model]
    return ViTSize(width or published.width, depth or published.depth, heads or published.heads)
