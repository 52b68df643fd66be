"""Multi-head attention with the switches in which published video transformers differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from kinema.errors import RecipeError

Bias = Literal["all", "qv", "none"]
Rotation = Callable[[Tensor], Tensor]
"""Turns queries or keys [B, heads, N, D / heads] by their positions (rotary embedding)."""


class Attention(nn.Module):
    """softmax(q k' / sqrt(D / heads)) v, then an output projection with bias.

    A bias of the keys adds the same number to all scores of a query, which the softmax takes away again: VideoMAE
    leaves it out ("qv").

    Args:
        width: D of the queries and of the output.
        heads: number of heads; must divide `width`.
        context_width: width of what keys and values are made of; None: of the queries.
        bias: which projections have one: "all", "qv" (queries and values) or "none".
        fused: one projection for queries, keys and values, for attention of tokens among themselves; False: three.
        dropout: of attention weights, in training.

    Raises:
        RecipeError: `heads` does not divide `width`, or a fused projection was asked for another context.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context_width: int | None = None,
        bias: Bias = "all",
        fused: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise RecipeError(f"heads={heads}: must divide the width, {width}")
        if fused and context_width is not None:
            raise RecipeError("fused=True: queries, keys and values are of one input; set fused=False for a context")
        self.heads, self.dropout, self.fused = heads, dropout, fused
        if fused:
            self.qkv = nn.Linear(width, 3 * width, bias=bias == "all")
            if bias == "qv":
                self.q_bias = nn.Parameter(torch.zeros(width))
                self.v_bias = nn.Parameter(torch.zeros(width))
        else:
            self.q = nn.Linear(width, width, bias=bias != "none")
            self.k = nn.Linear(context_width or width, width, bias=bias == "all")
            self.v = nn.Linear(context_width or width, width, bias=bias != "none")
        self.bias = bias
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, padding: Tensor | None = None, rotate: Rotation | None = None
    ) -> Tensor:
        """Queries [B, N, D] to [B, N, D].

        Args:
            x: tokens that ask.
            context: [B, M, context width] that are looked at; None: `x` itself.
            padding: bool [B, M], True where a token is no key; None: all are.
            rotate: applied to queries and keys.
        """
        query, key, value = self._projected(x, context, rotate)
        mask = None if padding is None else ~padding[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        out = scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        y: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return y

    def weights(
        self, x: Tensor, context: Tensor | None = None, *, padding: Tensor | None = None, rotate: Rotation | None = None
    ) -> Tensor:
        """Who looks at whom: [B, heads, N, M], rows sum to 1. Same arguments as `forward`."""
        query, key, _ = self._projected(x, context, rotate)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None, :], float("-inf"))
        shares: Tensor = scores.softmax(-1)
        return shares

    def _projected(self, x: Tensor, context: Tensor | None, rotate: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.fused:
            if context is not None:
                raise ValueError("a fused projection takes no context")
            query, key, value = linear(x, self.qkv.weight, self._fused_bias()).chunk(3, -1)
        else:
            seen = x if context is None else context
            query, key, value = self.q(x), self.k(seen), self.v(seen)
        shape = (len(x), -1, self.heads, x.shape[-1] // self.heads)
        query, key, value = (part.reshape(shape).transpose(1, 2) for part in (query, key, value))
        return (rotate(query), rotate(key), value) if rotate else (query, key, value)

    def _fused_bias(self) -> Tensor | None:
        if self.bias != "qv":
            return self.qkv.bias
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
