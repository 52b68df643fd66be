"""The ways to decode: PyAV, and optional packages behind the same small interface.

A reader hands the wanted frames of a video to outputs. All readers give the same frames. The optional ones number
frames by themselves and know nothing of some turns, so what they may get wrong stays with PyAV: files whose packets do
not tell the times of frames (decord 3.4 is ten frames off there), turned or mirrored ones, files inside archives, and
those in which they see another number of frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import chain
from typing import Any

import numpy as np

from kinema.errors import KinemaError, MissingExtra, RecipeError, VideoError, suggest
from kinema.video import session
from kinema.video.info import IntArray, VideoInfo
from kinema.video.pictures import Output

Reader = Callable[[VideoInfo, IntArray, Sequence[Output]], None]
"""Gives the frames with these indices, sorted and unique, to every output; raises VideoError where it cannot."""

VARIABLE = "KINEMA_READER"
_BATCH = 32  # whole pictures held at a time by the optional readers


def chosen_reader() -> Reader:
    """The reader that the environment variable `KINEMA_READER` names; PyAV where it is not set.

    Raises:
        RecipeError: the name is unknown.
    """
    name = os.environ.get(VARIABLE) or "pyav"
    if name not in READERS:
        raise RecipeError(f"{VARIABLE}='{name}' is no reader.{suggest(name, READERS)}")
    return READERS[name]


def _pyav(info: VideoInfo, wanted: IntArray, outputs: Sequence[Output]) -> None:
    def take(index: int, frame: Any) -> None:
        for output in outputs:
            output.take(index, frame)

    session.read(info, wanted, take)


def _torchcodec(info: VideoInfo, wanted: IntArray, outputs: Sequence[Output]) -> None:
    decoders = _package("torchcodec.decoders", "torchcodec")

    def pictures() -> Iterator[Any]:
        decoder = decoders.VideoDecoder(
            str(info.path), stream_index=info.stream, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact"
        )
        yield len(decoder)
        for part in _parts(wanted):
            yield decoder.get_frames_at(part).data.numpy()

    _hand_out("torchcodec", pictures, info, wanted, outputs)


def _decord(info: VideoInfo, wanted: IntArray, outputs: Sequence[Output]) -> None:
    decord = _package("decord", "decord")

    def pictures() -> Iterator[Any]:
        video = decord.VideoReader(str(info.path), ctx=decord.cpu(0), num_threads=1)
        yield len(video)
        for part in _parts(wanted):
            yield video.get_batch(part).asnumpy()

    _hand_out("decord", pictures, info, wanted, outputs)


READERS: dict[str, Reader] = {"pyav": _pyav, "torchcodec": _torchcodec, "decord": _decord}
"""Readers by name."""


def _hand_out(
    name: str,
    pictures: Callable[[], Iterator[Any]],
    info: VideoInfo,
    wanted: IntArray,
    outputs: Sequence[Output],
) -> None:
    """Give a package's frames to the outputs: `pictures` yields its number of frames, then uint8 RGB [n, H, W, 3]."""
    import av

    if not info.stored or info.rotation or info.mirrored or info.offset is not None:
        return _pyav(info, wanted, outputs)
    try:
        parts = pictures()
        if next(parts) != info.frames:
            return _pyav(info, wanted, outputs)
        for index, picture in zip(wanted.tolist(), chain.from_iterable(parts), strict=True):
            if picture.shape != (info.height, info.width, 3):
                raise ValueError(f"it gives frames of {' x '.join(map(str, picture.shape))}")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            for output in outputs:
                output.take(index, frame)
    except Exception as error:  # packages have errors of their own kinds
        raise VideoError(info.path, f"{name} cannot read it ({error}); try {VARIABLE}=pyav") from error
    return None


def _parts(wanted: IntArray) -> Iterator[list[int]]:
    for first in range(0, len(wanted), _BATCH):
        yield wanted[first : first + _BATCH].tolist()


def _package(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        if error.name and error.name.split(".")[0] == extra:
            raise MissingExtra(extra, extra) from error
        raise KinemaError(_does_not_load(extra, error)) from error
    except (OSError, RuntimeError) as error:  # shared libraries that are missing or of another version
        raise KinemaError(_does_not_load(extra, error)) from error


def _does_not_load(extra: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[:1]
    return f"the package '{extra}' is installed but does not load ({''.join(first)}): mend it, or use {VARIABLE}=pyav"
