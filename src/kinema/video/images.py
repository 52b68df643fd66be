"""Images as videos: folders of numbered ones, `frame000001.jpg` … at a stated rate, and single ones of one frame."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.errors import VideoError
from kinema.video.info import IntArray, VideoInfo

FRAMES = "frames"
"""The `codec` of a folder of images."""

IMAGE = "image"
"""The `codec` of a single image."""

FRAME_RATE = 25.0
"""Frames per second of a folder of images unless stated: images carry no time."""

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Suffixes by which frames are known (in lower case)."""

_NUMBERED = re.compile(r"(.*?)(\d+)")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # what stands at the end of a whole file
_TAIL = 1024  # bytes within which it stands, since some cameras append to JPEG
_FOLDERS_KEPT = 256
_LARGEST_DENOMINATOR = 1001
_BILINEAR = 2  # PIL.Image.Resampling.BILINEAR, which widens its triangle when it makes smaller, as swscale does
_ORIENTATION = 0x0112  # the EXIF tag of cameras
_LYING = (5, 6, 7, 8)  # its values for pictures that are stored with height and width exchanged


class _Series(NamedTuple):
    """Names of images in order, and their numbers."""

    names: tuple[str, ...]
    numbers: tuple[int, ...]


def is_frame_folder(names: Iterable[str]) -> bool:
    """Whether files of these names make a video: at least two numbered images."""
    return any(len(series) > 1 for series in _all_series(names).values())


def frame_files(folder: Path) -> list[Path]:
    """The images of a frame folder in order of their numbers: 9 before 10, however they are padded.

    Raises:
        VideoError: no numbered images, or several series of them.
    """
    return [folder / name for name in _series(folder).names]


def probe_images(folder: Path, fps: float | None = None) -> VideoInfo:
    """Describe a folder of numbered images as a video whose frames follow at `fps` (None: `FRAME_RATE`).

    A frame's number is its time: where numbers are left out (every fifth frame kept), the frames before them stay on
    show. Of every image the header and the end are read; the first and the last are decoded.

    Raises:
        VideoError: no numbered images, a broken one, or sizes that differ.
    """
    series = _series(folder)
    first = _facts(folder, series.names[0])
    total = 0
    for name in series.names:
        facts = _facts(folder, name)
        if facts.size != first.size:
            raise VideoError(
                folder,
                f"its images differ in size: {series.names[0]} is {first.size[0]} x {first.size[1]} pixels, "
                f"{name} is {facts.size[0]} x {facts.size[1]} (where each is a picture of its own: --layout images)",
            )
        total += facts.bytes
    pts = np.array(series.numbers, np.int64) - series.numbers[0]
    info = _described(folder, FRAMES, first._replace(bytes=total), pts, fps or FRAME_RATE)
    read_images(info, np.array([0, info.frames - 1]), (info.height, info.width))
    return info


def probe_image(path: Path) -> VideoInfo:
    """Describe one image as a video of one frame; it is decoded once.

    Raises:
        VideoError: it is broken.
    """
    try:
        facts = _facts(path.parent, path.name)
        info = _described(path, IMAGE, facts, np.zeros(1, np.int64), FRAME_RATE)
        _read(path.parent, path.name, (info.height, info.width))
    except VideoError as error:
        raise VideoError(path, error.reason) from error
    return info


def read_image(info: VideoInfo, count: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 RGB [count, height, width, 3]: the one frame of an image, as often as it is wanted.

    Raises:
        VideoError: it is broken, or was changed since it was probed.
    """
    if info.path.is_file() and info.path.stat().st_size != info.bytes:
        raise VideoError(info.path, f"was changed since the scan (then of {info.bytes} bytes); scan it again")
    try:
        picture = np.asarray(_read(info.path.parent, info.path.name, size))
    except VideoError as error:
        raise VideoError(info.path, error.reason) from error
    return np.repeat(picture[None], count, 0)


def read_images(info: VideoInfo, indices: IntArray, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 RGB [len(indices), height, width, 3] of a frame folder, scaled to `size` (height, width), bilinear.

    Raises:
        VideoError: an image is broken, or the folder was changed since it was probed.
    """
    names = _series(info.path).names
    if len(names) != info.frames:
        raise VideoError(info.path, f"was changed since the scan ({info.frames} frames then, {len(names)} now)")
    wanted, where = np.unique(indices, return_inverse=True)
    frames = np.empty((len(wanted), *size, 3), np.uint8)
    for out, index in zip(frames, wanted, strict=True):
        out[:] = _read(info.path, names[index], size)
    return frames[where]


def image_blocks(folder: Path) -> Iterator[bytes]:
    """Everything by which two frame folders differ in content: each image's length and bytes, in order."""
    for path in frame_files(folder):
        content = path.read_bytes()
        yield len(content).to_bytes(8, "little")
        yield content


class _Facts(NamedTuple):
    size: tuple[int, int]
    format: str
    bytes: int


def _described(path: Path, codec: str, facts: _Facts, pts: IntArray, fps: float) -> VideoInfo:
    return VideoInfo(
        path=path,
        codec=codec,
        pixel_format=facts.format.lower(),
        width=facts.size[0],
        height=facts.size[1],
        rotation=0,
        mirrored=False,
        stream=0,
        time_base=1 / Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR),
        pts=pts,
        keyframes=pts,
        seek_stamps=pts,
        counted=False,
        audio_tracks=0,
        bytes=facts.bytes,
    )


def _facts(folder: Path, name: str) -> _Facts:
    """What an image's header says, after its end was looked for."""
    from PIL import Image

    try:
        with (folder / name).open("rb") as file, Image.open(file) as image:
            facts = _Facts(_shown_size(image), str(image.format), file.seek(0, os.SEEK_END))
            end = _ENDS.get(facts.format, b"")
            file.seek(max(0, facts.bytes - _TAIL))
            if end not in file.read():
                raise VideoError(folder, f"damaged: {name} is cut off")
            return facts
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _broken(folder, name, error) from error


def _read(folder: Path, name: str, size: tuple[int, int]) -> Any:
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(folder / name) as image:
            if _shown_size(image) != (width, height):
                image.draft("RGB", (max(size), max(size)))  # JPEG can be decoded at a fraction of its size
            upright = ImageOps.exif_transpose(image) if image.format == "JPEG" else image
            picture = upright.convert("RGB")
            return picture if picture.size == (width, height) else picture.resize((width, height), _BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _broken(folder, name, error) from error


def _shown_size(image: Any) -> tuple[int, int]:
    """(width, height) after the turn that a camera asks for."""
    width, height = image.size
    lying = image.format == "JPEG" and image.getexif().get(_ORIENTATION) in _LYING
    return (height, width) if lying else (width, height)


def _broken(folder: Path, name: str, error: Exception) -> VideoError:
    if not (folder / name).exists():
        return VideoError(folder, f"{name} is a broken link")
    if (folder / name).stat().st_size == 0:
        return VideoError(folder, f"damaged: {name} is empty (0 bytes)")
    why = str(error).replace(f"{folder / name}", name)
    return VideoError(folder, f"damaged: {name} cannot be decoded ({why})")


def _series(folder: Path) -> _Series:
    try:
        return _series_of(folder, folder.stat().st_mtime_ns)
    except PermissionError as error:
        raise VideoError(folder, "the folder cannot be opened: permission denied") from error


@lru_cache(_FOLDERS_KEPT)
def _series_of(folder: Path, modified: int) -> _Series:
    found = _all_series(entry.name for entry in os.scandir(folder))
    # Two-stream data keep flow beside the frames, as images too.
    pictures = {key: names for key, names in found.items() if not key[0].lower().startswith("flow")}
    if not pictures:
        raise VideoError(folder, "is a folder, not a video file, and holds no numbered images")
    if len(pictures) > 1:
        named = ", ".join(f"{names[min(names)]} …" for names in pictures.values())
        raise VideoError(folder, f"holds several series of numbered images ({named}): give each a folder of its own")
    (names,) = pictures.values()
    numbers = sorted(names)
    return _Series(tuple(names[number] for number in numbers), tuple(numbers))


def _all_series(names: Iterable[str]) -> dict[tuple[str, str], dict[int, str]]:
    """Numbered images by what stands before the number and the suffix, then by number."""
    found: defaultdict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for name in sorted(names):
        stem, _, suffix = name.rpartition(".")
        match = _NUMBERED.fullmatch(stem)
        if match and f".{suffix.lower()}" in IMAGE_SUFFIXES and not name.startswith("."):
            found[match[1], suffix].setdefault(int(match[2]), name)
    return found
