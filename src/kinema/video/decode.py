"""Exact frames of a video by index: one pass forward from the nearest keyframe, scaled while decoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, dropwhile
from typing import Any, NamedTuple

import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from kinema.errors import VideoError
from kinema.video.container import open_video, words
from kinema.video.images import FRAMES, read_images
from kinema.video.info import IntArray, VideoInfo
from kinema.video.seeking import NotFound, jump

Frames = npt.NDArray[np.uint8]
Size = tuple[int, int]

# A jump costs about as much as decoding this many frames, so shorter gaps are decoded through.
_JUMP = 4
_PLANAR = ("yuv420p", "yuvj420p")


class _Missed(Exception):
    """Decoding from the chosen keyframe did not yield the frame `index`."""

    def __init__(self, index: int) -> None:
        self.index = index


def read_frames(info: VideoInfo, indices: npt.ArrayLike, size: tuple[int, int] | None = None) -> Frames:
    """Decode the frames with these indices.

    Frames are found by their exact show time (or by counting, where `info.counted`). Every stretch is decoded once,
    whatever the order and repetition of `indices`; long gaps are jumped over.

    Args:
        info: from `probe`, or from a manifest.
        indices: integers in [0, info.frames), repeated and unordered allowed.
        size: (height, width) to scale to, bilinear, while decoding; None keeps the stored size.

    Returns:
        uint8 RGB [len(indices), height, width, 3], upright.

    Raises:
        IndexError: an index outside the video.
        VideoError: a frame cannot be decoded; the reason names it.
    """
    size = size or (info.height, info.width)
    return read_sizes(info, {size: indices})[size]


def read_sizes(info: VideoInfo, wanted: Mapping[Size, npt.ArrayLike]) -> dict[Size, Frames]:
    """Frames at several sizes out of one decode: by (height, width), what `read_frames` returns for these indices.

    Raises:
        IndexError: an index outside the video.
        VideoError: a frame cannot be decoded; the reason names it.
    """
    if info.codec == FRAMES:
        return {size: read_images(info, _checked(info, indices), size) for size, indices in wanted.items()}
    outputs, where = {}, {}
    for size, indices in wanted.items():
        own, where[size] = np.unique(_checked(info, indices), return_inverse=True)
        outputs[size] = _Output(own, np.empty((len(own), *size, 3), np.uint8), VideoReformatter(), VideoReformatter())
    union = np.unique(np.concatenate([output.wanted for output in outputs.values()])) if outputs else []
    if len(union):
        _Reader(info, tuple(outputs.values())).read(union)
    return {size: _in_order(output.frames, where[size]) for size, output in outputs.items()}


def _in_order(frames: Frames, where: IntArray) -> Frames:
    return frames if np.array_equal(where, np.arange(len(frames))) else frames[where]


def _checked(info: VideoInfo, indices: npt.ArrayLike) -> IntArray:
    array = np.asarray(indices)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise IndexError(
            f"{info.path}: frame indices must be a list of integers, got {array.dtype} of {array.ndim} axes"
        )
    if array.size and not (array.min() >= 0 and array.max() < info.frames):
        raise IndexError(f"{info.path}: frame {array.min()} to {array.max()} wanted, but it has 0 to {info.frames - 1}")
    return array.astype(np.int64)


class _Output(NamedTuple):
    """Frames of one size: `frames[i]` is frame `wanted[i]`, sorted and unique."""

    wanted: IntArray
    frames: Frames
    scaler: VideoReformatter
    converter: VideoReformatter

    def place(self, index: int) -> Frames | None:
        """Where frame `index` belongs, if it is wanted."""
        slot = int(np.searchsorted(self.wanted, index))
        return self.frames[slot] if slot < len(self.wanted) and self.wanted[slot] == index else None


class _Reader:
    """Fills `outputs` with the wanted frames of one video."""

    def __init__(self, info: VideoInfo, outputs: tuple[_Output, ...]) -> None:
        self.info = info
        self.outputs = outputs
        self.key_indices = np.searchsorted(info.pts, info.keyframes)

    def read(self, wanted: IntArray) -> None:
        """Decode the frames `wanted`, sorted and unique, into every output that wants them."""
        with open_video(self.info.path, self.info.stream, address=self.info.address) as (container, video):
            fresh = True
            for slots in self._runs(wanted):
                self._read_run(container, video, wanted, slots, fresh=fresh)
                fresh = False

    def _runs(self, wanted: IntArray) -> list[IntArray]:
        """Slots of `wanted`, split where a keyframe lies well beyond the frame before and not beyond the next one."""
        nearest = self.key_indices[self._keyframe(wanted)]
        jumps = np.flatnonzero(nearest[1:] > wanted[:-1] + _JUMP) + 1
        return np.split(np.arange(len(wanted)), jumps)

    def _keyframe(self, index: IntArray) -> IntArray:
        """Number of the last keyframe at or before each frame."""
        return np.searchsorted(self.key_indices, index, side="right").astype(np.int64) - 1

    def _read_run(self, container: Any, video: Any, wanted: IntArray, slots: IntArray, *, fresh: bool) -> None:
        """Try from the nearest keyframe, then from ever earlier ones, at last from the start of a newly opened file."""
        keyframe = int(self._keyframe(wanted[slots[:1]])[0])
        back = 1
        while keyframe > 0:
            try:
                return self._pick(self._frames_from(container, video, keyframe), wanted, slots)
            except (_Missed, NotFound):
                keyframe, back, fresh = keyframe - back, back * 2, False
        if fresh:
            return self._pick_from_start(container, video, wanted, slots)
        with open_video(self.info.path, self.info.stream, address=self.info.address) as (again, track):
            return self._pick_from_start(again, track, wanted, slots)

    def _pick_from_start(self, container: Any, video: Any, wanted: IntArray, slots: IntArray) -> None:
        try:
            self._pick(self._frames_from(container, video, 0), wanted, slots)
        except _Missed as missed:
            raise self._broken(missed.index, missed.__cause__) from missed

    def _pick(self, frames: Iterator[tuple[int, Any]], wanted: IntArray, slots: IntArray) -> None:
        """Convert the wanted frames out of a stream of (index, frame) with rising index."""
        todo, arrived = iter(slots), False
        slot = next(todo)
        try:
            for index, frame in frames:
                arrived = True
                if index > wanted[slot]:
                    break
                if index == wanted[slot]:
                    self._hand_out(index, frame)
                    slot = next(todo, None)
                if slot is None:
                    return
        except av.error.FFmpegError as error:
            if arrived:  # an earlier start would only meet the same damage
                raise self._broken(int(wanted[slot]), error) from error
            raise _Missed(int(wanted[slot])) from error
        raise _Missed(int(wanted[slot]))

    def _broken(self, index: int, cause: BaseException | None) -> VideoError:
        why = words(cause) if cause else "decoding does not yield it; was the file changed since it was scanned?"
        return VideoError(
            self.info.path, f"damaged: frame {index} (at {self.info.times[index]:.3f} s) cannot be decoded: {why}"
        )

    def _frames_from(self, container: Any, video: Any, keyframe: int) -> Iterator[tuple[int, Any]]:
        """(index, frame) in order of show, from keyframe number `keyframe` on; number 0 needs a file just opened."""
        packets, first = container.demux(video), None
        if keyframe:
            target, key = int(self.info.seek_stamps[keyframe]), int(self.info.keyframes[keyframe])
            by_dts = self.info.counted
            first, rest, _ = jump(container, video, target, target if by_dts else key, by_dts=by_dts)
            packets = chain([first], rest)
        decoded = chain.from_iterable(video.codec_context.decode(packet if packet.size else None) for packet in packets)
        if not self.info.counted:
            return self._matched(decoded, keyframe)
        # Frames shown before the keyframe but stored after it are passed over.
        counted = dropwhile(lambda frame: frame.pts != first.pts, decoded) if first else decoded
        return enumerate(counted, start=int(self.key_indices[keyframe]))

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
            index = int(np.searchsorted(pts, frame.pts))
            if index < len(pts) and pts[index] == frame.pts:
                yield index, frame

    def _hand_out(self, index: int, frame: Any) -> None:
        for output in self.outputs:
            if (place := output.place(index)) is not None:
                self._convert(frame, output, place)

    def _convert(self, frame: Any, output: _Output, out: Frames) -> None:
        """Scale to the size of `out` as RGB and turn upright; the turn is done on the small picture."""
        height, width = out.shape[:2]
        quarters = self.info.rotation // 90
        if quarters % 2:
            height, width = width, height
        if frame.format.name in _PLANAR:  # scaling planes is twice as fast as scaling to RGB, and as close
            frame = output.scaler.reformat(frame, width, height, interpolation="BILINEAR", threads=1)
        small = output.converter.reformat(frame, width, height, "rgb24", interpolation="BILINEAR", threads=1)
        plane = small.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height]
        picture = rows[:, : 3 * width].reshape(height, width, 3)
        if self.info.mirrored:
            picture = picture[:, ::-1]
        out[:] = np.rot90(picture, -quarters) if quarters else picture
