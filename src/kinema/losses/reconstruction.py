"""Losses of masked autoencoders, over the hidden tokens only."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import cosine_similarity, l1_loss, mse_loss, smooth_l1_loss

Distance = Literal["mse", "l1", "smooth_l1", "cosine"]
_DISTANCES = {"mse": mse_loss, "l1": l1_loss, "smooth_l1": smooth_l1_loss}


def token_errors(predicted: Tensor, target: Tensor, distance: Distance = "mse") -> Tensor:
    """Error of every token, [..., P] to [...]: the mean over its P values, or 1 - cosine (eps 1e-6).

    "mse" squares differences, "l1" takes their size, "smooth_l1" half the square below 1 and the size less 1/2 above.
    """
    if distance == "cosine":
        return 1 - cosine_similarity(predicted.float(), target.float(), dim=-1, eps=1e-6)
    return _DISTANCES[distance](predicted.float(), target.float(), reduction="none").mean(-1)


def masked_error(predicted: Tensor, target: Tensor, mask: Tensor | None = None, distance: Distance = "mse") -> Tensor:
    """sum(m e) / sum(m): the mean error of the tokens that count, a scalar in single precision.

    Args:
        predicted: [B, M, P].
        target: [B, M, P].
        mask: [B, M], non-zero where a token counts; None: all M do, as where only hidden tokens are predicted.
        distance: see `token_errors`.
    """
    if mask is None and distance != "cosine":
        # Tokens are equally long: one pass instead of a mean of means.
        return _DISTANCES[distance](predicted.float(), target.float())
    errors = token_errors(predicted, target, distance)
    if mask is None:
        return errors.mean()
    weights = mask.to(errors.dtype)
    return (errors * weights).sum() / weights.sum().clamp(min=1)
