"""Losses: pure functions of tensors, each with the equation it computes."""

from kinema.losses.statistics import (
    StatisticsLoss,
    fully_connected_penalty,
    statistics_classification_loss,
    statistics_regression_loss,
)

__all__ = ["StatisticsLoss", "fully_connected_penalty", "statistics_classification_loss", "statistics_regression_loss"]
