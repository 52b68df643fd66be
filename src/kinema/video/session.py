"""An open video with a decoder that remembers where it stands, and a few of them kept open per process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, dropwhile
from typing import Any

import av.error
import numpy as np

from kinema.errors import VideoError
from kinema.video.container import open_video, packets_of, words
from kinema.video.info import IntArray, VideoInfo
from kinema.video.memory import tidy
from kinema.video.seeking import NotFound, jump

Take = Callable[[int, Any], None]
"""Receives the index of a frame and the decoded `av.VideoFrame`."""

# Where the decoder's delay cannot be cut short, a jump costs about as much as decoding this many frames.
_JUMP = 4
# A read that begins at most so many frames after the end of the last one is taken as one of a row, as is a first read
# that begins at the beginning.
_NEAR = 64
# Coders in which "no other frame refers to this one" is said of each frame and always true. Not so in HEVC, where
# frames of a higher temporal layer may still refer to it.
_SKIPPABLE = ("h264", "mpeg1video", "mpeg2video", "mpeg4")
# Containers that store the time of every packet, so that opening them need not look further than their headers.
_TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_TIMED_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
# Per process; a decoder may hold 16 pictures, so that this many pixels stand for about 100 MB.
_KEPT_OPEN, _KEPT_PIXELS = 4, 4_000_000


class _Missed(Exception):
    """Decoding from the chosen keyframe did not yield the frame `index`."""

    def __init__(self, index: int) -> None:
        self.index = index


class Session:
    """Reads frames of one open video; used by one thread at a time.

    What comes out does not depend on what was read before: where going on from the present place fails, decoding
    starts anew at the nearest keyframe, as it does in a video that was just opened.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self._files = ExitStack()
        self._last = -1
        self._in_a_row = False
        self._unsent: set[int] = set()
        self._until = 0
        self._lean = False
        self._open(quick=info.stored and info.path.suffix.lower() in _TIMED_SUFFIXES)

    def _open(self, *, quick: bool) -> None:
        """Open the file (anew); `quick` holds where the container turns out to allow it."""
        self.close()
        info = self.info
        opened = open_video(info.path, info.stream, address=info.address, quick=quick)
        self._container, self._video = self._files.enter_context(opened)
        if quick and self._container.format.name not in _TIMED:
            return self._open(quick=False)
        self._codec, self._untouched, self._quick = self._video.codec_context, True, quick
        return None

    def close(self) -> None:
        """Close the file."""
        self._frames: Iterator[tuple[int, Any]] | None = None
        self._reached = -1
        self._files.close()

    def read(self, wanted: IntArray, take: Take) -> None:
        """Hand the frames `wanted`, sorted and unique, to `take`; some may be handed over twice.

        Raises:
            VideoError: a frame cannot be decoded; the reason names it.
        """
        self._in_a_row = bool(0 < wanted[0] - self._last <= _NEAR) if self._last >= 0 else wanted[0] == 0
        for run in self._runs(wanted):
            self._read_run(run.tolist(), take)
        self._last = int(wanted[-1])

    def _runs(self, wanted: IntArray) -> list[IntArray]:
        """`wanted`, split where a keyframe lies beyond the frame before and not beyond the next one."""
        nearest = self.info.key_indices[self._keyframe(wanted)]
        return np.split(wanted, np.flatnonzero(nearest[1:] > wanted[:-1] + self._patience) + 1)

    def _keyframe(self, indices: Any) -> Any:
        """Number of the last keyframe at or before each frame."""
        return np.searchsorted(self.info.key_indices, indices, side="right") - 1

    @property
    def _patience(self) -> int:
        return 1 if self.info.stored else _JUMP

    def _read_run(self, wanted: list[int], take: Take) -> None:
        """Go on if possible, else start at the nearest keyframe, then at ever earlier ones, at last at the first."""
        keyframe = int(self._keyframe(wanted[0]))
        self._set_aim(wanted)
        if self._frames and self._reached < wanted[0] <= self._reached + _NEAR:
            near = self.info.key_indices[keyframe] <= self._reached + self._patience
            if near and self._went_on(wanted, take):
                return
        missed: _Missed | None = None
        for start, lean in self._attempts(keyframe):
            self._set_aim(wanted)
            try:
                self._pick(self._frames_from(start, lean=lean), wanted, take)
                return
            except _Missed as error:
                missed = error
            except NotFound:
                continue
        assert missed  # the last attempt, from the start of the file, needs no keyframe to be found
        raise self._broken(missed.index, missed.__cause__) from missed

    def _attempts(self, keyframe: int) -> Iterator[tuple[int, bool]]:
        """(number of the keyframe, whether needless work is left out), in the order of trial."""
        if self.info.stored:
            yield keyframe, True
        back = 1
        while keyframe > 0:
            yield keyframe, False
            keyframe, back = keyframe - back, back * 2
        yield 0, False

    def _set_aim(self, wanted: list[int]) -> None:
        """Note what is wanted of the packets that are still to be sent to the decoder."""
        stamps = self.info.pts[wanted].tolist()
        self._unsent, self._until = set(stamps), stamps[-1]

    def _went_on(self, wanted: list[int], take: Take) -> bool:
        """Whether decoding on from the present place gave all."""
        assert self._frames
        try:
            self._pick(self._frames, wanted, take)
        except (_Missed, VideoError):
            return False
        return True

    def _pick(self, frames: Iterator[tuple[int, Any]], wanted: list[int], take: Take) -> None:
        """Hand over the wanted frames out of a stream of (index, frame) with rising index."""
        self._frames, self._reached = frames, -1
        todo = iter(wanted)
        want = next(todo)
        try:
            for index, frame in frames:
                self._reached = index
                if index > want:
                    break
                if index == want:
                    take(index, frame)
                    if (want := next(todo, -1)) < 0:
                        return
        except av.error.FFmpegError as error:
            self._frames = None
            if self._reached >= 0:  # an earlier start would only meet the same damage
                raise self._broken(want, error) from error
            raise _Missed(want) from error
        self._frames = None
        raise _Missed(want)

    def _broken(self, index: int, cause: BaseException | None) -> VideoError:
        why = words(cause) if cause else "decoding does not yield it; was the file changed since it was scanned?"
        return VideoError(
            self.info.path, f"damaged: frame {index} (at {self.info.times[index]:.3f} s) cannot be decoded: {why}"
        )

    def _frames_from(self, keyframe: int, *, lean: bool) -> Iterator[tuple[int, Any]]:
        """(index, frame) in order of show, from keyframe number `keyframe` on; number 0 needs a file just opened."""
        if self._quick and not lean:  # perhaps just for want of what a longer look would have found
            self._open(quick=False)
        self._frames, self._lean, first = None, lean, None
        self._codec.skip_frame = "DEFAULT"
        if keyframe:
            target, key = int(self.info.seek_stamps[keyframe]), int(self.info.keyframes[keyframe])
            by_dts = self.info.counted
            self._untouched = False
            first, rest, _ = jump(self._container, self._video, target, target if by_dts else key, by_dts=by_dts)
            packets: Iterable[Any] = chain([first], rest)
        else:
            if not self._untouched:
                self._open(quick=self._quick)
            self._untouched = False
            packets = packets_of(self._container, self._video)
        decoded = self._decoded(packets)
        if not self.info.counted:
            return self._matched(decoded, keyframe)
        # Frames shown before the keyframe but stored after it are passed over.
        counted = dropwhile(lambda frame: frame.pts != first.pts, decoded) if first else decoded
        return enumerate(counted, start=int(self.info.key_indices[keyframe]))

    def _decoded(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Frames in order of show; a lean session leaves needless work out.

        That is, frames to which no other refers, shown before the last wanted one and not wanted themselves; and the
        decoder's delay: it hands out all it holds once every wanted packet was sent, unless reads come in a row.
        """
        codec, skips = self._codec, self._lean and self._codec.name in _SKIPPABLE
        for packet in packets:
            if not packet.size:
                continue
            stamp = None if packet.is_discard else packet.pts
            if skips:
                needless = stamp is not None and stamp < self._until and stamp not in self._unsent
                codec.skip_frame = "NONREF" if needless else "DEFAULT"
            self._unsent.discard(stamp)
            yield from codec.decode(packet)
            if self._lean and not (self._unsent or self._in_a_row):
                break
        yield from codec.decode(None)

    def _matched(self, frames: Iterable[Any], keyframe: int) -> Iterator[tuple[int, Any]]:
        """Number frames by their show times, from a keyframe's on."""
        pts, start = self.info.pts, self.info.keyframes[keyframe]
        arrived = keyframe == 0
        for frame in frames:
            if frame.pts is None or frame.pts < start:
                continue
            if not (arrived or frame.key_frame):
                raise NotFound  # the keyframe is none: what follows would be smeared
            arrived = True
            index = int(pts.searchsorted(frame.pts))
            if index < len(pts) and pts[index] == frame.pts:
                yield index, frame


_open: OrderedDict[object, Session] = OrderedDict()
_lock = threading.Lock()


def read(info: VideoInfo, wanted: IntArray, take: Take) -> None:
    """Hand the frames `wanted`, sorted and unique, to `take`; the video stays open for the next read.

    A few videos are kept open per process, and none is shared with a process that was forked from this one.

    Raises:
        VideoError: a frame cannot be decoded; the reason names it.
    """
    key = _identity(info)
    with _lock:
        session = _open.pop(key, None)
    session = session or Session(info)
    try:
        session.read(wanted, take)
    except BaseException:
        session.close()
        raise
    with _lock:
        surplus = [_open.pop(key)] if key in _open else []  # of a thread that read the same video meanwhile
        _open[key] = session
        while len(_open) > _KEPT_OPEN or (len(_open) > 1 and _pixels() > _KEPT_PIXELS):
            surplus.append(_open.popitem(last=False)[1])
    for other in surplus:
        other.close()
    tidy()


def _pixels() -> int:
    return sum(session.info.width * session.info.height for session in _open.values())


def _identity(info: VideoInfo) -> object:
    """What must be the same for an open video to be used again: the file as it is now, and what is known of it."""
    try:
        status = info.file.stat()
    except OSError:
        raise VideoError(info.path, "no such file") from None
    return info, status.st_ino, status.st_size, status.st_mtime_ns


def _forget() -> None:
    """In a forked process: its files share their place with those of the process it came from."""
    global _lock
    _lock = threading.Lock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
