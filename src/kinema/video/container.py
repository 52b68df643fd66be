"""Opening a container for single-threaded decoding, and errors in words for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import av.error
from av.stream import Disposition

from kinema.errors import VideoError

_NO_PICTURES = {"skip_loop_filter": "all", "skip_idct": "all"}


@contextmanager
def open_video(path: Path, stream: int | None = None, *, pictures: bool = True) -> Iterator[tuple[Any, Any]]:
    """Yield (container, video stream), set to decode in one thread.

    Args:
        path: the file.
        stream: index of the track; None takes the one that players take.
        pictures: False when only times and errors matter: pixels are then wrong, and decoding up to twice as fast.

    Raises:
        VideoError: the file cannot be opened or has no video track.
    """
    av.logging.set_level(None)  # damaged files are reported by exceptions, not by lines on stderr
    try:
        container = av.open(str(path.absolute()))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(path, _why_not_opened(path, error)) from error
    with container:
        video = _pick_stream(path, container, stream)
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        if not pictures:
            video.codec_context.options = _NO_PICTURES
        yield container, video


def words(error: BaseException) -> str:
    """The decoder's own message without its numbers and function names."""
    text = getattr(error, "strerror", None) or str(error)
    return str(text)[:1].lower() + str(text)[1:]


def _pick_stream(path: Path, container: Any, index: int | None) -> Any:
    if index is not None:
        if index >= len(container.streams) or container.streams[index].type != "video":
            raise VideoError(path, f"has no video track number {index}; was the file changed since it was scanned?")
        return container.streams[index]
    tracks = [track for track in container.streams.video if not _is_picture(track)]
    if not tracks:
        raise VideoError(path, "no video track" + (" (audio only)" if container.streams.audio else ""))
    best = container.streams.best("video")
    video = best if best in tracks else tracks[0]
    if video.codec_context is None:
        raise VideoError(path, "no decoder for its video track: its coding is unknown or encrypted")
    return video


def _is_picture(track: Any) -> bool:
    """True for the cover picture of a sound file, which containers list as a video track."""
    return bool(track.disposition & Disposition.attached_pic)


def _why_not_opened(path: Path, error: Exception) -> str:
    if not path.exists():
        return "no such file"
    if path.is_dir():
        return "is a folder, not a video file"
    if isinstance(error, PermissionError):
        return "cannot be opened: permission denied"
    if path.stat().st_size == 0:
        return "empty file (0 bytes)"
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "damaged: the file is cut off before its index (moov box), as after a broken download"
    return f"not a video: {words(error)}"
