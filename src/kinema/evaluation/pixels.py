"""Pixel references: features any encoder should beat before it is called useful.

All frames of a video (the middle `LIMIT` of longer ones) are scaled to 20 x 20 and turned grey. Judged by the same
probes as encoders, they tell how much of a label can be read off the scene or off raw change alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.packed import read_row
from kinema.evaluation.extract import Extraction, FeatureTable, Progress
from kinema.evaluation.reading import RowRead, read_rows, refuse, row_frames
from kinema.training.files import write_atomic

SIDE = 20
LIMIT = 600
PATH_POINTS = 16
PIXEL_ARMS = ("pixels-mean-frame", "pixels-frame-difference", "pixels-motion-path")
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601
_VERSION = "pixels 1"

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


def read_pixels(manifest: Manifest, row: int) -> Array:
    """The three references of one row, joined: float32 [880]."""
    inside = row_frames(manifest, row, None)
    skipped = max(0, (len(inside) - LIMIT) // 2)
    frames = read_row(manifest, row, inside[skipped : skipped + LIMIT], (SIDE, SIDE), thumbnail=True)
    grey = frames.astype(np.float32) @ _GREY
    return np.concatenate([mean_frame(grey), frame_difference(grey), motion_path(grey)])


def pixel_tables(
    manifest: Manifest, options: Extraction, *, progress: Progress | None = None
) -> dict[str, FeatureTable]:
    """A feature table [N, 1, D] for each of `PIXEL_ARMS`; only workers, cache and skip_broken of `options` matter.

    Raises:
        DataError: files cannot be read and `options.skip_broken` is not set.
    """
    joined = _cached(manifest, options, progress)
    if not options.skip_broken:
        refuse(joined.skipped, len(manifest))
    ends = np.cumsum([SIDE * SIDE, SIDE * SIDE])
    parts = np.split(joined.pooled, ends, axis=2)
    return {
        name: FeatureTable(joined.rows, part, {"map": part}, joined.skipped)
        for name, part in zip(PIXEL_ARMS, parts, strict=True)
    }


def _cached(manifest: Manifest, options: Extraction, progress: Progress | None) -> FeatureTable:
    if options.cache is None:
        return _read(manifest, options.workers, progress)
    key = f"{_VERSION} {manifest.digest()} {manifest.root.resolve()}"
    place = Path(options.cache) / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.npz"
    if not place.exists():
        write_atomic(place, _read(manifest, options.workers, progress).pack())
    return FeatureTable.unpack(place)


def _read(manifest: Manifest, workers: int, progress: Progress | None) -> FeatureTable:
    rows: list[int] = []
    values: list[Array] = []
    skipped: list[RowRead] = []
    for done, read in enumerate(read_rows(manifest, range(len(manifest)), read_pixels, workers=workers), 1):
        if read.values is None:
            skipped.append(read)
        else:
            rows.append(read.row)
            values.append(read.values.numpy())
        if progress is not None:
            progress(done, len(manifest))
    pooled = np.stack(values)[:, None] if values else np.zeros((0, 1, 0), np.float32)
    return FeatureTable(np.array(rows, np.int64), pooled, skipped=tuple(skipped))


def _change(grey: Array) -> Array:
    """[T - 1, 20, 20], one still step for a single frame."""
    return np.abs(np.diff(grey, axis=0)) if len(grey) > 1 else np.zeros((1, SIDE, SIDE), np.float32)
