"""`kinema flow`: optical flow computed once, in the 8-bit coding of the field or at half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from kinema.app.packing import store_to_screen
from kinema.data.packed import Finished, Settings
from kinema.errors import RecipeError
from kinema.video.flow import compute_flow


def flow_to_screen(
    source: Path,
    out: Path,
    *,
    preset: str = "dis-half",
    size: tuple[int, int] = (128, 171),
    stride: int = 1,
    rate: float | None = None,
    format: Literal["raw", "intra"] = "intra",
    bits: Literal[8, 16] = 8,
    workers: int = 0,
    budget: int | None = None,
    part: tuple[int, int] = (1, 1),
    dry_run: bool = False,
) -> Finished | None:
    """Compute the flow of every video from each frame to the one `stride` later and store it; see `store_to_screen`.

    Args:
        source: manifest, folder of videos, or a store of frames.
        out: folder of the store.
        preset: algorithm and effort.
        size: (height, width) at which the flow is computed.
        stride: distance of the two frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; None: each video's own.
        format: "intra" deflates every field alone, without loss; "raw" is read like memory and ten times as large.
        bits: 8 for the coding of the field, 16 for half precision, twice as large, on which labels do not differ.
        workers: processes.
        budget: bytes that it may take.
        part: share of the work of this machine.
        dry_run: print size and time only.

    Raises:
        RecipeError: an unknown preset, or frames too small for it. DataError: as `store_to_screen`.
    """
    try:
        compute_flow(np.zeros((2, *size, 3), np.uint8), preset)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    settings = Settings("flow", format, size, step=stride, rate=rate, preset=preset, bits=bits)
    return store_to_screen(source, out, settings, workers=workers, budget=budget, part=part, dry_run=dry_run)
