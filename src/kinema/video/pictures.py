"""Decoded frames to upright RGB pictures of the wanted sizes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
from av import VideoFormat
from av.video.reformatter import Interpolation, VideoReformatter

from kinema.video.info import IntArray, VideoInfo

Frames = npt.NDArray[np.uint8]
Size = tuple[int, int]

_PLANAR = ("yuv420p", "yuvj420p")
_BILINEAR, _RGB = int(Interpolation.BILINEAR), VideoFormat("rgb24")  # looking names up costs as much as a small copy
_SCALERS_KEPT = 8  # per thread; making one anew costs as much as using it twice


class Output:
    """Frames of one size.

    Attributes:
        wanted: int64 [N], sorted and unique.
        frames: uint8 RGB [N, height, width, 3]; `frames[i]` is frame `wanted[i]` once it has been taken.
    """

    def __init__(self, info: VideoInfo, wanted: IntArray, size: Size) -> None:
        self.wanted, self.frames = wanted, np.empty((len(wanted), *size, 3), np.uint8)
        self._slots = {index: slot for slot, index in enumerate(wanted.tolist())}
        self._quarters, self._mirrored = info.rotation // 90, info.mirrored
        self._scaler, self._converter = _scalers(size)

    def take(self, index: int, frame: Any) -> None:
        """Keep frame `index`, an `av.VideoFrame`, if it is wanted: scaled (bilinear), as RGB, turned upright.

        Colours follow the matrix and range that the frame states; HDR is not mapped to SDR, interlaced frames stay
        woven and pixels count as square. The turn is done on the small picture.
        """
        slot = self._slots.get(index)
        if slot is None:
            return
        height, width = self.frames.shape[1:3][:: -1 if self._quarters % 2 else 1]
        if frame.format.name in _PLANAR:  # scaling planes is twice as fast as scaling to RGB, and as close
            frame = self._scaler.reformat(frame, width, height, interpolation=_BILINEAR, threads=1)
        small = self._converter.reformat(frame, width, height, _RGB, interpolation=_BILINEAR, threads=1)
        plane = small.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height]
        picture = rows[:, : 3 * width].reshape(height, width, 3)
        if self._mirrored:
            picture = picture[:, ::-1]
        self.frames[slot] = np.rot90(picture, -self._quarters) if self._quarters else picture


_kept = threading.local()


def _scalers(size: Size) -> tuple[VideoReformatter, VideoReformatter]:
    """This thread's scaler of planes and converter to RGB for one size; they adapt to whatever comes in."""
    pairs: OrderedDict[Size, tuple[VideoReformatter, VideoReformatter]] = _kept.__dict__.setdefault(
        "pairs", OrderedDict()
    )
    pairs[size] = pair = pairs.pop(size, None) or (VideoReformatter(), VideoReformatter())
    if len(pairs) > _SCALERS_KEPT:
        pairs.popitem(last=False)
    return pair
