"""A decoder whose tokens look at those of another picture, which is left whole (SiamMAE, CropMAE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from kinema.modules.transformer.attention import Attention
from kinema.modules.transformer.blocks import MLP, initialise_xavier
from kinema.modules.transformer.decoder import TokenDecoder
from kinema.modules.transformer.patches import Grid

NormOrder = Literal["post", "pre"]

_PACKED_GAIN = 0.5**0.5
# Queries, keys and values drawn as one matrix [3 D, D] reach sqrt(6 / 4 D); one matrix [D, D] would sqrt(6 / 2 D).


class CrossBlock(nn.Module):
    """Cross-attention to a context, MLP, self-attention: in this order, as CropMAE's released code has them.

    "post": q = norm(q + drop(f(q))) for each of the three; "pre": q = q + drop(f(norm(q))).

    Args:
        width: D of the tokens and of the context.
        heads: of both attentions.
        hidden: width within the MLP, whatever D is.
        dropout: of attention weights, within the MLP and after each of the three, in training.
        norm: where LayerNorm stands.
    """

    def __init__(
        self, width: int, heads: int, *, hidden: int = 2048, dropout: float = 0.1, norm: NormOrder = "post"
    ) -> None:
        super().__init__()
        self.cross_attn = Attention(width, heads, fused=False, dropout=dropout)
        self.mlp = MLP(width, hidden, dropout=dropout)
        self.attn = Attention(width, heads, dropout=dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.drop, self.norm = nn.Dropout(dropout), norm

    def initialise(self) -> None:
        """First weights: Xavier-uniform, zero biases; the cross-attention's three projections as if one matrix."""
        initialise_xavier(self)
        for projection in (self.cross_attn.q, self.cross_attn.k, self.cross_attn.v):
            nn.init.xavier_uniform_(projection.weight, gain=_PACKED_GAIN)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Tokens [B, N, D] that look at `context` [B, M, D], to [B, N, D]."""
        x = self._added(x, self.norm1, lambda queries: self.cross_attn(queries, context))
        x = self._added(x, self.norm2, self.mlp)
        return self._added(x, self.norm3, self.attn)

    def _added(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        out: Tensor = norm(x + self.drop(part(x))) if self.norm == "post" else x + self.drop(part(norm(x)))
        return out


class CrossDecoder(nn.Module):
    """Visible tokens and copies of a mask token look at all tokens of a reference, block by block.

    Both pictures' tokens go through one projection. Only the tokens to be decoded get the decoder's positions: of the
    reference the decoder knows what the encoder put in.

    Args:
        grid: (time, height, width) of the tokens to be decoded.
        source: width of the encoder, which has a class token.
        width, depth, heads: of the decoder.
        outputs: values predicted per token.
        hidden, dropout, norm: as in `CrossBlock`.
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
        hidden: int = 2048,
        dropout: float = 0.1,
        norm: NormOrder = "post",
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"width": width, "heads": heads, "outputs": outputs}
        # Projection, positions, mask token and read-out; its blocks would look at nothing else.
        self.ends = TokenDecoder(grid, source, depth=0, positions="space", class_token="encoder", **options)
        self.blocks = nn.ModuleList(
            CrossBlock(width, heads, hidden=hidden, dropout=dropout, norm=norm) for _ in range(depth)
        )
        self.initialise()

    def initialise(self) -> None:
        """First weights: Xavier-uniform, tokens around 0, packed projections as one matrix."""
        self.ends.initialise()
        for part in self.blocks.modules():
            if isinstance(part, CrossBlock):
                part.initialise()

    def forward(self, latent: Tensor, reference: Tensor, kept: Tensor, hidden: Tensor) -> Tensor:
        """Latents of the visible tokens and of the whole reference to predictions of the hidden tokens.

        Args:
            latent: [B, 1 + K, source], the class token, then the order of `kept`.
            reference: [B, R, source], in any order.
            kept: int64 [B, K], places of the visible tokens on the grid.
            hidden: int64 [B, M], places to be predicted.

        Returns:
            [B, M, outputs] in the order of `hidden`.
        """
        context = self.ends.project(reference)
        x = self.ends.tokens(latent, kept, hidden)
        for block in self.blocks:
            x = block(x, context)
        return self.ends.read(x, hidden.shape[1])
