"""Ranking losses: one similarity must exceed another by a margin."""

from __future__ import annotations

from torch import Tensor


def margin_ranking(positive: Tensor, negative: Tensor, *, margin: float, temperature: float = 1.0) -> Tensor:
    """Mean of max(0, margin - (p+ - p-) / temperature) over the batch, a scalar.

    RSPNet's paper (Eq. 2) has margin 0.15 on raw similarities; its code has margin 2 at temperature 0.07, which is
    1 / 0.07 times the paper's form with margin 0.14.

    Args:
        positive: p+ [B], similarities that must be larger.
        negative: p- [B].
        margin: by which, on the scale of similarities / temperature.
        temperature: divides the difference.
    """
    return (margin - (positive - negative) / temperature).clamp(min=0).mean()
