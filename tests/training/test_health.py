import math

import pytest
import torch

from kinema.errors import DataError
from kinema.training.health import measure_health


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_features_that_fill_the_sphere_are_good_and_have_relative_spread_one():
    health = measure_health(gaussian(4000, 32))
    assert health.level == "good"
    assert health.feature_std == pytest.approx(1.0, abs=0.02)
    assert health.effective_rank == pytest.approx(32, abs=0.2)
    assert health.dimension == 32
    assert health.knn is None
    assert "spread out" in health.verdict


def test_spread_does_not_depend_on_the_length_of_the_vectors():
    features = gaussian(200, 16)
    scaled = features * (1 + torch.arange(200.0)[:, None])
    assert measure_health(scaled).feature_std == pytest.approx(measure_health(features).feature_std, abs=1e-6)


def test_collapse_is_bad_and_names_the_remedy():
    health = measure_health(torch.ones(100, 64) + 1e-3 * gaussian(100, 64))
    assert health.level == "bad"
    assert health.feature_std < 0.02
    assert "have collapsed" in health.verdict
    assert "optimiser.lr" in health.verdict


def test_all_zero_features_are_a_collapse_too():
    assert "have collapsed" in measure_health(torch.zeros(10, 8)).verdict


def test_features_in_a_plane_are_warned_about_as_low_rank():
    health = measure_health(gaussian(300, 2) @ gaussian(2, 128, seed=1))
    assert health.level == "warning"
    assert health.effective_rank <= 2.0 + 1e-6
    assert "few of their dimensions" in health.verdict


def test_features_close_together_but_of_full_rank_are_warned_about():
    health = measure_health(torch.ones(300, 64) + 0.05 * gaussian(300, 64))
    assert health.level == "warning"
    assert "close together" in health.verdict
    assert 0.02 < health.feature_std < 0.08


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_features_are_bad_and_counted(value):
    features = gaussian(50, 8)
    features[3, 2] = features[7, 0] = value
    health = measure_health(features, torch.zeros(50, dtype=torch.int64))
    assert health.level == "bad"
    assert health.verdict.startswith("2 of 50 feature vectors are not finite")
    assert math.isnan(health.feature_std)


def test_knn_leaves_the_sample_itself_out():
    # Pairs of near-equal vectors with opposite labels: only the sample itself would vote for its own class.
    pairs = gaussian(40, 256).repeat_interleave(2, 0) + 1e-3 * gaussian(80, 256, seed=1)
    health = measure_health(pairs, torch.arange(80) % 2)
    assert health.knn == 0.0
    assert "do not tell these classes apart" in health.verdict


def test_knn_of_separate_classes_is_perfect_for_any_label_values():
    labels = torch.tensor([5, 90]).repeat_interleave(30)
    features = gaussian(60, 16) + 20 * torch.nn.functional.one_hot((labels == 90).long(), 16)
    health = measure_health(features, labels)
    assert health.knn == 100.0
    assert "right class for 100.0 % (always the commonest class: 50.0 %)." in health.verdict


def test_gradients_are_left_alone():
    features = gaussian(20, 4).requires_grad_()
    assert measure_health(features).feature_std > 0
    assert features.grad is None


def test_one_sample_cannot_be_judged():
    with pytest.raises(DataError, match="at least two"):
        measure_health(gaussian(1, 4))
