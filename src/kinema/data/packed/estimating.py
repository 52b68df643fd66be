"""What a store will cost, measured on a few of its videos."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from kinema.data.manifest import Manifest
from kinema.data.packed.coding import encode
from kinema.data.packed.layout import Layout
from kinema.data.packed.planning import Piece, Plan
from kinema.data.packed.sources import pictures
from kinema.errors import VideoError

_VIDEOS, _PICTURES = 6, 64
_INDEX_BYTES = 16
_HEAD_BYTES = 128  # of a .npy file


class Estimate(NamedTuple):
    """Cost of a store.

    Attributes:
        bytes: of all data and index files.
        exact: the size is computed, not measured on a sample.
        picture_seconds: of one process for one picture, decoding included; NaN when no sampled video could be read.
    """

    bytes: int
    exact: bool
    picture_seconds: float


def estimate(manifest: Manifest, plan: Plan, layout: Layout) -> Estimate:
    """Read and code up to 64 pictures from the middle of up to 6 videos, evenly spread over the plan."""
    filled = np.flatnonzero(plan.stops > plan.firsts)
    chosen = filled[np.linspace(0, len(filled) - 1, min(_VIDEOS, len(filled))).astype(int)]
    samples = [_sample(manifest, _middle(plan, int(entry)), layout) for entry in chosen]
    count, coded, seconds = (sum(values) for values in zip(*samples, strict=True))
    index = layout.pictures * _INDEX_BYTES + layout.files * _HEAD_BYTES
    if layout.format == "raw":
        size = layout.pictures * layout.picture_bytes + layout.files * _HEAD_BYTES
    else:
        size = round(layout.pictures * coded / count) if count else layout.pictures * layout.picture_bytes
    return Estimate(size + index, layout.format == "raw", seconds / count if count else float("nan"))


def _middle(plan: Plan, entry: int) -> Piece:
    first, stop = int(plan.firsts[entry]), int(plan.stops[entry])
    start = max(first, (first + stop - _PICTURES) // 2)
    return Piece(entry, int(plan.rows[entry]), start, min(start + _PICTURES, stop))


def _sample(manifest: Manifest, piece: Piece, layout: Layout) -> tuple[int, int, float]:
    """Pictures, their coded bytes, and seconds; nothing of a video that cannot be read."""
    start = time.perf_counter()
    try:
        sizes = [len(encode(picture, layout)) for chunk in pictures(manifest, piece, layout) for picture in chunk]
    except VideoError:
        return 0, 0, 0.0
    return len(sizes), sum(sizes), time.perf_counter() - start
