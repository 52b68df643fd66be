"""How one picture of a store becomes bytes and comes back."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kinema.data.packed.layout import Layout

Picture = npt.NDArray[Any]


def encode(picture: Picture, layout: Layout) -> bytes:
    """Code one picture [channels, height, width] alone: frames as JPEG, flow deflated without loss."""
    if layout.format == "raw":
        return picture.tobytes()
    if layout.kind == "flow":
        return zlib.compress(picture.tobytes(), 1)
    bgr = np.ascontiguousarray(picture[::-1].transpose(1, 2, 0))
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, layout.quality])[1])


def decode(data: Picture, layout: Layout) -> Picture:
    """Inverse of `encode` for format "intra": [channels, height, width].

    Raises:
        ValueError: the bytes are damaged.
    """
    if layout.kind == "flow":
        try:
            return np.frombuffer(zlib.decompress(data.data), layout.dtype).reshape(layout.shape)
        except zlib.error as error:
            raise ValueError(str(error)) from error
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if bgr is None or bgr.shape != (*layout.shape[1:], 3):
        raise ValueError("no JPEG of the store's size")
    return np.asarray(bgr, np.uint8)[..., ::-1].transpose(2, 0, 1)


def checksum(data: bytes | memoryview) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
