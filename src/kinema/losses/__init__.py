"""Losses: pure functions of tensors, each with the equation it computes."""

from kinema.losses.contrastive import (
    Contrast,
    PairContrast,
    first_is_best,
    in_batch_info_nce,
    nt_xent,
    queue_info_nce,
    queue_logits,
)
from kinema.losses.playback import masked_reconstruction_loss
from kinema.losses.ranking import margin_ranking
from kinema.losses.reconstruction import masked_error, token_errors
from kinema.losses.statistics import (
    StatisticsLoss,
    fully_connected_penalty,
    statistics_classification_loss,
    statistics_regression_loss,
)

__all__ = [
    "Contrast",
    "PairContrast",
    "StatisticsLoss",
    "first_is_best",
    "fully_connected_penalty",
    "in_batch_info_nce",
    "margin_ranking",
    "masked_error",
    "masked_reconstruction_loss",
    "nt_xent",
    "queue_info_nce",
    "queue_logits",
    "statistics_classification_loss",
    "statistics_regression_loss",
    "token_errors",
]
