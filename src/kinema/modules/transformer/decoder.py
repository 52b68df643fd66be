"""The decoder of masked autoencoders: from tokens of the visible patches to what the hidden ones hold."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kinema.modules.transformer.attention import Bias
from kinema.modules.transformer.blocks import Block, initialise_xavier
from kinema.modules.transformer.patches import Grid
from kinema.modules.transformer.positions import Kind, Positions

ClassToken = Literal["none", "encoder", "own"]


class TokenDecoder(nn.Module):
    """Visible tokens and copies of a mask token, each with its position, through blocks to a linear read-out.

    The order of tokens does not matter to attention, so hidden ones stand behind visible ones and are not sorted in.

    Args:
        grid: (time, height, width) of the tokens.
        source: width of the encoder.
        width, depth, heads: of the decoder.
        outputs: values predicted per token.
        positions: as in `Positions`.
        class_token: "none"; "encoder": the encoder's goes through, in front (image MAE); "own": the encoder's is
            dropped for one of the decoder's (MAE-ST).
        projection_bias: whether the projection to `width` has a bias.
        bias, fused: of the attention.
        mask_std: deviation of the mask token's first values, cut at one deviation where `mask_cut` (VideoMAE).
        mask_cut: see `mask_std`.
    """

    def __init__(
        self,
        grid: Grid,
        source: int,
        *,
        width: int,
        depth: int,
        heads: int,
        outputs: int,
        positions: Kind = "index",
        class_token: ClassToken = "none",
        projection_bias: bool = True,
        bias: Bias = "all",
        fused: bool = True,
        mask_std: float = 0.02,
        mask_cut: bool = False,
    ) -> None:
        super().__init__()
        self.class_token = class_token
        self.project = nn.Linear(source, width, bias=projection_bias)
        self.positions = Positions(grid, width, positions)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        if class_token == "own":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if class_token != "none" and positions in ("separable", "learned"):
            self.cls_position = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, bias=bias, fused=fused) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, outputs)
        self.mask_std, self.mask_cut = mask_std, mask_cut
        self.initialise()

    def initialise(self) -> None:
        """First weights, as the masked autoencoders start: Xavier-uniform, tokens around 0."""
        initialise_xavier(self)
        self.positions.initialise()
        if self.mask_cut:
            nn.init.trunc_normal_(self.mask_token, std=self.mask_std, a=-self.mask_std, b=self.mask_std)
        else:
            nn.init.normal_(self.mask_token, std=self.mask_std)
        for name in ("cls_token", "cls_position"):
            if hasattr(self, name):
                nn.init.trunc_normal_(getattr(self, name), std=0.02)

    def forward(
        self, latent: Tensor, kept: Tensor, hidden: Tensor, grid: Grid | None = None, *, padding: Tensor | None = None
    ) -> Tensor:
        """Latents of the visible tokens to predictions of the hidden ones.

        Args:
            latent: [B, K, source] in the order of `kept`; [B, 1 + K, source], the class token first, unless
                `class_token` is "none".
            kept: int64 [B, K], places of the visible tokens on the grid.
            hidden: int64 [B, M], places to be predicted.
            grid: of the tokens, where it is not the one the decoder was made for.
            padding: bool [B, K + M], True where `kept`, then `hidden`, name no token but fill up; None: all are real.

        Returns:
            [B, M, outputs] in the order of `hidden`.
        """
        x = self.tokens(latent, kept, hidden, grid)
        if padding is not None and self.class_token != "none":
            padding = pad(padding, (1, 0))
        for block in self.blocks:
            x = block(x, padding=padding)
        return self.read(x, hidden.shape[1])

    def tokens(self, latent: Tensor, kept: Tensor, hidden: Tensor, grid: Grid | None = None) -> Tensor:
        """What goes into the first block: [class token], visible tokens, hidden ones. Arguments as in `forward`."""
        table = self.positions(grid)
        tokens = self.project(latent)
        front, tokens = (tokens[:, :1], tokens[:, 1:]) if self.class_token != "none" else (None, tokens)
        visible = tokens + table[kept]
        x = torch.cat([visible, self.mask_token + table[hidden]], 1)
        return x if front is None else torch.cat([self._front(front), x], 1)

    def read(self, x: Tensor, hidden: int) -> Tensor:
        """Predictions of the last `hidden` tokens; what nobody reads needs no read-out."""
        predicted: Tensor = self.head(self.norm(x[:, -hidden:]))
        return predicted

    def _front(self, encoded: Tensor) -> Tensor:
        front = self.cls_token.expand(len(encoded), -1, -1) if self.class_token == "own" else encoded
        return front + self.cls_position if hasattr(self, "cls_position") else front
