"""Pixel references: features any encoder should beat before it is called useful.

All frames of a video (the middle `LIMIT` of longer ones) are scaled to 20 x 20 and turned grey. Judged by the same
probes as encoders, they tell how much of a label can be read off the scene or off raw change alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.evaluation.extract import Extraction, FeatureTable, Progress, extract_all
from kinema.evaluation.reading import Wish, row_frames

SIDE = 20
LIMIT = 600
PATH_POINTS = 16
PIXELS = "pixels 1"
"""Name of the joined references in a feature cache."""
PIXEL_ARMS = ("pixels-mean-frame", "pixels-frame-difference", "pixels-motion-path")
PROPAGATION_ARMS = ("pixels-rgb", "pixels-grey", "pixels-identity")
"""References of label propagation: the pixels of each patch as its features, and the first labels as they are."""
REFERENCE_ARMS = (*PIXEL_ARMS, *PROPAGATION_ARMS)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601

Array = npt.NDArray[np.float32]


def mean_frame(grey: Array) -> Array:
    """The average of the frames [T, 20, 20], flattened: 400 numbers that know the scene and nothing of motion."""
    return np.asarray(grey.mean(0).ravel())


def frame_difference(grey: Array) -> Array:
    """The average absolute difference of consecutive frames, flattened: 400 numbers, where things move."""
    return np.asarray(_change(grey).mean(0).ravel())


def motion_path(grey: Array) -> Array:
    """The path of the centroid of motion, and how far motion spreads around it.

    At each step the absolute differences weigh the pixel positions: centroid (x, y), standard deviation along x and y,
    and the logarithm of the total. The five curves are interpolated at 16 equally spaced moments: 80 numbers. A still
    step keeps the curve in the middle of the picture.
    """
    change = _change(grey).astype(np.float64)
    total = change.sum((1, 2))
    centres = (np.arange(SIDE) + 0.5) / SIDE
    share = (change + 1e-6) / (change + 1e-6).sum((1, 2), keepdims=True)
    x, y = share.sum(1) @ centres, share.sum(2) @ centres
    spread_x = np.sqrt((share.sum(1) * (centres - x[:, None]) ** 2).sum(1))
    spread_y = np.sqrt((share.sum(2) * (centres - y[:, None]) ** 2).sum(1))
    moments = np.linspace(0, len(change) - 1, PATH_POINTS)
    curves = (x, y, spread_x, spread_y, np.log1p(total))
    return np.concatenate([np.interp(moments, np.arange(len(change)), curve) for curve in curves]).astype(np.float32)


class PixelReader:
    """Reads the three references of a row, joined: float32 [1, 880]."""

    def wish(self, manifest: Manifest, row: int) -> Wish:
        """All frames, or the middle ones of a long video."""
        inside = row_frames(manifest, row, None)
        skipped = max(0, (len(inside) - LIMIT) // 2)
        return Wish(inside[skipped : skipped + LIMIT], (SIDE, SIDE), _references, thumbnail=True)


def split_references(table: FeatureTable) -> dict[str, FeatureTable]:
    """The table of `PixelReader` as one table [N, 1, D] for each of `PIXEL_ARMS`."""
    parts = np.split(table.pooled, np.cumsum([SIDE * SIDE, SIDE * SIDE]), axis=2)
    return {
        name: FeatureTable(table.rows, part, {}, table.skipped, stageless=True)
        for name, part in zip(PIXEL_ARMS, parts, strict=True)
    }


def pixel_tables(
    manifest: Manifest, options: Extraction, *, progress: Progress | None = None
) -> dict[str, FeatureTable]:
    """A feature table [N, 1, D] for each of `PIXEL_ARMS`; only workers, cache and skip_broken of `options` matter.

    Raises:
        DataError: files cannot be read and `options.skip_broken` is not set.
    """
    taken = extract_all({}, manifest, [options], direct={PIXELS: PixelReader()}, progress=progress)
    return split_references(taken.direct[PIXELS])


def _references(frames: npt.NDArray[np.uint8]) -> Array:
    grey = frames.astype(np.float32) @ _GREY
    return np.concatenate([mean_frame(grey), frame_difference(grey), motion_path(grey)])[None]


def _change(grey: Array) -> Array:
    """[T - 1, 20, 20], one still step for a single frame."""
    return np.abs(np.diff(grey, axis=0)) if len(grey) > 1 else np.zeros((1, SIDE, SIDE), np.float32)
