"""Reading a video's true frame times: every packet is demuxed once, the first and the last stretch are decoded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av.error
import numpy as np

from kinema.errors import VideoError
from kinema.video.archives import find_member
from kinema.video.container import open_video, packets_of, read_blocks, stored_bytes, words
from kinema.video.images import IMAGE_SUFFIXES, image_blocks, probe_image, probe_images
from kinema.video.info import VideoInfo
from kinema.video.seeking import Seeks, find_seeks
from kinema.video.timeline import Frame, Packet, Timeline, believable, decoded_timeline, stored_timeline

__all__ = ["VideoInfo", "content_hash", "probe"]

_HEAD_PACKETS = 16
# The last group of pictures is decoded as a check unless it is longer than this.
_TAIL_PACKETS = 300


class _Look(NamedTuple):
    """How frames look: stored and shown."""

    width: int
    height: int
    pixel_format: str
    rotation: int
    mirrored: bool


def probe(path: str | Path, *, fps: float | None = None) -> VideoInfo:
    """Read true frame times, keyframes, sizes, rotation and tracks of the video track that players show.

    A path is a file, a file inside an archive (`shard.tar/clip.mp4`), an image, which is a video of one frame, or a
    folder of numbered images, whose frames follow at `fps` (None: 25; ignored for the others).

    All packets are read once; frames that are stored but never shown (edit lists) are left out. The first frames and
    the last group of pictures are decoded. Where show times are missing or contradict what decoding yields, the whole
    track is decoded once to find them.

    Raises:
        VideoError: the file cannot be read; the reason says why in words for a person.
    """
    path = Path(path)
    if path.is_dir():
        return probe_images(path, fps)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return probe_image(path)
    member = find_member(path)
    with open_video(path, pictures=False) as (container, video):
        packets, head, look = _survey(path, container, video)
        plan = None
        if believable(packets, head, _HEAD_PACKETS, container.format.name) and _tail_holds(
            path, container, video, packets
        ):
            timeline = stored_timeline(packets)
            plan = timeline, find_seeks(container, video, timeline)
        facts = {
            "codec": video.codec_context.name,
            "stream": int(video.index),
            "time_base": Fraction(video.time_base),
            "audio_tracks": len(container.streams.audio),
            "bytes": stored_bytes(path),
            "offset": member and member.offset,
        }
    timeline, seeks = plan or _decode_all(path, facts["stream"])
    facts |= {**seeks._asdict(), **look._asdict()}
    return VideoInfo(path=path, pts=timeline.pts, counted=timeline.counted, stored=plan is not None, **facts)


def content_hash(path: str | Path) -> str:
    """128-bit BLAKE2b of the bytes of a file or of a folder's images, as 32 hexadecimal digits."""
    path, digest = Path(path), hashlib.blake2b(digest_size=16)
    try:
        for block in image_blocks(path) if path.is_dir() else read_blocks(path):
            digest.update(block)
    except OSError as error:
        raise VideoError(path, f"cannot be read: {words(error)}") from error
    return digest.hexdigest()


def _survey(path: Path, container: Any, video: Any) -> tuple[list[Packet], list[Frame], _Look]:
    """Demux every packet; decode the first few."""
    packets: list[Packet] = []
    head: list[Any] = []
    for packet in _demux(path, container, video, packets):
        if packet.has_sidedata("encryption_info"):
            raise VideoError(path, "encrypted: its video track can only be read with a key")
        if len(packets) <= _HEAD_PACKETS:
            head += _decode(path, video, packet, len(head))
    if not packets:
        promised = f" (its header promises {video.frames})" if video.frames else ""
        raise VideoError(path, f"damaged: the video track holds no frames{promised}")
    head += _decode(path, video, None, len(head))
    if not head:
        raise VideoError(path, f"damaged: the first {min(len(packets), _HEAD_PACKETS)} packets yield no frame")
    return packets, [_as_frame(frame) for frame in head], _look(head[0])


def _demux(path: Path, container: Any, video: Any, packets: list[Packet]) -> Iterator[Any]:
    """Yield the packets of one track and note their facts in `packets`; the empty packet at the end is left out."""
    try:
        for packet in filter(lambda packet: packet.size, packets_of(container, video)):
            shown = not packet.is_discard and _vp8_shown(video, packet)
            packets.append(Packet(packet.pts, packet.dts, packet.is_keyframe, shown, packet.size))
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


def _as_frame(frame: Any) -> Frame:
    return Frame(frame.pts, frame.dts, bool(frame.key_frame))


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


def _tail_holds(path: Path, container: Any, video: Any, packets: list[Packet]) -> bool:
    """Whether decoding from the last keyframe to the end yields exactly the packets' show times."""
    last = max((i for i, packet in enumerate(packets) if packet.keyframe), default=0)
    start, tail = packets[last].pts, packets[last:]
    if start is None or len(tail) > _TAIL_PACKETS:
        return True
    expected = sorted(packet.pts for packet in tail if packet.shown and packet.pts is not None and packet.pts >= start)
    stamps: list[int | None] = []
    try:
        container.seek(start, stream=video)
        for packet in packets_of(container, video):
            done = len(packets) - len(expected) + len(stamps)
            frames = _decode(path, video, packet if packet.size else None, done)
            stamps += [frame.pts for frame in frames if frame.pts is None or frame.pts >= start]
    except av.error.FFmpegError:
        return False
    return stamps == expected


def _decode_all(path: Path, stream: int) -> tuple[Timeline, Seeks]:
    """Decode the whole track for the show times."""
    packets: list[Packet] = []
    frames: list[Frame] = []
    with open_video(path, stream, pictures=False) as (container, video):
        for packet in _demux(path, container, video, packets):
            frames += map(_as_frame, _decode(path, video, packet, len(frames)))
        frames += map(_as_frame, _decode(path, video, None, len(frames)))
        if not frames:
            raise VideoError(path, "damaged: no frame of the video track can be decoded")
        timeline = decoded_timeline(packets, frames, _nominal_interval(video))
        return timeline, find_seeks(container, video, timeline)


def _nominal_interval(video: Any) -> int:
    rate = video.guessed_rate or video.average_rate or Fraction(25)
    return max(1, round(1 / (Fraction(rate) * Fraction(video.time_base))))
