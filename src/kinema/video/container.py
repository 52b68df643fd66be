"""Opening a container for single-threaded decoding, and errors in words for a person."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import av
import av.error
from av.stream import Disposition

from kinema.errors import VideoError
from kinema.video.archives import Member, archive_of, find_member, still_there
from kinema.video.info import VideoInfo

# A container is opened in a quarter of the time when FFmpeg need not decode to find out what is in it.
_QUICK = {"options": {"analyzeduration": "1"}, "stream_options": [{"skip_frame": "all"}]}
# What decoders say of damaged data, too, and what would only mislead: "operation not permitted", "invalid argument" …
_MEANINGLESS = (errno.EPERM, errno.EINVAL, errno.ENOMEM)
_NO_PICTURES = {"skip_loop_filter": "all", "skip_idct": "all"}


@contextmanager
def open_video(
    path: Path, stream: int | None = None, *, address: str | None = None, pictures: bool = True, quick: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Yield (container, video stream), set to decode in one thread.

    Args:
        path: the file, or `archive.tar/name`.
        stream: index of the track; None takes the one that players take.
        address: what FFmpeg opens (`VideoInfo.address`); None finds it out, which reads the headers of an archive.
        pictures: False when only times and errors matter: pixels are then wrong, and decoding up to twice as fast.
        quick: look at nothing but the header. Tracks may then be missing, and times of packets where the container
            does not store them.

    Raises:
        VideoError: the file cannot be opened or has no video track.
    """
    av.logging.set_level(None)  # damaged files are reported by exceptions, not by lines on stderr
    try:
        container = av.open(address or address_of(path), metadata_errors="replace", **(_QUICK if quick else {}))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(path, _why_not_opened(path, error)) from error
    with container:
        video = _pick_stream(path, container, stream)
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        if not pictures:
            video.codec_context.options = _NO_PICTURES
        yield container, video


def packets_of(container: Any, video: Any) -> Iterator[Any]:
    """The packets of a track, from where the container stands.

    Raises:
        av.error.FFmpegError: the file is damaged.
    """
    try:
        yield from container.demux(video)
    except IndexError as error:  # PyAV knows the tracks that it met when opening
        raise av.error.InvalidDataError(errno.EILSEQ, "a track begins in the middle") from error


def address_of(path: Path) -> str:
    """What FFmpeg opens for a file, or for a file inside an archive.

    Raises:
        VideoError: the archive holds no such file.
    """
    member = find_member(path)
    return str(path.absolute()) if member is None else member.address


def stored_bytes(path: Path) -> int:
    """Size of a file, or of a file inside an archive."""
    member = find_member(path)
    return path.stat().st_size if member is None else member.bytes


def is_there(path: Path) -> bool:
    """Whether there is a file, a folder, or an archive into which the path leads; what is in it is not looked up."""
    return path.exists() or archive_of(path) is not None


def check_unchanged(info: VideoInfo) -> None:
    """Compare what a scan found with what is there now, as far as that is cheap: sizes of files, not of folders.

    Raises:
        VideoError: the file is gone, or has another size or place in its archive.
    """
    archive = None if info.offset is None else archive_of(info.path)
    if archive is not None and info.offset is not None:
        name = info.path.relative_to(archive).as_posix()
        if not still_there(Member(archive, info.offset, info.bytes), name):
            raise VideoError(info.path, "its archive was changed since the scan; scan it again")
        return
    try:
        status = info.path.stat()
    except OSError as error:
        raise VideoError(info.path, "no such file; scan the data again") from error
    if status.st_size != info.bytes and not S_ISDIR(status.st_mode):
        raise VideoError(
            info.path, f"was changed since the scan ({info.bytes} bytes then, {status.st_size} now); scan it again"
        )


def read_blocks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a file, or of a file inside an archive, in blocks of at most `size`."""
    member = find_member(path)
    with (path if member is None else member.archive).open("rb") as file:
        file.seek(0 if member is None else member.offset)
        left = stored_bytes(path)
        while left > 0 and (block := file.read(min(size, left))):
            left -= len(block)
            yield block


def words(error: BaseException) -> str:
    """The decoder's own message without its numbers and function names."""
    if isinstance(error, av.error.FFmpegError) and error.errno in _MEANINGLESS:
        return "its data make no sense"
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
    member = find_member(path)
    if member is None and not path.exists():
        return "no such file"
    if path.is_dir():
        return "is a folder, not a video file"
    if isinstance(error, PermissionError):
        return "cannot be opened: permission denied"
    if stored_bytes(path) == 0:
        return "empty file (0 bytes)"
    head = next(read_blocks(path, 12))
    if head[4:8] == b"ftyp":
        return "damaged: the file is cut off before its index (moov box), as after a broken download"
    return f"not a video: {words(error)}"
