import pytest
import torch

from kinema.errors import RecipeError
from kinema.targets.statistics import (
    APPEARANCE_2D_SOURCE,
    APPEARANCE_NAMES,
    MOTION_2D_SOURCE,
    MOTION_NAMES,
    LabelGroups,
    class_counts,
    to_2d,
)

MOTION = torch.tensor([[7, 5, 16, 7, 2, 5, 3, 3, 8, 1, 4, 3, 1, 10]])
APPEARANCE = torch.tensor([[10, 7, 1, 6, 1, 6, 3, 6, 5, 6, 1, 6, 6]])
MOTION_2D = [2, 3, 5, 4, 4, 7, 2, 5, 3, 3, 2, 4, 1, 1, 4, 3, 1, 10]
APPEARANCE_2D = [3, 2, 7, 1, 1, 6, 1, 6, 3, 6, 2, 1, 6, 1, 1, 6, 6]


def test_places_become_rows_and_columns():
    motion, appearance = to_2d(MOTION, APPEARANCE)
    assert motion[0].tolist() == MOTION_2D
    assert appearance[0].tolist() == APPEARANCE_2D
    assert motion.shape[1] + appearance.shape[1] == 35


def test_every_block_and_triangle_has_its_own_place():
    for position, count in ((0, 16), (2, 16), (8, 8), (10, 8)):
        motion = MOTION.repeat(count, 1)
        motion[:, position] = torch.arange(1, count + 1)
        spread = to_2d(motion, APPEARANCE.repeat(count, 1)).motion
        places = spread[:, [i for i, source in enumerate(MOTION_2D_SOURCE) if source == position]]
        assert places.tolist() == [[i // 4 + 1, i % 4 + 1] for i in range(count)]


def test_no_place_stays_no_place():
    motion = MOTION.clone()
    motion[0, [0, 8]] = 0
    spread = to_2d(motion, APPEARANCE).motion[0]
    assert spread.tolist() == [0, 0, *MOTION_2D[2:10], 0, 0, *MOTION_2D[12:]]


def test_a_mask_is_spread_by_the_source_columns():
    valid = torch.tensor([[False, *[True] * 13]])
    assert valid[:, list(MOTION_2D_SOURCE)][0].tolist() == [False, False, *[True] * 16]
    assert (len(MOTION_2D_SOURCE), len(APPEARANCE_2D_SOURCE)) == (18, 17)


def test_class_counts():
    counts = class_counts()
    assert counts.motion == (16, 8, 16, 8, 4, 8, 4, 8, 8, 8, 8, 8, 15, 15)
    assert counts.appearance == (16, 8, 16, 8, 4, 8, 4, 8, 8, 8, 8, 8, 8)
    assert (sum(counts.motion), sum(counts.appearance)) == (134, 112)
    assert class_counts(rgb_frames=64).motion[-2:] == (63, 63)
    rings = LabelGroups(motion=(2,), motion_global=False, appearance=(), appearance_global=True)
    assert class_counts(rings) == ((4, 8, 4, 8), (8,))


@pytest.mark.parametrize(
    ("patterns", "last", "motion", "appearance"),
    [
        ((1,), False, 4, 4),
        ((2,), False, 4, 4),
        ((3,), False, 4, 4),
        ((), True, 2, 1),
        ((1, 2, 3), False, 12, 12),
        ((1, 2, 3), True, 14, 13),
    ],
)
def test_switches_give_the_published_numbers_of_outputs(patterns, last, motion, appearance):
    groups = LabelGroups(motion=patterns, motion_global=last, appearance=patterns, appearance_global=last)
    chosen = groups.select(MOTION, APPEARANCE)
    assert (chosen.motion.shape[1], chosen.appearance.shape[1]) == (motion, appearance)
    counts = class_counts(groups)
    assert (len(counts.motion), len(counts.appearance)) == (motion, appearance)


def test_chosen_labels_are_the_right_ones_in_both_encodings():
    groups = LabelGroups(motion=(3,), motion_global=True, appearance=(2,), appearance_global=False)
    assert [part[0].tolist() for part in groups.select(MOTION, APPEARANCE)] == [[8, 1, 4, 3, 1, 10], [1, 6, 3, 6]]
    chosen = groups.select(*to_2d(MOTION, APPEARANCE), encoding="2d")
    assert [part[0].tolist() for part in chosen] == [[2, 4, 1, 1, 4, 3, 1, 10], [1, 6, 3, 6]]
    only_motion = LabelGroups(appearance=(), appearance_global=False)
    assert only_motion.select(MOTION > 0, APPEARANCE).motion.dtype == torch.bool
    assert only_motion.select(MOTION, APPEARANCE).appearance.shape == (1, 0)


def test_names_follow_the_order_of_the_labels():
    columns = LabelGroups(motion=(2,), motion_global=False, appearance=(3,)).columns()
    assert [MOTION_NAMES[i] for i in columns.motion] == [f"{name}, pattern 2" for name in ("p_u", "o_u", "p_v", "o_v")]
    expected = ["p_l, pattern 3", "c_l, pattern 3", "p_s, pattern 3", "c_s, pattern 3", "C"]
    assert [APPEARANCE_NAMES[i] for i in columns.appearance] == expected


def test_impossible_groups_are_refused():
    with pytest.raises(RecipeError, match="the patterns are 1, 2 and 3"):
        LabelGroups(motion=(1, 4))
    with pytest.raises(RecipeError, match="all label groups are switched off"):
        LabelGroups((), False, (), False)
