"""Losses of the spatio-temporal statistics labels (STS section 3.5, Eqs. 8 and 9; MAS section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class StatisticsLoss(NamedTuple):
    """Scalars: `loss` = motion_weight * motion + appearance_weight * appearance, and the two unweighted terms."""

    loss: Tensor
    motion: Tensor
    appearance: Tensor


def statistics_regression_loss(
    motion: Tensor,
    appearance: Tensor,
    motion_target: Tensor,
    appearance_target: Tensor,
    *,
    motion_valid: Tensor | None = None,
    motion_weight: float = 1.0,
    appearance_weight: float = 0.1,
) -> StatisticsLoss:
    """Squared error of raw label values (Eq. 8): L = lambda_m * MSE_m + lambda_a * MSE_a.

    MSE is the mean over the batch and all D labels. An ignored label adds no error but still counts in that mean, so
    the loss is a plain mean over clips, and batches split over processes or steps add up exactly.

    Args:
        motion: predictions [B, D_m], D_m = 14 (1D), 18 (2D) or fewer with label groups switched off (0: term is 0).
        appearance: predictions [B, D_a], D_a = 13, 17 or fewer.
        motion_target: labels [B, D_m], any numeric type.
        appearance_target: labels [B, D_a].
        motion_valid: bool [B, D_m], False for labels to ignore; None for none.
        motion_weight: lambda_m, published 1.
        appearance_weight: lambda_a, published 0.1.

    Example:
        >>> import torch
        >>> predicted, target = torch.zeros(1, 14), torch.ones(1, 14)
        >>> statistics_regression_loss(predicted, torch.zeros(1, 13), target, torch.zeros(1, 13)).loss
        tensor(1.)
    """
    motion_term = _mean_square(motion, motion_target, motion_valid)
    appearance_term = _mean_square(appearance, appearance_target, None)
    return StatisticsLoss(
        motion_weight * motion_term + appearance_weight * appearance_term, motion_term, appearance_term
    )


def statistics_classification_loss(
    motion: Sequence[Tensor],
    appearance: Sequence[Tensor],
    motion_labels: Tensor,
    appearance_labels: Tensor,
    *,
    motion_valid: Tensor | None = None,
    motion_weight: float = 1.0,
    appearance_weight: float = 0.1,
) -> StatisticsLoss:
    """One softmax cross-entropy per label, summed (Eq. 9): L = lambda_m * sum_i CE_i + lambda_a * sum_j CE_j.

    The class of a label is label - 1. Label 0 and labels that are not valid are ignored: they add nothing, while each
    CE stays a mean over the whole batch, so batches split over processes or steps add up exactly.

    Args:
        motion: D_m logits, each [B, classes of that label] (one linear output is cut by `torch.split`).
        appearance: D_a logits.
        motion_labels: int64 [B, D_m], 1-based.
        appearance_labels: int64 [B, D_a], 1-based.
        motion_valid: bool [B, D_m], False for labels to ignore.
        motion_weight: lambda_m, published 1.
        appearance_weight: lambda_a, published 0.1.

    Raises:
        ValueError: the number of logits differs from the number of labels.
    """
    if motion_valid is not None:
        motion_labels = torch.where(motion_valid, motion_labels, 0)
    motion_term = _cross_entropies(motion, motion_labels)
    appearance_term = _cross_entropies(appearance, appearance_labels)
    return StatisticsLoss(
        motion_weight * motion_term + appearance_weight * appearance_term, motion_term, appearance_term
    )


def fully_connected_penalty(weights: Sequence[Tensor], decay: float) -> Tensor:
    """Decay that the released MAS adds to its loss: decay * sum ||W||^2 / 2 over fully connected weights.

    Args:
        weights: weight matrices of any shape; convolutions and biases are left out by the caller.
        decay: 0.005 as published.

    Returns:
        A scalar.
    """
    return 0.5 * decay * torch.stack([weight.float().square().sum() for weight in weights]).sum()


def _mean_square(prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    if prediction.shape != target.shape:
        raise ValueError(f"predictions {list(prediction.shape)} and labels {list(target.shape)} differ in shape")
    squared = (prediction.float() - target.float()).square()
    if valid is not None:
        squared = torch.where(valid, squared, 0.0)
    return squared.sum() / max(squared.numel(), 1)


def _cross_entropies(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    total = torch.zeros((), device=labels.device)
    for scores, label in zip(logits, labels.unbind(1), strict=True):
        total = total + functional.cross_entropy(scores.float(), label - 1, ignore_index=-1, reduction="sum")
    return total / len(labels)
