"""Transformer blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.modules.transformer.attention import Attention, Bias, Rotation


class MLP(nn.Module):
    """Linear, GELU (exact), linear."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.act, self.drop = nn.GELU(), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        y: Tensor = self.fc2(self.drop(self.act(self.fc1(x))))
        return y


class DropPath(nn.Module):
    """Leaves a residual branch out for whole samples, in training, and scales the others so that the mean is kept.

    Huang et al., "Deep networks with stochastic depth", ECCV 2016.

    Args:
        probability: of leaving out, in [0, 1).

    Raises:
        RecipeError: the probability is out of range.
    """

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise RecipeError(f"drop_path={probability}: a probability in [0, 1)")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] to the same shape."""
        if not self.probability or not self.training:
            return x
        stays = 1 - self.probability
        keep = torch.rand(len(x), *(1,) * (x.ndim - 1), device=x.device) < stays
        return x * keep.to(x.dtype) / stays


class LayerScale(nn.Module):
    """A learned factor per channel, `initial` at first (Touvron et al., ICCV 2021)."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same shape."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + MLP(norm(x)).

    Args:
        width: D.
        heads: of the attention.
        mlp_ratio: hidden width of the MLP as a multiple of D.
        bias, fused: as in `Attention`.
        drop_path: probability with which either branch is left out for a sample.
        layer_scale: first factor on both branches; None: no factor.
        dropout: after the activation of the MLP, and of attention weights.
        norm_eps: of LayerNorm.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        bias: Bias = "all",
        fused: bool = True,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        dropout: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads, bias=bias, fused=fused, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, int(width * mlp_ratio), dropout=dropout)
        self.scale1, self.scale2 = (
            nn.Identity() if layer_scale is None else LayerScale(width, layer_scale) for _ in range(2)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, *, padding: Tensor | None = None, rotate: Rotation | None = None) -> Tensor:
        """[B, N, D] to [B, N, D]; `padding` bool [B, N] marks tokens that are no keys."""
        attended = self.attn(self.norm1(x), padding=padding, rotate=rotate)
        x = x + self.drop_path(self.scale1(attended))
        y: Tensor = x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))
        return y


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Probabilities of the blocks, growing linearly from 0 to `last`."""
    return [last * i / max(depth - 1, 1) for i in range(depth)]


def initialise_xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases of linear layers, LayerNorm 1 and 0, as the masked autoencoders start.

    A fused projection of queries, keys and values counts as one matrix, as in the released codes.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
