"""Which frames of a window make a clip, several clips, or a clip and what lies between its frames.

Positions count the frames of a window from 0 (`Index.frames` turns them into frames of the file).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from kinema.data.index import Index
from kinema.errors import DataError

Positions = npt.NDArray[np.int64]
Interval = Literal["decreasing", "uniform", "zero"]


def clip_span(frames: int, stride: int = 1) -> int:
    """Frames from a clip's first to its last, both counted."""
    return (frames - 1) * stride + 1


def draw_start(rng: np.random.Generator, total: int, span: int) -> int:
    """The first position of `span` frames in a window of `total`, uniform over all that fit; 0 where none does."""
    return int(rng.integers(max(0, total - span) + 1))


def clip_positions(start: int, frames: int, stride: int = 1) -> Positions:
    """One clip: int64 [frames], `stride` apart."""
    return start + np.arange(frames) * stride


def interval_at(share: float, room: int, *, law: Interval = "decreasing", power: float = 1.0) -> int:
    """The distance between two clips' starts at which the distribution function reaches `share`, rounded down.

    "decreasing": F(k) = k (p + 1) / (p M) - k^(p + 1) / (p M^(p + 1)) on [0, M], whose density falls as 1 - (k / M)^p;
    linearly for p = 1 (Qian et al., CVPR 2021), when F^-1(u) = M (1 - sqrt(1 - u)). "uniform": F(k) = k / M. "zero":
    none.

    Args:
        share: u in [0, 1).
        room: M, the number of starts that a clip can have.
        law: which distribution.
        power: p of "decreasing", above 0.
    """
    if law == "zero":
        return 0
    if law == "uniform":
        return int(share * room)

    def reached(distance: int) -> float:
        part = distance / room
        return part * (power + 1) / power - math.pow(part, power + 1) / power

    return bisect_right(range(room), share, key=reached) - 1


def pair_starts(
    rng: np.random.Generator, total: int, span: int, *, law: Interval = "decreasing", power: float = 1.0
) -> tuple[int, int]:
    """First positions of two clips of `span` frames in a window of `total`; either may be the earlier one.

    Their distance is drawn by `interval_at`, then the earlier start uniformly among those that leave room for the
    other. In a window shorter than a clip both are drawn uniformly from all of it (the same one for "zero"): such clips
    wrap around.
    """
    room = total - span + 1
    if room < 1:
        first, second = (int(start) for start in rng.integers(total, size=2))
        return first, first if law == "zero" else second
    distance = interval_at(rng.random(), room, law=law, power=power)
    first = int(rng.integers(room - distance))
    second = first + distance
    return (second, first) if rng.random() < 0.5 else (first, second)


def tuple_positions(start: int, clips: int, frames: int, *, stride: int = 1, interval: int = 0) -> Positions:
    """Consecutive clips with `interval` frames left out between them: int64 [clips, frames], in temporal order."""
    step = clip_span(frames, stride) + interval
    starts: Positions = start + np.arange(clips) * step
    return starts[:, None] + np.arange(frames) * stride


def tuple_span(clips: int, frames: int, *, stride: int = 1, interval: int = 0) -> int:
    """Frames that `tuple_positions` needs."""
    return clips * clip_span(frames, stride) + (clips - 1) * interval


def spread_positions(total: int, clips: int, frames: int, *, stride: int = 1) -> Positions:
    """Clips whose starts are evenly spread over a window of `total` frames, overlapping where they must.

    A window shorter than a clip repeats its last frame. int64 [clips, frames].
    """
    starts = np.linspace(0, max(0, total - clip_span(frames, stride)), clips).round().astype(np.int64)
    positions: Positions = np.minimum(starts[:, None] + np.arange(frames) * stride, total - 1)
    return positions


def slow_motion_positions(start: int, frames: int, dilation: int) -> Positions:
    """A clip of `frames` frames, `dilation` apart, with the frames halfway between them: int64 [2 frames].

    Every second one, from the first, is the clip. Where nothing lies between (dilation 1), its frames stand twice.

    Raises:
        ValueError: an odd dilation other than 1.
    """
    if dilation != 1 and dilation % 2:
        raise ValueError(f"no frame lies halfway between frames that are {dilation} apart")
    return start + np.arange(2 * frames) * dilation // 2


def block_positions(start: int, frames: int, blocks: int, places: Sequence[int]) -> Positions:
    """The frames `places` of each of `blocks` consecutive blocks of `frames` frames: int64 [blocks, len(places)]."""
    firsts: Positions = start + np.arange(blocks)[:, None] * frames
    return firsts + np.asarray(places, np.int64)


def long_enough(index: Index, frames: int, *, rate: float | None = None) -> Index:
    """The samples whose windows hold at least `frames` frames at `rate`; `short` counts the others.

    Raises:
        DataError: none does.
    """
    lengths = np.array([len(index.frames(i, rate=rate)) for i in range(len(index))], np.int64)
    kept = np.flatnonzero(lengths >= frames)
    if not len(kept):
        raise DataError(
            f"no video has the {frames} frames that one sample needs (the longest has {lengths.max()}): "
            "lower frames, stride or the method's own spans, or give longer videos"
        )
    return replace(index.take(kept), short=index.short + len(index) - len(kept))


def spread_over(start: float, span: float, frames: int, total: int) -> Positions:
    """`frames` positions evenly from `start` to `start + span - 1`, both included, cut to whole numbers (MAE-ST).

    They stay inside a window of `total` frames: what runs past its end repeats the last one. int64 [frames].
    """
    positions = np.linspace(start, start + span - 1, frames)
    return np.clip(positions, 0, max(0, total - 1)).astype(np.int64)


def even_starts(total: int, span: int, clips: int) -> Positions:
    """Starts i floor((V - C) / (K - 1)) of K test clips of C frames out of V, floor((V - C) / 2) of one (MAE-ST).

    A window shorter than a clip starts at 0. int64 [clips].
    """
    room = max(0, total - span)
    return np.arange(clips) * (room // (clips - 1)) if clips > 1 else np.array([room // 2])
