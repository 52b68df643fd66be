"""The attentive probe of V-JEPA: one learned query asks all positions of a frozen network's map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kinema.errors import RecipeError
from kinema.modules.encoder import Encoder


class AttentiveHead(nn.Module):
    """A query, one block of cross-attention, one linear layer.

    y = q + A(q, LN(x)); z = y + MLP(LN(y)); logits = W z + b, with the learned query q [1, 1, D] and the tokens x.
    Weights begin as N(0, 0.02), cut at -2 and 2 as in the published code; the output projection of A and the second
    layer of the MLP are divided by sqrt(2). At D = 768, 12 heads, 400 classes: 7,396,240 parameters
    (facebookresearch/jepa, `attentive_pooler.py`).

    Args:
        dim: D.
        classes: number of classes.
        heads: of the attention; D must be a multiple.
        applies_projection: apply the output projection of A. The published class defines it and never does; it counts
            as parameters either way.
    """

    def __init__(self, dim: int, classes: int, *, heads: int, applies_projection: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"an attentive probe of {dim} dimensions cannot have {heads} heads: use a divisor")
        self.heads, self.applies_projection = heads, applies_projection
        self.query = nn.Parameter(torch.zeros(1, 1, dim))
        self.token_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_query, self.to_key_value, self.projection = (nn.Linear(dim, n * dim) for n in (1, 2, 1))
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.linear = nn.Linear(dim, classes)
        self._start()

    def _start(self) -> None:
        nn.init.trunc_normal_(self.query, std=0.02)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
        with torch.no_grad():
            self.projection.weight.div_(2**0.5)
            self.mlp[2].weight.div_(2**0.5)  # type: ignore[operator]

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, D] to logits [B, classes]."""
        query = self.query.expand(len(tokens), -1, -1)
        y = query + self._attend(query, self.token_norm(tokens))
        z = y + self.mlp(self.norm(y))
        logits: Tensor = self.linear(z.squeeze(1))
        return logits

    def _attend(self, query: Tensor, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        q = self.to_query(query).view(batch, 1, self.heads, -1).transpose(1, 2)
        pairs = self.to_key_value(tokens).view(batch, count, 2, self.heads, -1)
        key, value = pairs.permute(2, 0, 3, 1, 4).unbind()
        found = scaled_dot_product_attention(q, key, value).transpose(1, 2).reshape(batch, 1, dim)
        return self.projection(found) if self.applies_projection else found


def heads_of(encoder: Encoder) -> int:
    """Heads of the probe's attention: the encoder's own where it says so, else one for 64 dimensions."""
    own = getattr(encoder, "heads", None)
    if isinstance(own, int):
        return own
    wanted = max(1, encoder.feature_dim // 64)
    return next(count for count in range(wanted, 0, -1) if encoder.feature_dim % count == 0)
