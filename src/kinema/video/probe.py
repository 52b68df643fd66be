"""Reading a video's true frame times: every packet is demuxed once, the first and the last stretch are decoded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av.error
import numpy as np

from kinema.errors import VideoError
from kinema.video.container import open_video, words
from kinema.video.info import IntArray, VideoInfo

__all__ = ["VideoInfo", "content_hash", "probe"]

_HEAD_PACKETS = 16
# The last group of pictures is decoded as a check unless it is longer than this.
_TAIL_PACKETS = 300
# MPEG-4 codes "show the last frame again" in a few bytes; such a packet yields no frame.
_EMPTY_PACKET_BYTES = 16


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    keyframe: bool
    shown: bool
    size: int


class _Frame(NamedTuple):
    pts: int | None
    dts: int | None
    keyframe: bool


class _Look(NamedTuple):
    """How frames look: stored and shown."""

    width: int
    height: int
    pixel_format: str
    rotation: int
    mirrored: bool


class _Timeline(NamedTuple):
    pts: IntArray
    keyframes: IntArray
    seek_stamps: IntArray


def probe(path: str | Path) -> VideoInfo:
    """Read true frame times, keyframes, sizes, rotation and tracks of the video track that players show.

    All packets are read once; frames that are stored but never shown (edit lists) are left out. The first frames and
    the last group of pictures are decoded. Where show times are missing or contradict what decoding yields, the whole
    track is decoded once to find them.

    Raises:
        VideoError: the file cannot be read; the reason says why in words for a person.
    """
    path = Path(path)
    with open_video(path) as (container, video):
        packets, head, look = _survey(path, container, video)
        trusted = _head_holds(packets, head, container.format.name) and _tail_holds(path, container, video, packets)
        stream = int(video.index)
        facts = {
            "codec": video.codec_context.name,
            "stream": stream,
            "time_base": Fraction(video.time_base),
            "audio_tracks": len(container.streams.audio),
            "bytes": path.stat().st_size,
        }
    timeline = _stored_timeline(packets) if trusted else _decoded_timeline(path, stream)
    return VideoInfo(path=path, **facts, **look._asdict(), **timeline._asdict())


def content_hash(path: str | Path) -> str:
    """128-bit BLAKE2b of the file's bytes, as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise VideoError(path, f"cannot be read: {words(error)}") from error
    return digest.hexdigest()


def _survey(path: Path, container: Any, video: Any) -> tuple[list[_Packet], list[_Frame], _Look]:
    """Demux every packet; decode the first few."""
    packets: list[_Packet] = []
    head: list[Any] = []
    for packet in _demux(path, container, video, packets):
        if len(packets) <= _HEAD_PACKETS:
            head += _decode(path, video, packet, len(head))
    if not packets:
        promised = f" (its header promises {video.frames})" if video.frames else ""
        raise VideoError(path, f"damaged: the video track holds no frames{promised}")
    head += _decode(path, video, None, len(head))
    if not head:
        raise VideoError(path, f"damaged: the first {min(len(packets), _HEAD_PACKETS)} packets yield no frame")
    return packets, [_as_frame(frame) for frame in head], _look(head[0])


def _demux(path: Path, container: Any, video: Any, packets: list[_Packet]) -> Iterator[Any]:
    """Yield the packets of one track and note their facts in `packets`; the empty packet at the end is left out."""
    try:
        for packet in container.demux(video):
            if packet.size:
                shown = not packet.is_discard and _vp8_shown(video, packet)
                packets.append(_Packet(packet.pts, packet.dts, packet.is_keyframe, shown, packet.size))
                yield packet
    except av.error.FFmpegError as error:
        raise VideoError(path, f"damaged: reading stops after {len(packets)} packets ({words(error)})") from error


def _vp8_shown(video: Any, packet: Any) -> bool:
    """False for VP8's hidden reference frames: bit 4 of the first byte tells (RFC 6386, section 9.1)."""
    return video.codec_context.name not in ("vp8", "libvpx") or bool(memoryview(packet)[0] & 0x10)


def _decode(path: Path, video: Any, packet: Any, done: int) -> list[Any]:
    try:
        return list(video.codec_context.decode(packet))
    except av.error.FFmpegError as error:
        raise VideoError(path, f"damaged: decoding stops after {done} frames ({words(error)})") from error


def _as_frame(frame: Any) -> _Frame:
    return _Frame(frame.pts, frame.dts, bool(frame.key_frame))


def _look(frame: Any) -> _Look:
    rotation, mirrored = _orientation(frame)
    width, height = (frame.height, frame.width) if rotation in (90, 270) else (frame.width, frame.height)
    return _Look(width, height, frame.format.name, rotation, mirrored)


def _orientation(frame: Any) -> tuple[int, bool]:
    """Degrees clockwise (after a left-right flip, if mirrored) that show a frame upright, from its display matrix.

    The matrix maps stored (x, y) to shown (a x + c y, b x + d y); y points down.
    """
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(side_data, np.int32)[:5].astype(np.float64)
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(math.degrees(math.atan2(b, a)) / 90) * 90 % 360, bool(mirrored)


def _head_holds(packets: list[_Packet], head: list[_Frame], container: str) -> bool:
    """Whether the packets' show times can be believed, judged by the packets and the first decoded frames."""
    shown = [packet.pts for packet in packets if packet.shown]
    if None in shown or len(set(shown)) < len(shown):
        return False
    if container == "avi" and any(packet.pts != packet.dts or packet.size < _EMPTY_PACKET_BYTES for packet in packets):
        return False  # AVI stores no show times; with B-frames those that the demuxer makes up are wrong
    expected = sorted(packet.pts for packet in packets[:_HEAD_PACKETS] if packet.shown)  # type: ignore[type-var]
    return [frame.pts for frame in head] == expected


def _tail_holds(path: Path, container: Any, video: Any, packets: list[_Packet]) -> bool:
    """Whether decoding from the last keyframe to the end yields exactly the packets' show times."""
    last = max((i for i, packet in enumerate(packets) if packet.keyframe), default=0)
    start = packets[last].pts
    if start is None or len(packets) - last > _TAIL_PACKETS:
        return True
    expected = sorted(packet.pts for packet in packets[last:] if packet.shown and (packet.pts or 0) >= start)  # type: ignore[type-var]
    try:
        container.seek(start, stream=video)
    except av.error.FFmpegError:
        return False
    stamps: list[int | None] = []
    for packet in container.demux(video):
        frames = _decode(path, video, packet if packet.size else None, len(packets) - len(expected) + len(stamps))
        stamps += [frame.pts for frame in frames if frame.pts is None or frame.pts >= start]
    return stamps == expected


def _stored_timeline(packets: Iterable[_Packet]) -> _Timeline:
    shown = [packet for packet in packets if packet.shown]
    pts = np.array(sorted(packet.pts for packet in shown), np.int64)  # type: ignore[type-var]
    keys = np.array([packet.pts for packet in shown if packet.keyframe], np.int64)
    return _Timeline(pts, np.union1d(pts[:1], keys), np.empty(0, np.int64))


def _decoded_timeline(path: Path, stream: int) -> _Timeline:
    """Decode the whole track for the show times; where those contradict the order of frames, count frames instead."""
    packets: list[_Packet] = []
    frames: list[_Frame] = []
    with open_video(path, stream) as (container, video):
        for packet in _demux(path, container, video, packets):
            frames += map(_as_frame, _decode(path, video, packet, len(frames)))
        frames += map(_as_frame, _decode(path, video, None, len(frames)))
        interval = _nominal_interval(video)
    if not frames:
        raise VideoError(path, "damaged: no frame of the video track can be decoded")
    stamps = [frame.pts for frame in frames]
    if None not in stamps and all(a <= b for a, b in pairwise(stamps)):  # type: ignore[operator]
        pts = np.unique(np.array(stamps, np.int64))  # of frames at the same moment the first is kept
        keys = np.array([packet.pts for packet in packets if packet.keyframe and packet.pts is not None], np.int64)
        return _Timeline(pts, np.union1d(pts[:1], np.intersect1d(keys, pts)), np.empty(0, np.int64))
    return _counted_timeline(packets, frames, interval)


def _counted_timeline(packets: list[_Packet], frames: list[_Frame], interval: int) -> _Timeline:
    """Show times from decoding times, which follow the order of output; constant rate where those fail too."""
    known = [frame.dts for frame in frames if frame.dts is not None]
    step = max(1, int(np.median(np.diff(known)))) if len(known) > 1 else interval
    # The decoder hands over the last frames after the last packet, hence without a time.
    late = [(known[-1] if known else 0) + step * (i + 1) for i in range(len(frames) - len(known))]
    pts = np.array(known + late, np.int64)
    if frames[0].dts is None or (np.diff(pts) <= 0).any():
        pts = np.arange(len(frames), dtype=np.int64) * interval
    stamps = {packet.pts: packet.dts for packet in packets if packet.keyframe and packet.pts is not None}
    anchors = {0: packets[0].dts or 0}
    for i, frame in enumerate(frames):
        stamp = None if frame.pts is None else stamps.get(frame.pts)
        if i and frame.keyframe and stamp is not None:
            anchors[i] = stamp
    return _Timeline(pts, pts[list(anchors)], np.array(list(anchors.values()), np.int64))


def _nominal_interval(video: Any) -> int:
    rate = video.guessed_rate or video.average_rate or Fraction(25)
    return max(1, round(1 / (Fraction(rate) * Fraction(video.time_base))))
