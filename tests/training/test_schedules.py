"""Learning rates by hand."""

import math
from itertools import pairwise

import pytest

from kinema.training.recipe import ScheduleConfig
from kinema.training.schedules import lr_factor


def factors(config, steps, per_epoch):
    return [lr_factor(config, step, per_epoch, steps) for step in range(steps)]


def test_constant():
    assert factors(ScheduleConfig("constant"), 4, 2) == [1.0] * 4


def test_step_divides_by_ten_every_six_epochs():
    found = factors(ScheduleConfig("step", every=6, gamma=0.1), 250, 10)
    assert found[:60] == [1.0] * 60
    assert found[60:120] == pytest.approx([0.1] * 60)
    assert found[120:180] == pytest.approx([0.01] * 60)
    assert found[240:] == pytest.approx([1e-4] * 10)


def test_step_falls_at_milestones():
    found = factors(ScheduleConfig("step", milestones=(2, 3), gamma=0.5), 16, 10 / 3)
    assert found == pytest.approx([1.0] * 7 + [0.5] * 3 + [0.25] * 6)


def test_step_meets_the_boundary_where_epochs_are_no_whole_number_of_steps():
    """Three epochs of 10/3 steps are exactly ten steps, whatever the rounding of 10/3."""
    found = factors(ScheduleConfig("step", every=3, gamma=0.5), 20, 10 / 3)
    assert found == pytest.approx([1.0] * 10 + [0.5] * 10)


def test_cosine_after_a_warm_up():
    """Two epochs of 5 steps rise by tenths; the 40 steps left follow half a cosine from its first value."""
    found = factors(ScheduleConfig("cosine", warmup=2), 50, 5)
    assert found[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert found[10] == 1.0
    assert found[20] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert found[30] == pytest.approx(0.5)
    assert found[49] == pytest.approx((1 + math.cos(math.pi * 39 / 40)) / 2)
    assert all(later < earlier for earlier, later in pairwise(found[10:]))


def test_cosine_falls_to_its_floor():
    found = factors(ScheduleConfig("cosine", floor=0.2), 1000, 100)
    assert found[0] == 1.0
    assert found[500] == pytest.approx(0.6)
    assert found[-1] == pytest.approx(0.2, abs=1e-5)


def test_step_counts_from_the_start_of_training_warm_up_included():
    found = factors(ScheduleConfig("step", every=2, gamma=0.1, warmup=1), 30, 10)
    assert found[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert found[10:20] == [1.0] * 10
    assert found[20:] == pytest.approx([0.1] * 10)


def test_warm_up_takes_fractions_of_an_epoch():
    assert factors(ScheduleConfig("constant", warmup=0.5), 6, 4) == pytest.approx([0.5, 1, 1, 1, 1, 1])


def test_lengths_may_count_steps():
    """The published staircase of MAS: a tenth every 20,000 of 80,000 steps, whatever an epoch is."""
    config = ScheduleConfig("step", every=20_000, gamma=0.1, unit="steps")
    at = {step: lr_factor(config, step, 317.9, 80_000) for step in (0, 19_999, 20_000, 79_999)}
    assert at == pytest.approx({0: 1.0, 19_999: 1.0, 20_000: 0.1, 79_999: 1e-3})
    assert factors(ScheduleConfig("constant", warmup=2, unit="steps"), 4, 100) == [0.5, 1, 1, 1]
