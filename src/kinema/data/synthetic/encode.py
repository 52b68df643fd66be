"""Frames and sound to one mp4 file, whose bytes depend on nothing else."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.sound import SOUND_RATE

# A lookahead of its own thread makes the bytes depend on how busy the machine is.
_QUALITY = {
    "libx264": {"crf": "20", "preset": "veryfast", "x264-params": "threads=1:sync-lookahead=0:rc-lookahead=0"},
    "mpeg4": {"qscale": "3"},
}
_GOP = 12


def write_video(
    path: Path, frames: npt.NDArray[np.uint8], fps: float, *, sound: npt.NDArray[np.float32] | None = None
) -> None:
    """Write uint8 RGB frames [T, H, W, 3] as mp4: H.264 where this build of PyAV can, else MPEG-4.

    A key frame comes every 12 frames. `sound`, mono at `SOUND_RATE`, becomes an AAC track.
    """
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = _video_stream(container, frames, fps)
        track = None if sound is None else _sound_stream(container)
        _encode_frames(container, stream, frames)
        if sound is not None:
            _encode_sound(container, track, sound)
    replace_file(path, buffer.getvalue())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_bytes(content)
    aside.replace(path)


def _video_stream(container: Any, frames: npt.NDArray[np.uint8], fps: float) -> Any:
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=_QUALITY[codec])
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt, stream.gop_size = "yuv420p", _GOP
    stream.codec_context.thread_count = 1
    return stream


def _encode_frames(container: Any, stream: Any, frames: npt.NDArray[np.uint8]) -> None:
    import av
    from av.video.reformatter import VideoReformatter

    converter = VideoReformatter()
    for picture in frames:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        container.mux(stream.encode(converter.reformat(frame, format="yuv420p", threads=1)))
    container.mux(stream.encode())


def _sound_stream(container: Any) -> Any:
    stream = container.add_stream("aac", rate=SOUND_RATE, layout="mono", options={"aac_coder": "fast"})
    stream.bit_rate = 64_000
    return stream


def _encode_sound(container: Any, stream: Any, sound: npt.NDArray[np.float32]) -> None:
    import av

    size = 1024  # samples of an AAC frame
    for start in range(0, len(sound), size):
        frame = av.AudioFrame.from_ndarray(sound[None, start : start + size], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
