"""Exact frames of a video by index: one pass forward from the nearest keyframe, scaled while decoding.

The reader is PyAV. The environment variable `KINEMA_READER` names another one for all processes: "torchcodec" or
"decord", whose package must be installed. They give the same frames; see `kinema.video.readers`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kinema.video.images import FRAMES, IMAGE, read_image, read_images
from kinema.video.info import IntArray, VideoInfo
from kinema.video.pictures import Frames, Output, Size
from kinema.video.readers import chosen_reader


def read_frames(info: VideoInfo, indices: npt.ArrayLike, size: Size | None = None) -> Frames:
    """Decode the frames with these indices.

    Frames are found by their exact show time (or by counting, where `info.counted`). Every stretch is decoded once,
    whatever the order and repetition of `indices`; long gaps are jumped over. Reads of one video that follow each other
    go on where the last one ended.

    Args:
        info: from `probe`, or from a manifest.
        indices: integers in [0, info.frames), repeated and unordered allowed.
        size: (height, width) to scale to, bilinear, while decoding; None keeps the stored size.

    Returns:
        uint8 RGB [len(indices), height, width, 3], upright. Colours follow the matrix and range that the file states;
        HDR is not mapped to SDR, interlaced frames stay woven, and pixels count as square.

    Raises:
        IndexError: an index outside the video.
        VideoError: a frame cannot be decoded; the reason names it.
        RecipeError, KinemaError: `KINEMA_READER` is no reader, or one that is not installed.
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
    if info.codec == IMAGE:
        return {size: read_image(info, len(_checked(info, indices)), size) for size, indices in wanted.items()}
    outputs, where = {}, {}
    for size, indices in wanted.items():
        own, where[size] = np.unique(_checked(info, indices), return_inverse=True)
        outputs[size] = Output(info, own, size)
    union = np.unique(np.concatenate([output.wanted for output in outputs.values()])) if outputs else np.array([])
    if len(union):
        chosen_reader()(info, union, list(outputs.values()))
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
