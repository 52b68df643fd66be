"""From the packets of a video track, and where needed its decoded frames, to the true show time of every frame."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from kinema.video.info import IntArray

# MPEG-4 codes "show the last frame again" in a few bytes; such a packet yields no frame.
_EMPTY_PACKET_BYTES = 16


class Packet(NamedTuple):
    """What a packet says of itself.

    Attributes:
        pts, dts: ticks at which to show and to decode it; None where unknown.
        keyframe: decoding can start here.
        shown: its frame is meant to be seen.
        size: bytes.
    """

    pts: int | None
    dts: int | None
    keyframe: bool
    shown: bool
    size: int


class Frame(NamedTuple):
    """What a decoded frame says of itself: ticks (None where unknown) and whether it depends on no other frame."""

    pts: int | None
    dts: int | None
    keyframe: bool


class Timeline(NamedTuple):
    """Show times and starting points.

    Attributes:
        pts: int64 [N], strictly increasing.
        keys: (show time, packet) of each frame at which decoding can start, in order; the first frame is always one.
        counted: the packets' own times are wrong; frames must be found by counting.
    """

    pts: IntArray
    keys: list[tuple[int, Packet]]
    counted: bool


def believable(packets: list[Packet], head: list[Frame], head_packets: int, container: str) -> bool:
    """Whether the packets' show times can be believed.

    Args:
        packets: all of the track.
        head: the frames decoded from the first `head_packets` packets.
        head_packets: how many.
        container: name of the format.
    """
    shown = [packet.pts for packet in packets if packet.shown]
    if None in shown or len(set(shown)) < len(shown):
        return False
    if container == "avi" and any(packet.pts != packet.dts or packet.size < _EMPTY_PACKET_BYTES for packet in packets):
        return False  # AVI stores no show times; with B-frames those that the demuxer makes up are wrong
    expected = sorted(packet.pts for packet in packets[:head_packets] if packet.shown and packet.pts is not None)
    return [frame.pts for frame in head] == expected


def stored_timeline(packets: list[Packet]) -> Timeline:
    """The packets' own show times, all of them known."""
    pts = np.array(sorted(packet.pts for packet in packets if packet.shown and packet.pts is not None), np.int64)
    return Timeline(pts, _keys(pts, packets), counted=False)


def decoded_timeline(packets: list[Packet], frames: list[Frame], interval: int) -> Timeline:
    """The show times of all decoded frames, in order of output; counted where those are missing or run backwards.

    Args:
        packets: all of the track.
        frames: all that decoding yields, at least one.
        interval: ticks between frames that the container claims, for tracks without any times.
    """
    stamps = [frame.pts for frame in frames if frame.pts is not None]
    if len(stamps) < len(frames) or any(a > b for a, b in pairwise(stamps)):
        return _counted_timeline(packets, frames, interval)
    pts = np.unique(np.array(stamps, np.int64))  # of frames at the same moment the first is kept
    return Timeline(pts, _keys(pts, packets), counted=False)


def _keys(pts: IntArray, packets: list[Packet]) -> list[tuple[int, Packet]]:
    shown = set(pts.tolist())
    keys = {p.pts: p for p in packets if p.keyframe and p.pts is not None and p.pts in shown}
    keys.setdefault(int(pts[0]), packets[0])
    return sorted(keys.items())


def _counted_timeline(packets: list[Packet], frames: list[Frame], interval: int) -> Timeline:
    """Show times from decoding times, which follow the order of output; constant rate where those fail too."""
    known = [frame.dts for frame in frames if frame.dts is not None]
    step = max(1, int(np.median(np.diff(known)))) if len(known) > 1 else interval
    # The decoder hands over the last frames after the last packet, hence without a time.
    late = [(known[-1] if known else 0) + step * (i + 1) for i in range(len(frames) - len(known))]
    pts = np.array(known + late, np.int64)
    if frames[0].dts is None or (np.diff(pts) <= 0).any():
        pts = np.arange(len(frames), dtype=np.int64) * interval
    keys = [(int(pts[0]), packets[0])]
    packet_of = {packet.pts: packet for packet in packets}
    if len(packet_of) == len(packets) == len({packet.dts for packet in packets}):
        starts = ((i, packet_of.get(frame.pts)) for i, frame in enumerate(frames) if i and frame.keyframe)
        keys += [(int(pts[i]), packet) for i, packet in starts if packet is not None and packet.keyframe]
    return Timeline(pts, keys, counted=True)
