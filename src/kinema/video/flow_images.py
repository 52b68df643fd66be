"""Flow that others computed: folders of grey images in the 8-bit coding, one tree for u and one for v.

The layout is that of the public TV-L1 flow of UCF101 (Feichtenhofer et al., "Convolutional Two-Stream Network Fusion
for Video Action Recognition", CVPR 2016): ROOT/u/VIDEO/frame000001.jpg and ROOT/v/VIDEO/frame000001.jpg, numbered from
1; image i leads from frame i to frame i + 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kinema.errors import DataError, VideoError

Codes = npt.NDArray[np.uint8]


def flow_folders(path: Path) -> tuple[Path, Path]:
    """The folders of u and v that a path stands for: ROOT/u/VIDEO, or a folder with the subfolders u and v.

    Raises:
        DataError: neither.
    """
    if (path / "u").is_dir() and (path / "v").is_dir():
        return path / "u", path / "v"
    parts = list(path.parts)
    if "u" in parts:
        last = len(parts) - 1 - parts[::-1].index("u")
        beside = Path(*parts[:last], "v", *parts[last + 1 :])
        if path.is_dir() and beside.is_dir():
            return path, beside
    raise DataError(
        f"{path} is no flow: neither a store of kinema flow, nor a folder with subfolders u and v, nor the u half of "
        "ROOT/u/VIDEO and ROOT/v/VIDEO"
    )


def read_flow_images(path: Path, frames: npt.ArrayLike, size: tuple[int, int] | None = None) -> Codes:
    """Flow from each of these frames to the next frame of the video, as coded.

    Args:
        path: a folder as `flow_folders` takes it.
        frames: indices from 0; frame i is read from the images number i + 1.
        size: (height, width); images of another size are scaled bilinearly in their coding, so that the flow's values
            stay what they were (as the released STS and MAS code does). None keeps the stored size.

    Returns:
        uint8 [len(frames), 2, height, width] in the coding of `kinema.video.flow`.

    Raises:
        DataError: no flow folder. VideoError: an image is missing or cannot be read.
    """
    folders = flow_folders(path)
    fields = [[_read(folder / f"frame{i + 1:06d}.jpg") for folder in folders] for i in np.asarray(frames).tolist()]
    if not fields:
        return np.zeros((0, 2, *(size or (0, 0))), np.uint8)
    return resize_fields(np.array(fields), size)


def resize_fields(codes: npt.NDArray[Any], size: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Scale flow [F, 2, H, W], coded or float16, to (height, width), bilinearly, values kept; same type."""
    if size is None or codes.shape[2:] == size:
        return codes
    if codes.dtype == np.float16:  # which OpenCV does not scale
        return resize_fields(codes.astype(np.float32), size).astype(np.float16)
    planes = [
        cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in codes.reshape(-1, *codes.shape[2:])
    ]
    return np.array(planes, codes.dtype).reshape(-1, 2, *size)


def _read(path: Path) -> Codes:
    try:
        grey = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error) as error:
        raise VideoError(path, "no such flow image" if isinstance(error, OSError) else "an empty flow image") from error
    if grey is None:
        raise VideoError(path, "this flow image cannot be decoded")
    return np.asarray(grey, np.uint8)
