"""What is known of one video file: sizes, true frame times, and where decoding may start."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.video.archives import Member, archive_of

IntArray = npt.NDArray[np.int64]

# A single frame has no interval of its own; it is taken to stay for 1/25 s.
_LONE_FRAME_SECONDS = Fraction(1, 25)


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """One video file as its packets and decoder tell it, not as its header claims.

    Attributes:
        path: the file.
        codec: decoder name, for example "h264".
        pixel_format: as stored, for example "yuv420p".
        width, height: of a frame as shown, after rotation; pixels are taken as square.
        rotation: 0, 90, 180 or 270 degrees clockwise that bring a stored frame upright.
        mirrored: stored frames are flipped left-right, before the rotation, to be shown.
        stream: index of the video track within the container.
        time_base: seconds per tick of `pts`.
        pts: int64 [N], strictly increasing, one show time per frame that decoding yields.
        keyframes: int64 [K], the show times at which decoding can start; the first frame is always among them.
        audio_tracks: number of sound tracks.
        bytes: size of the file.
        seek_stamps: int64 [K], ticks to which to jump for each keyframe.
        counted: the file's own show times are wrong or absent (AVI with B-frames, raw streams), so that frames are
            found by counting from a keyframe; `pts` is then made of decoding times, or of the frame rate.
        offset: byte of the archive at which the file begins; None for a file of its own.
        stored: `pts` are the packets' own times, and every packet shown is the one frame that bears its time.
    """

    path: Path
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    mirrored: bool
    stream: int
    time_base: Fraction
    pts: IntArray
    keyframes: IntArray
    seek_stamps: IntArray
    counted: bool
    audio_tracks: int
    bytes: int
    offset: int | None = None
    stored: bool = False

    @property
    def file(self) -> Path:
        """The file that holds the video: `path`, or the archive that it lies in."""
        archive = None if self.offset is None else archive_of(self.path)
        return self.path if archive is None else archive

    @property
    def address(self) -> str:
        """What FFmpeg opens: the file, or a stretch of the archive that holds it."""
        if self.offset is None or self.file == self.path:
            return str(self.path.absolute())
        return Member(self.file, self.offset, self.bytes).address

    @property
    def frames(self) -> int:
        """Number of frames that decoding yields."""
        return len(self.pts)

    @cached_property
    def key_indices(self) -> IntArray:
        """int64 [K], index of the frame at each of `keyframes`."""
        return np.searchsorted(self.pts, self.keyframes).astype(np.int64)

    @cached_property
    def interval(self) -> float:
        """Seconds between consecutive frames: the median, refined by the mean of the intervals within a tick of it.

        Containers that count milliseconds store 30 fps as 33, 33, 34 …: the bare median would say 30.3 fps.
        """
        if self.frames < 2:
            return float(_LONE_FRAME_SECONDS)
        steps = np.diff(self.pts)
        median = float(np.median(steps))
        close = np.abs(steps - median) <= min(1.0, median / 4)
        ticks = float(steps[close].mean()) if close.any() else median
        return ticks * float(self.time_base)

    @property
    def fps(self) -> float:
        """Frames per second of the regular stretches: 1 / `interval`."""
        return 1.0 / self.interval

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last one, which stays for `interval`."""
        return float(self.times[-1]) + self.interval

    @cached_property
    def times(self) -> npt.NDArray[np.float64]:
        """float64 [N], seconds of each frame after the first one."""
        ticks = (self.pts - self.pts[0]).astype(np.float64)
        seconds: npt.NDArray[np.float64] = ticks * self.time_base.numerator / self.time_base.denominator
        return seconds

    def frame_at(self, seconds: npt.ArrayLike) -> IntArray:
        """Index of the frame on show at each moment, same shape as `seconds` (after the first frame).

        Before the first frame the first is taken, after the last the last. Show times are stored rounded to a tick, so
        a frame counts as on show up to half a tick (at most 1/20 interval) early; k / fps then always finds frame k.
        """
        moments = np.asarray(seconds, np.float64)
        early = min(float(self.time_base) / 2, self.interval / 20) + 1e-9
        found = np.searchsorted(self.times, moments + early, side="right") - 1
        return np.clip(found, 0, self.frames - 1).astype(np.int64)

    def to_columns(self) -> dict[str, Any]:
        """The manifest columns of this video; `frame_index` is a compact binary (an hour at constant rate: 1 kB)."""
        return {
            "frames": self.frames,
            "fps": self.fps,
            "duration": self.duration,
            "width": self.width,
            "height": self.height,
            "codec": self.codec,
            "rotation": self.rotation,
            "mirrored": self.mirrored,
            "audio_tracks": self.audio_tracks,
            "bytes": self.bytes,
            "frame_index": _pack(self),
        }

    @classmethod
    def from_columns(cls, path: str | Path, columns: Mapping[str, Any]) -> VideoInfo:
        """Inverse of `to_columns`.

        Raises:
            KeyError: a column is missing. ValueError: `frame_index` is not what `to_columns` writes.
        """
        header, (pts, keyframes, seek_stamps) = _unpack(columns["frame_index"])
        return cls(
            path=Path(path),
            codec=str(columns["codec"]),
            pixel_format=str(header["pixel_format"]),
            width=int(columns["width"]),
            height=int(columns["height"]),
            rotation=int(columns["rotation"]),
            mirrored=bool(columns["mirrored"]),
            stream=int(header["stream"]),
            time_base=Fraction(str(header["time_base"])),
            pts=pts,
            keyframes=keyframes,
            seek_stamps=seek_stamps,
            counted=bool(header["counted"]),
            audio_tracks=int(columns["audio_tracks"]),
            bytes=int(columns["bytes"]),
            offset=header.get("offset"),
            stored=bool(header.get("stored")),
        )


def _pack(info: VideoInfo) -> bytes:
    arrays = (info.pts, info.keyframes, info.seek_stamps)
    header = {
        "stream": info.stream,
        "time_base": str(info.time_base),
        "pixel_format": info.pixel_format,
        "counted": info.counted,
        "offset": info.offset,
        "stored": info.stored,
        "lengths": [len(array) for array in arrays],
    }
    deltas = b"".join(np.diff(array, prepend=np.int64(0)).astype("<i8").tobytes() for array in arrays)
    return zlib.compress(json.dumps(header).encode() + b"\n" + deltas, 6)


def _unpack(packed: bytes) -> tuple[dict[str, Any], list[IntArray]]:
    try:
        header_line, deltas = zlib.decompress(packed).split(b"\n", 1)
        header = json.loads(header_line)
        ends = np.cumsum(header["lengths"])
        values = np.frombuffer(deltas, "<i8", count=int(ends[-1]))
    except (zlib.error, ValueError, KeyError) as error:
        raise ValueError(f"not a frame index: {error}") from error
    return header, [np.cumsum(part, dtype=np.int64) for part in np.split(values, ends[:-1])]
