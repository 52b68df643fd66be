"""Losses: pure functions of tensors, each with the equation it computes."""

from kinema.losses.statistics import StatisticsLoss, statistics_classification_loss, statistics_regression_loss

__all__ = ["StatisticsLoss", "statistics_classification_loss", "statistics_regression_loss"]
