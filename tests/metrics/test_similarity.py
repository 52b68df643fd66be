"""The twelve (dis)similarities of a pair, against sums written out by hand."""

import math

import numpy as np
import pytest

from kinema.errors import DataError
from kinema.metrics import pair_features, pair_measures


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def by_hand(x, y, order):
    def norm(v):
        size = sum(abs(a) ** order for a in v) ** (1 / order)
        return [a / size for a in v]

    pairs = list(zip(x, y, strict=True))
    scaled = list(zip(norm(x), norm(y), strict=True))
    length = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    return [
        sum(a * b for a, b in pairs),
        math.sqrt(sum(a * b for a, b in pairs)),
        math.sqrt(sum(math.sqrt(a) * math.sqrt(b) for a, b in pairs)),
        math.sqrt(sum(a * b / (a + b) for a, b in pairs)),
        sum(a * b for a, b in pairs) / length,
        math.sqrt(sum((a - b) ** 2 / (a + b) for a, b in pairs)),
        sum(abs(a - b) for a, b in pairs),
        math.sqrt(sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in pairs)),
        math.sqrt(sum((a - b) ** 2 for a, b in scaled)),
        (sum(a * math.log(a / b) for a, b in scaled) + sum(b * math.log(b / a) for a, b in scaled)) / 2,
        sum(math.sqrt(max(a, b) / (a + b)) for a, b in scaled),
        sum(min(a, b) for a, b in scaled) / (sum(a for a, _ in scaled) * sum(b for _, b in scaled)),
    ]


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("l1", 1)])
def test_measures_equal_sums_by_hand(rng, norm, order):
    x, y = rng.uniform(0.1, 2, (2, 9))
    np.testing.assert_allclose(pair_measures(x, y, normalise=norm), by_hand(x, y, order), rtol=1e-8)


def test_three_taps_give_36_numbers_per_pair_symmetric_under_swapping(rng):
    taps = [tuple(rng.random((2, 5, dimension))) for dimension in (8, 16, 32)]
    features = pair_features(taps)
    assert features.shape == (5, 36)
    np.testing.assert_allclose(features, pair_features([(y, x) for x, y in taps]), rtol=1e-12)


def test_zeros_are_guarded_and_equal_videos_are_at_distance_zero():
    x = np.array([0.0, 1.0, 3.0])
    found = pair_measures(x, x)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[[5, 6, 7, 8, 9]], 0, atol=1e-6)
    assert found[4] == pytest.approx(1)


def test_negative_features_are_refused():
    with pytest.raises(DataError, match="ReLU"):
        pair_measures(np.array([-1.0]), np.array([1.0]))
