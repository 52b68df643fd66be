"""The generative loss of playback-rate perception (PRP, CVPR 2020)."""

from __future__ import annotations

from torch import Tensor


def masked_reconstruction_loss(output: Tensor, target: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """L_gen = mean_i of the mean over channels, known frames and pixels of mask (output - target)^2.

    The mask multiplies and is not divided by: the scale of the loss depends on what moves, as published.

    Args:
        output: [B, C, T, H, W].
        target: the same shape.
        mask: of that shape, or broadcast to it.
        known: [B, T], 1 for frames that count, 0 for others; at least one per clip.
    """
    errors = (mask * (output - target).square()).mean((1, 3, 4))
    return ((errors * known).sum(1) / known.sum(1)).mean()
