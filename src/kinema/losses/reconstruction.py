"""Losses of masked autoencoders, over the hidden tokens only."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import cosine_similarity

Distance = Literal["mse", "cosine"]


def token_errors(predicted: Tensor, target: Tensor, distance: Distance = "mse") -> Tensor:
    """Error of every token, [..., P] to [...]: the mean square over its P values, or 1 - cosine (eps 1e-6)."""
    if distance == "cosine":
        return 1 - cosine_similarity(predicted.float(), target.float(), dim=-1, eps=1e-6)
    return (predicted.float() - target.float()).square().mean(-1)


def masked_error(predicted: Tensor, target: Tensor, mask: Tensor | None = None, distance: Distance = "mse") -> Tensor:
    """sum(m e) / sum(m): the mean error of the tokens that count, a scalar in single precision.

    Args:
        predicted: [B, M, P].
        target: [B, M, P].
        mask: [B, M], non-zero where a token counts; None: all M do, as where only hidden tokens are predicted.
        distance: see `token_errors`.
    """
    errors = token_errors(predicted, target, distance)
    if mask is None:
        return errors.mean()
    weights = mask.to(errors.dtype)
    return (errors * weights).sum() / weights.sum().clamp(min=1)
