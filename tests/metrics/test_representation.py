import numpy as np
import pytest
import torch

from kinema.metrics import effective_rank, feature_std


def test_isotropic_features_fill_their_space():
    features = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert feature_std(features) == pytest.approx(1 / 4, rel=0.02)
    assert effective_rank(features) == pytest.approx(16, rel=0.01)


def test_collapsed_features_are_seen_by_both():
    direction = np.array([[3.0, 4.0, 0.0]])
    constant = np.repeat(direction, 50, 0) * np.linspace(1, 9, 50)[:, None]
    assert feature_std(constant) == pytest.approx(0, abs=1e-6)
    assert effective_rank(constant) == pytest.approx(1, abs=1e-4)
    assert effective_rank(np.zeros((4, 3))) == 0.0


def test_effective_rank_of_known_singular_values():
    share = np.array([0.5, 0.25, 0.25])
    assert effective_rank(np.diag(share * 8)) == pytest.approx(2**1.5)
    assert effective_rank(np.diag(share * 1e-3)) == pytest.approx(2**1.5)


def test_feature_std_of_a_hand_case_ignores_length():
    assert feature_std(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(0.5)
    assert feature_std(np.array([[9.0, 0.0], [0.0, 0.1]])) == pytest.approx(0.5)
