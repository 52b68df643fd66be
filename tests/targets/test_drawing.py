from itertools import pairwise

import numpy as np
import pytest
import torch

from kinema.targets.statistics import appearance_labels, drawing, motion_labels

SIDE = drawing._SIDE


def case(frames=6, size=64):
    """A clip that changes in every frame, and flow with all its motion boundaries in the block of row 3, column 2."""
    generator = torch.Generator().manual_seed(0)
    clip = torch.randint(0, 256, (3, frames, size, size), generator=generator).to(torch.uint8)
    flow = torch.zeros(2, frames - 1, size, size)
    block = slice(size // 2 + 3, 3 * size // 4 - 3), slice(size // 4 + 3, size // 2 - 3)
    flow[0, 2, *block] = 3.0
    flow[1, :, *block] = torch.arange(1.0, frames)[:, None, None]
    return clip, flow


def draw(clip, flow, zero="reference"):
    motion = motion_labels(flow[None], zero=zero).labels[0]
    return drawing.draw_labels(clip, flow, motion, appearance_labels(clip[None])[0])


def panel(page, row, column):
    """The pixels of one panel."""
    top = drawing._GAP + drawing._TITLE + row * (drawing._TITLE + SIDE + 6 + 2 * drawing._LINE + drawing._GAP)
    left = drawing._GAP + column * (SIDE + drawing._GAP)
    return page[:, top : top + SIDE, left : left + SIDE]


def where(pictures, colour):
    """Share of the panel's height and width at which a colour begins and ends: top, bottom, left, right."""
    rows, columns = np.nonzero((pictures[0] == colour).all(2))
    return [rows.min() / SIDE, (rows.max() + 1) / SIDE, columns.min() / SIDE, (columns.max() + 1) / SIDE]


def test_one_picture_per_frame_on_which_the_clip_plays():
    page = draw(*case())
    assert page.dtype == np.uint8
    assert page.shape[0] == 6 and page.shape[3] == 3
    for row, column in ((0, 0), (0, 3), (1, 0), (2, 2)):
        played = panel(page, row, column)
        assert all((a != b).any() for a, b in pairwise(played))
    assert (panel(page, 0, 1) == panel(page, 0, 1)[:1]).all()


def test_regions_of_largest_motion_are_outlined():
    page = draw(*case())
    u, v = where(panel(page, 1, 0), drawing._U), where(panel(page, 1, 0), drawing._V)
    assert u == [0.5, 0.75, 0.25, 0.5]
    np.testing.assert_allclose(v, u, atol=0.02)  # nested in the same block
    assert v != u
    top, bottom, left, right = where(panel(page, 1, 2), drawing._U)
    assert top >= 0.5 and bottom > 0.95 and left < 0.05 and right <= 0.5  # a triangle of the lower left quadrant


def test_least_and_most_stable_regions_are_outlined():
    clip, flow = case()
    clip[:] = clip[:, :1]
    clip[:, ::2, :16, :16] = 0
    page = draw(clip, flow)
    assert where(panel(page, 2, 0), drawing._MOST) == [0.0, 0.25, 0.0, 0.25]
    assert where(panel(page, 2, 0), drawing._LEAST) == [0.0, 0.25, 0.25, 0.5]


def test_motion_boundaries_show_where_they_are():
    clip, flow = case()
    shown = panel(draw(clip, flow), 0, 2)[0].max(2)
    assert shown[SIDE // 2 : 3 * SIDE // 4, SIDE // 4 : SIDE // 2].max() > 200
    shown[SIDE // 2 : 3 * SIDE // 4, SIDE // 4 : SIDE // 2] = 0
    assert shown.max() < 30


def test_the_moment_of_largest_motion_stands_out():
    columns = np.nonzero((panel(draw(*case()), 0, 3)[5] == drawing._U).all(2))[1]  # no marker on the last frame
    assert 2 / 5 * SIDE <= columns.min() <= columns.max() < 3 / 5 * SIDE + 1


@pytest.mark.parametrize("zero", ["reference", "ignore"])
def test_a_clip_without_motion_can_be_drawn(zero):
    clip, flow = case()
    page = draw(clip, torch.zeros_like(flow), zero)
    assert not (panel(page, 1, 0) == drawing._U).all(3).any()
    assert not panel(page, 0, 1).any()
