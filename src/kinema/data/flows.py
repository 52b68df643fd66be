"""Flow that a manifest brings along in its column `flow`: a store of `kinema flow`, folders of flow images, or arrays.

An array is a `.npy` file, uint8 [T - 1, 2, height, width] in the coding of `kinema.video.flow`, one field for each pair
of consecutive frames of the video: what `kinema synth --truth` writes as `true_flow`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.packed import is_store, open_store
from kinema.data.packed.planning import find_fields, grid
from kinema.data.packed.rows import Pointer, pointer
from kinema.errors import DataError, VideoError
from kinema.video.flow_images import read_flow_images, resize_fields

Indices = npt.NDArray[np.int64]
Fields = npt.NDArray[Any]

_STILL = 128
"""What `encode_flow` makes of no motion."""


def stored_flow(manifest: Manifest, row: int, frames: Indices, size: tuple[int, int]) -> Fields | None:
    """Flow between consecutive `frames` of a row, from its column `flow`; None where the row has none.

    A frame that follows itself has no motion. Any other pair must be one that is stored: a field leads from a frame to
    the next one (of a store: over `step` frames of its rate), and fields are never added up, nor computed here, which
    would mix two kinds of labels.

    Args:
        manifest: the table.
        row: number of the row.
        frames: int64 [T], of the video as the manifest describes it.
        size: (height, width); stored fields of another size are scaled in their coding, values kept.

    Returns:
        [2, T - 1, height, width], uint8 in the coding of `kinema.video.flow`, or float16 where the store holds that;
        possibly a read-only view.

    Raises:
        DataError: a pair of frames whose flow is not stored.
        VideoError: the flow cannot be read.
    """
    stored = pointer(manifest, row, "flow")
    if stored is None:
        return None
    moving = frames[1:] != frames[:-1]
    fields = _fields(manifest, stored, frames[:-1][moving], frames[1:][moving], size)
    if not moving.all():
        still = np.full((len(moving), 2, *size), _STILL if fields.dtype == np.uint8 else 0, fields.dtype)
        still[moving] = fields
        fields = still
    return fields.transpose(1, 0, 2, 3)


def _fields(manifest: Manifest, stored: Pointer, now: Indices, following: Indices, size: tuple[int, int]) -> Fields:
    path = stored.path
    if not _is_store(path):
        _check_pairs(stored, following == now + 1, (now, following), "1 frame")
        return _array(path, now, size) if path.suffix == ".npy" else read_flow_images(path, now, size)
    store = open_store(path)
    step, rate = store.layout.step, store.layout.rate
    if not len(now):
        return np.zeros((0, 2, *size), store.layout.dtype)
    if rate is None:
        place, there = now, following == now + step
    else:
        place, there = find_fields(grid(manifest.video(stored.row), rate), step, now, following)
    over = f"{step} frame{'s' * (step > 1)}" + (f" at {rate:g} frames per second" if rate else "")
    _check_pairs(stored, there, (now, following), over)
    return resize_fields(store.read(stored.numbers(place)), size)


def _array(path: Path, now: Indices, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    try:
        fields = np.load(path, mmap_mode="r", allow_pickle=False)[now]
    except (OSError, ValueError, IndexError) as error:
        raise VideoError(path, f"no flow of these frames can be read: {error}") from error
    if fields.ndim != 4 or fields.shape[1] != 2 or fields.dtype != np.uint8:
        raise VideoError(path, f"must be uint8 [T - 1, 2, height, width], is {fields.dtype} {list(fields.shape)}")
    return resize_fields(fields, size)


def _check_pairs(stored: Pointer, there: npt.NDArray[np.bool_], pairs: tuple[Indices, Indices], over: str) -> None:
    if there.all():
        return
    first = int(np.flatnonzero(~there)[0])
    raise DataError(
        f"row {stored.row}: the flow from frame {pairs[0][first]} to {pairs[1][first]} is wanted, but what "
        f"{stored.path} holds leads over {over}: choose stride and rate alike, compute it with kinema flow --stride "
        "and --rate, or remove the column 'flow' to have it computed while training"
    )


@lru_cache(4096)
def _is_store(path: Path) -> bool:
    return is_store(path)
