"""Arithmetic of clips, tuples, slow motion and blocks, and windows that are too short."""

import numpy as np
import pytest

from kinema.data.index import by_duration, per_row
from kinema.data.sampling import (
    block_positions,
    clip_positions,
    clip_span,
    draw_start,
    long_enough,
    slow_motion_positions,
    spread_positions,
    tuple_positions,
    tuple_span,
)
from kinema.errors import DataError


def test_clips_and_tuples():
    assert clip_positions(3, 4, 2).tolist() == [3, 5, 7, 9] and clip_span(4, 2) == 7
    found = tuple_positions(1, 3, 4, stride=2, interval=3)
    assert found.tolist() == [[1, 3, 5, 7], [11, 13, 15, 17], [21, 23, 25, 27]]
    assert found.max() - found.min() + 1 == tuple_span(3, 4, stride=2, interval=3) == 27


def test_starts_are_uniform_over_all_that_fit():
    rng = np.random.default_rng(0)
    starts = [draw_start(rng, 10, 7) for _ in range(400)]
    assert all(60 < starts.count(start) < 140 for start in range(4)) and len(set(starts)) == 4
    assert draw_start(rng, 5, 7) == 0 and draw_start(rng, 7, 7) == 0


def test_spread_clips_reach_both_ends_and_stay_inside():
    assert spread_positions(20, 3, 4).tolist() == [[0, 1, 2, 3], [8, 9, 10, 11], [16, 17, 18, 19]]
    assert spread_positions(3, 2, 4).tolist() == [[0, 1, 2, 2]] * 2
    assert spread_positions(9, 2, 3, stride=2).tolist() == [[0, 2, 4], [4, 6, 8]]


@pytest.mark.parametrize("dilation", [1, 2, 4, 8])
def test_slow_motion_holds_the_clip(dilation):
    found = slow_motion_positions(2, 16, dilation)
    assert found[::2].tolist() == clip_positions(2, 16, dilation).tolist()
    assert (found[1::2] - found[::2]).tolist() == [dilation // 2] * 16


def test_blocks_follow_each_other():
    assert block_positions(1, 16, 2, (0, 5, 10, 15)).tolist() == [[1, 6, 11, 16], [17, 22, 27, 32]]


def test_windows_that_are_too_short_are_left_out_and_counted(tiny_videos):
    index = by_duration(tiny_videos, frames=15)
    assert [len(index.frames(i)) for i in range(2)] == [15, 25]
    kept = long_enough(index, 20)
    assert kept.rows.tolist() == list(range(6)) and kept.short == 6
    assert [len(kept.frames(i)) for i in range(6)] == [25] * 6
    assert long_enough(kept, 25).short == 6 and kept.take([0, 2]).short == 6
    assert long_enough(per_row(tiny_videos), 20, rate=5.0).short == 0
    with pytest.raises(DataError, match=r"no video has the 21 frames .* longest has 20"):
        long_enough(per_row(tiny_videos), 21, rate=5.0)
