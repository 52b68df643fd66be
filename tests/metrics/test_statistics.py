from itertools import product

import numpy as np
import pytest

from kinema.metrics import holm, paired_bootstrap, sign_flip_test, wilson_interval


def test_sign_flip_of_hand_cases():
    assert sign_flip_test([1, 1, 1, 1, 1]) == 2 / 32
    assert sign_flip_test([-2, -1, -3]) == 2 / 8
    assert sign_flip_test([0, 0, 0, 0]) == 1.0
    # |sum| = 3 of (3, 1, -1): patterns reaching 3 are +-(3 1 1), +-(3 1 -1), +-(3 -1 1).
    assert sign_flip_test([3, 1, -1]) == 6 / 8
    assert sign_flip_test([1, 1, -1], weights=[3, 1, 1]) == 6 / 8


def test_sign_flip_agrees_with_plain_enumeration():
    values = np.random.default_rng(0).normal(0.3, 1, 9)
    sums = [abs(np.dot(signs, values)) for signs in product((-1, 1), repeat=9)]
    assert sign_flip_test(values) == np.mean([s >= abs(values.sum()) - 1e-12 for s in sums])


def test_sign_flip_of_many_groups_is_drawn_reproducibly_and_near_the_exact_value():
    values = np.random.default_rng(1).normal(0.35, 1, 20)
    exact = sign_flip_test(values)
    drawn = sign_flip_test(np.concatenate([values, [0.0]]), seed=4)
    assert drawn == pytest.approx(exact, abs=0.01)
    assert drawn == sign_flip_test(np.concatenate([values, [0.0]]), seed=4)
    assert sign_flip_test(np.ones(40), draws=999) == 1 / 1000
    assert sign_flip_test(np.zeros(40), draws=999) == 1


def test_bootstrap_estimate_is_the_weighted_mean_and_the_call_is_repeatable():
    differences = [[10.0, 0.0, -4.0], [20.0, 2.0, -6.0]]
    interval = paired_bootstrap(differences, weights=[1, 2, 1])
    assert interval.estimate == pytest.approx((15 + 2 * 1 - 5) / 4)
    assert interval.low < interval.estimate < interval.high
    many = np.random.default_rng(5).normal(size=(2, 30))
    assert paired_bootstrap(many) == paired_bootstrap(many)
    assert paired_bootstrap(many) != paired_bootstrap(many, seed=1)


def test_bootstrap_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(2).normal(5, 3, 400)
    low, high = paired_bootstrap(values)[1:]
    half = 1.96 * values.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_bootstrap_resamples_seeds_as_well_as_groups():
    by_seed = np.repeat([[0.0], [10.0], [20.0]], 30, axis=1)
    low, high = paired_bootstrap(by_seed)[1:]
    # The mean of three draws with replacement from 0, 10, 20: P(all zero) = 1/27 > 2.5 %.
    assert (low, high) == (0.0, 20.0)
    assert paired_bootstrap(by_seed.mean(0))[1:] == (10.0, 10.0)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    intervals = [paired_bootstrap(rng.normal(1, 1, 25), draws=500, seed=i) for i in range(300)]
    assert 0.88 < np.mean([low <= 1 <= high for _, low, high in intervals]) < 0.98


def test_wilson_interval_of_a_known_case():
    # 8 of 10 at 95 %: 0.4902 to 0.9433.
    assert wilson_interval(8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 5).low == 0.0


def test_holm_raises_each_p_by_the_tests_that_are_left_and_keeps_their_order():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; a larger p is never below a smaller one.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []
