"""Jumping to a keyframe and making sure that one has arrived there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import av.error
import numpy as np

from kinema.video.container import packets_of
from kinema.video.info import IntArray
from kinema.video.timeline import Packet, Timeline

# Containers without an index, in which the times told after a jump may be shifted by some frames.
_LOOSE_CONTAINERS = ("mpeg", "mpegvideo")
_TRIALS = 8
_REACH = 300  # packets within which the keyframe must come after a jump


class NotFound(Exception):
    """The keyframe did not come after a jump."""


class Seeks(NamedTuple):
    """Starting points: int64 [K] show times, and int64 [K] ticks to which to jump for each."""

    keyframes: IntArray
    seek_stamps: IntArray


class Arrival(NamedTuple):
    """A keyframe's packet, the packets of the track after it (the last one is empty), and how many came before."""

    packet: Any
    rest: Iterator[Any]
    passed: int


def jump(container: Any, video: Any, target: int, key: int, *, by_dts: bool) -> Arrival:
    """Jump to `target` and pass over packets until the keyframe's own.

    Args:
        container: opened file.
        video: its video track.
        target: ticks to jump to.
        key: show time of the keyframe's packet, or its decoding time if `by_dts`.
        by_dts: which of the two.

    Raises:
        NotFound: the keyframe does not come.
    """
    try:
        container.seek(target, stream=video)
        packets = packets_of(container, video)
        for passed, packet in enumerate(islice(packets, _REACH)):
            if packet.size and (packet.dts if by_dts else packet.pts) == key:
                return Arrival(packet, packets, passed)
    except av.error.FFmpegError as error:
        raise NotFound from error
    raise NotFound


def find_seeks(container: Any, video: Any, timeline: Timeline) -> Seeks:
    """Find by trial to which ticks one must jump to arrive at keyframes; those that are never reached are left out.

    Formats differ: some keep an index by show time, some by decoding time; MPEG program streams have none, and the
    first packet after a jump is broken, so one must jump well ahead of the keyframe.
    """
    keys = timeline.keys
    count = len(keys) if container.format.name in _LOOSE_CONTAINERS else _TRIALS
    picks = np.unique(np.linspace(1, len(keys) - 1, min(count, len(keys) - 1), dtype=np.int64))
    trials = [keys[i][1] for i in picks]
    best, least = None, math.inf
    for stamps in _ways(video, timeline):
        cost = _cost(container, video, trials, [stamps[i] for i in picks], by_dts=timeline.counted)
        if cost < least:
            best, least = stamps, cost
        if not least:
            break
    kept = keys if best else keys[:1]
    shows = np.array([show for show, _ in kept], np.int64)
    return Seeks(shows, np.array(best or shows, np.int64))


def _ways(video: Any, timeline: Timeline) -> Iterator[list[int]]:
    """Ticks to jump to for each key: its show time, its decoding time, one second before."""
    second = round(1 / video.time_base)
    show = [0 if packet.pts is None else packet.pts for _, packet in timeline.keys]
    decode = [
        stamp if packet.dts is None else packet.dts for stamp, (_, packet) in zip(show, timeline.keys, strict=True)
    ]
    if not timeline.counted:
        yield show
    yield decode
    if not timeline.counted:
        yield [stamp - second for stamp in decode]


def _cost(container: Any, video: Any, trials: list[Packet], stamps: list[int], *, by_dts: bool) -> float:
    """Packets passed over before the trial keyframes; infinite if one of them does not come, or comes changed."""
    passed = 0
    for packet, stamp in zip(trials, stamps, strict=True):
        key = packet.dts if by_dts else packet.pts
        try:
            arrival = jump(container, video, stamp, key or 0, by_dts=by_dts)
        except NotFound:
            return math.inf
        if arrival.packet.size != packet.size:
            return math.inf
        passed += arrival.passed
    return passed
