"""Joints: their first maps cell by cell, what is read from a map, and the share that is right."""

import numpy as np
import pytest

from kinema.metrics import joint_errors, joint_maps, pck, read_joints

NEXT = np.exp(-1 / (2 * 0.5**2))
"""A map one cell away from its peak."""


def stacked_hourglass(place, size, sigma=0.5):
    """The label of that code: a small picture of a Gaussian pasted at whole cells."""
    picture = np.zeros((size, size))
    corner = [int(place[0] - 3 * sigma), int(place[1] - 3 * sigma)]
    end = [int(place[0] + 3 * sigma + 1), int(place[1] + 3 * sigma + 1)]
    if corner[0] >= size or corner[1] >= size or end[0] < 0 or end[1] < 0:
        return picture
    x = np.arange(0, int(6 * sigma + 1), 1, float)
    middle = len(x) // 2
    bump = np.exp(-((x - middle) ** 2 + (x[:, None] - middle) ** 2) / (2 * sigma**2))
    across, down = (slice(max(0, -corner[k]), min(end[k], size) - corner[k]) for k in (0, 1))
    picture[
        max(0, corner[1]) : min(end[1], size),
        max(0, corner[0]) : min(end[0], size),
    ] = bump[down, across]
    return picture


@pytest.mark.parametrize("place", [(7.0, 9.4), (7.5, 3.49), (0.0, 0.2), (1.4, 1.6), (18.7, 19.9), (-0.9, 5.0)])
def test_a_first_map_is_a_truncated_bump_on_a_whole_cell(place):
    maps = joint_maps(np.array([place]), (20, 20))
    np.testing.assert_allclose(maps[1], stacked_hourglass(place, 20), rtol=1e-6)
    np.testing.assert_array_equal(maps[0], maps[1] == 0)


def test_peak_is_at_the_nearest_cell_and_reaches_two_before_and_one_behind():
    (_, drawn) = joint_maps(np.array([[7.6, 5.4]]), (12, 16))
    assert drawn[5, 8] == 1.0
    rows, columns = drawn.nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 6, 6, 9)
    assert drawn[5, 9] == pytest.approx(NEXT) and drawn[4, 7] == pytest.approx(NEXT**2)


def test_near_the_upper_left_corner_the_bump_lies_a_cell_too_far():
    """Truncation towards zero, as published."""
    (_, drawn) = joint_maps(np.array([[1.0, 8.0]]), (20, 20))
    assert drawn.argmax() == 8 * 20 + 2


def test_joints_outside_and_unknown_ones_have_empty_maps():
    maps = joint_maps(np.array([[40.0, 3.0], [-9.0, 3.0], [np.nan, 3.0]]), (20, 20))
    assert not maps[1:].any() and (maps[0] == 1).all()


def test_a_joint_is_read_from_its_best_cells():
    maps = np.zeros((3, 4, 6))
    maps[0, 2, 5] = 0.3
    maps[1, 1, [1, 3]] = 0.6, 0.2
    np.testing.assert_allclose(read_joints(maps), [[5, 2], [1.5, 1], [-1, -1]])
    many = np.zeros((1, 1, 8))
    many[0, 0] = [0, 1, 1, 1, 1, 1, 1, 4]
    # 4 at place 7, then the first of the equal ones
    np.testing.assert_allclose(read_joints(many, best=3), [[(28 + 1 + 2) / 6, 0]])
    np.testing.assert_allclose(read_joints(many), [[(28 + 1 + 2 + 3 + 4) / 8, 0]])


def person(frames=4):
    rng = np.random.default_rng(0)
    return rng.uniform(20, 200, (frames, 15, 2))


def test_true_joints_are_all_right_and_displaced_ones_from_their_distance_on():
    truth = person()
    assert all(pck(joint_errors(truth, truth), a) == 100.0 for a in (0.1, 0.2, 0.3, 0.4, 0.5))
    size = 0.6 * np.linalg.norm(np.ptp(truth, axis=1), axis=1)
    displaced = truth + np.stack([0.3 * size, 0 * size], -1)[:, None]
    errors = joint_errors(displaced, truth)
    np.testing.assert_allclose(errors, 0.3)
    assert [pck(errors, a) for a in (0.1, 0.2, 0.4, 0.5)] == [0.0, 0.0, 100.0, 100.0]


def test_joints_that_are_not_found_count_nowhere_not_even_in_the_box():
    truth = np.array([[[0.0, 0.0], [30.0, 40.0], [300.0, 400.0]]])
    found = truth.copy()
    found[0, 2] = -1
    found[0, 0] = 15, 0
    errors = joint_errors(found, truth)
    np.testing.assert_allclose(errors, [[15 / (0.6 * 50), 0.0, np.nan]])
    assert pck(errors, 0.2) == 50.0
    above = truth.copy()
    above[0, 2] = 300, -5  # a negative y alone hides nothing
    assert joint_errors(above, truth)[0, 2] == pytest.approx(405 / (0.6 * 500))
    assert np.isnan(pck(joint_errors(np.full_like(truth, -1.0), truth), 0.5))


def test_pck_is_a_mean_over_joints_not_over_places():
    errors = np.array([[0.0, 9.0], [0.0, np.nan], [9.0, np.nan]])
    assert pck(errors, 0.1) == pytest.approx(100 * (2 / 3 + 0) / 2)
    alone = joint_errors(np.array([[[3.0, 4.0], [-1.0, -1.0]]]), np.array([[[3.0, 5.0], [0.0, 0.0]]]))
    assert alone[0, 0] == np.inf and pck(alone, 0.5) == 0.0
