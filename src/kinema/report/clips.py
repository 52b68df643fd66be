"""Short moving pictures inside the page: frames to animated WebP to a data URI."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinema.report.markup import Markup, tag

if TYPE_CHECKING:
    from kinema.data.manifest import Manifest

FRAMES = 16
_LONGEST = 4.0  # seconds of one clip; of longer rows the middle is shown
_AREA = 112 * 144
_FORMATS = {"WEBP": "image/webp", "PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif"}


@dataclass(frozen=True)
class Picture:
    """An encoded picture. `data` are the bytes of the file, `kind` its media type, `moving` whether it plays."""

    data: bytes
    kind: str
    width: int
    height: int
    moving: bool

    @property
    def cost(self) -> int:
        """Characters that the picture takes in the page."""
        return 4 * ((len(self.data) + 2) // 3)

    def markup(self, description: str) -> Markup:
        """An <img> that holds the picture itself; `description` is read out in its place."""
        uri = f"data:{self.kind};base64,{base64.b64encode(self.data).decode()}"
        mark = "clip" if self.moving else None
        return tag("img", src=uri, alt=description, width=self.width, height=self.height, class_=mark)


@dataclass
class Budget:
    """Characters that pictures may still take; what does not fit is counted, so that the page can say so."""

    left: int
    refused: list[str] = field(default_factory=list)

    def take(self, picture: Picture, name: str) -> bool:
        """Whether `picture` still fits; takes its cost when it does."""
        if picture.cost > self.left:
            self.refused.append(name)
            return False
        self.left -= picture.cost
        return True


def encode_clip(frames: npt.NDArray[np.uint8], *, rate: float, quality: int = 45) -> Picture:
    """Animated WebP that loops for ever.

    Args:
        frames: uint8 RGB [T, H, W, 3], T ≥ 1.
        rate: frames per second, at most 50 (browsers slow down what is faster).
        quality: 0 to 100, of the lossy coding.
    """
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    duration = max(20, round(1000 / rate))
    images[0].save(
        buffer, "WEBP", save_all=True, append_images=images[1:], duration=duration, loop=0, quality=quality, method=4
    )
    return Picture(buffer.getvalue(), "image/webp", frames.shape[2], frames.shape[1], len(images) > 1)


def picture_of(data: bytes) -> Picture:
    """Recognise a picture by its content, not by its name.

    Raises:
        ValueError: neither WebP, PNG, JPEG nor GIF.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=list(_FORMATS)) as image:
            frames = getattr(image, "n_frames", 1)
            return Picture(data, _FORMATS[str(image.format)], image.width, image.height, frames > 1)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError("not a WebP, PNG, JPEG or GIF picture") from error


def row_clip(manifest: Manifest, row: int) -> Picture:
    """The middle of a manifest row (at most four seconds) as 16 evenly spaced small frames, played in real time.

    Raises:
        VideoError: the file is missing or cannot be read.
    """
    from kinema.data.packed import read_row

    video = manifest.video(row)
    start, end = manifest.bounds(row)
    length = min(end - start, _LONGEST)
    begin = (start + end - length) / 2
    seconds = begin + (np.arange(FRAMES) + 0.5) * length / FRAMES
    indices = np.unique(video.frame_at(seconds))
    shrink = min(1.0, (_AREA / (video.width * video.height)) ** 0.5)
    size = (max(1, round(video.height * shrink)), max(1, round(video.width * shrink)))
    rate = len(indices) / length if length > 0 else 1.0
    return encode_clip(read_row(manifest, row, indices, size, thumbnail=True), rate=rate)
