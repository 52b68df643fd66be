"""From packets and frames to show times, on hand-made lists."""

import numpy as np
import pytest

from kinema.video.timeline import Frame, Packet, believable, decoded_timeline, stored_timeline


def packets(stamps, *, keys=(0,), hidden=(), dts=None, size=100):
    """Packets in order of storage with these show times."""
    decode = range(len(stamps)) if dts is None else dts
    return [
        Packet(pts, when, i in keys, i not in hidden, size)
        for i, (pts, when) in enumerate(zip(stamps, decode, strict=True))
    ]


def frames(stamps, *, dts=None, keys=(0,)):
    """Decoded frames in order of output."""
    return [
        Frame(pts, when, i in keys)
        for i, (pts, when) in enumerate(zip(stamps, [None] * len(stamps) if dts is None else dts, strict=True))
    ]


STORED = [0, 3, 1, 2, 6, 4, 5]  # I P B B P B B


def test_stored_times_are_sorted_and_hidden_frames_left_out():
    timeline = stored_timeline(packets(STORED, keys=(0, 4), hidden=(2,)))
    assert timeline.pts.tolist() == [0, 2, 3, 4, 5, 6]
    assert [show for show, _ in timeline.keys] == [0, 6]
    assert not timeline.counted


@pytest.mark.parametrize(
    ("stored", "head", "container", "verdict"),
    [
        (packets(STORED), [0, 1, 2, 3], "mov", True),
        (packets(STORED), [0, 1, 3, 2], "mov", False),
        (packets(STORED), [1, 2, 3], "mov", False),
        (packets(STORED, hidden=(2,)), [0, 2, 3], "mov", True),
        (packets(STORED), [0, 1, 2, 3], "avi", False),
        (packets(range(7)), [0, 1, 2, 3], "avi", True),
        (packets(range(7), size=5), [0, 1, 2, 3], "avi", False),
        (packets(range(7), size=5), [0, 1, 2, 3], "mov", True),
        (packets([0, 1, 2, 3, 4, None, 6]), [0, 1, 2, 3], "mov", False),
        (packets([0, 1, 2, 3, 4, 4, 6]), [0, 1, 2, 3], "mov", False),
    ],
)
def test_when_stored_times_are_believed(stored, head, container, verdict):
    assert believable(stored, frames(head), 4, container) == verdict


def test_times_of_output_count_when_they_rise():
    timeline = decoded_timeline(packets([None, 2, 1, 2, 5], keys=(0, 1, 4)), frames([1, 2, 2, 5]), 40)
    assert timeline.pts.tolist() == [1, 2, 5]
    assert [show for show, _ in timeline.keys] == [1, 2, 5]
    assert not timeline.counted


def test_frames_are_counted_when_times_run_backwards():
    """Show times from the order of output: the decoding time at which each frame came out; the last came out late."""
    stored = packets([1, 2, 3, 5, 4, 6], dts=[0, 1, 2, 3, 4, 5], keys=(0, 1, 2, 4))
    output = frames([1, 3, 2, 5, 4, 6], dts=[2, 3, 4, 5, None, None], keys=(0, 4))
    timeline = decoded_timeline(stored, output, 40)
    assert timeline.counted
    assert timeline.pts.tolist() == [2, 3, 4, 5, 6, 7]
    assert [(show, packet.dts) for show, packet in timeline.keys] == [(2, 0), (6, 4)]


@pytest.mark.parametrize("dts", [[0, 2, 1, 3], [0, 1, 1, 2], [None] * 4])
def test_useless_decoding_times_give_way_to_the_rate(dts):
    timeline = decoded_timeline(packets([None] * 4, dts=[None] * 4), frames([None] * 4, dts=dts), 40)
    assert timeline.pts.tolist() == [0, 40, 80, 120]
    assert len(timeline.keys) == 1


def test_a_held_frame_stays_longer():
    """An empty packet in an AVI yields no frame: the one before it is on show for two intervals."""
    output = frames([1, 3, 2, 5], dts=[1, 2, 4, 5])
    assert decoded_timeline(packets([1, 2, 3, 4, 5]), output, 40).pts.tolist() == [1, 2, 4, 5]


def test_repeated_times_of_packets_leave_only_the_start_to_count_from():
    stored = packets([1, 3, 2, 3], keys=(0, 3))
    timeline = decoded_timeline(stored, frames([1, 3, 2, 3], dts=[1, 2, 3, None], keys=(0, 3)), 40)
    assert timeline.counted
    assert len(timeline.keys) == 1


def test_the_first_frame_is_always_a_start():
    assert [show for show, _ in stored_timeline(packets([7, 8, 9], keys=(2,))).keys] == [7, 9]
    assert stored_timeline(packets([7, 8, 9], keys=())).pts.dtype == np.int64
