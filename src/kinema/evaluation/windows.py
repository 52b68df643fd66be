"""Which frames the clips of a preset show: pure functions of (length, frames, stride).

`length` counts frames of the sampled rate; the result is int64 [clips, frames], indices that may run past the end of a
short video: `clip_indices` repeats the last frame there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kinema.data.sampling import even_starts, spread_over

IntArray = npt.NDArray[np.int64]
Windows = Callable[[int, int, int], IntArray]


def starting_at(starts: Callable[[int, int], npt.ArrayLike]) -> Windows:
    """Clips of consecutive strides that begin at `starts` (length, span); what lies before the video begins at 0."""

    def windows(length: int, frames: int, stride: int) -> IntArray:
        span = (frames - 1) * stride + 1
        # int() of the published codes cuts towards zero; short videos would start below it.
        first = np.maximum(0, np.asarray(starts(length, span))).astype(np.int64)
        return np.asarray(first[:, None] + stride * np.arange(frames))

    return windows


def uniform(clips: int) -> Windows:
    """VCOP, PRP, RSPNet: centres linspace(n / 2, L - n / 2)."""
    return starting_at(lambda length, span: np.linspace(span / 2, length - span / 2, clips) - span / 2)


def tsn(clips: int) -> Windows:
    """CtP: the middles of equal parts of the range of possible starts."""

    def starts(length: int, span: int) -> npt.NDArray[np.floating]:
        tick = (length - span + 1) / clips
        return tick / 2 + tick * np.arange(clips)

    return starting_at(starts)


def first_to_last(clips: int) -> Windows:
    """CVRL: starts linspace(0, L - n stride), cut to whole frames."""

    def windows(length: int, frames: int, stride: int) -> IntArray:
        starts = np.linspace(0, max(0, length - frames * stride), clips).astype(np.int64)
        return np.asarray(starts[:, None] + stride * np.arange(frames))

    return windows


def middle(length: int, frames: int, stride: int) -> IntArray:
    """One clip in the middle."""
    return starting_at(lambda count, span: [(count - span) // 2])(length, frames, stride)


def spread(clips: int) -> Windows:
    """MAE-ST: starts i floor((L - C) / (K - 1)), frames evenly on the C = n stride of a clip, both ends included."""

    def windows(length: int, frames: int, stride: int) -> IntArray:
        span = frames * stride
        return np.stack([spread_over(start, span, frames, length) for start in even_starts(length, span, clips)])

    return windows


def spread_at(share: float) -> Windows:
    """MAE-ST: one clip that starts at the given share of the room there is."""

    def windows(length: int, frames: int, stride: int) -> IntArray:
        span = frames * stride
        return spread_over(share * max(0, length - span), span, frames, length)[None]

    return windows


def dense(clips: int) -> Windows:
    """VideoMAE: clips out of the video thinned to every stride-th frame, starts k (m - n) / (S - 1) of those m."""

    def windows(length: int, frames: int, stride: int) -> IntArray:
        thinned = np.arange(0, length, stride)
        spare = max(0, len(thinned) - frames)
        starts = (np.arange(clips) * spare / max(1, clips - 1)).astype(np.int64)
        wanted = np.minimum(starts[:, None] + np.arange(frames), len(thinned) - 1)
        return np.asarray(thinned[wanted], np.int64)

    return windows


def interleaved(length: int, frames: int, stride: int) -> IntArray:
    """VideoMAE on Something-Something: two clips that span the whole video and take turns; the stride has no part.

    With tick = L / n: the frames int(tick / 2 + tick x) and int(tick x), x = 0 … n - 1, sorted together; the clips take
    every second one.
    """
    steps = length / frames * np.arange(frames)
    both = np.sort(np.concatenate([steps, steps + length / frames / 2]).astype(np.int64))
    return np.stack([both[0::2], both[1::2]])


def segments(clips: int) -> Windows:
    """V-JEPA: one clip in each of `clips` equal segments, spread over a window of n x stride frames.

    The frames are linspace(0, n stride) cut to the window, not exact strides. Where the windows do not fit, they
    overlap, evenly spaced; where not even one fits, its last frame is repeated. [design]: the official loader can draw
    the place of the window inside its segment; here it is the middle.
    """

    def windows(length: int, frames: int, stride: int) -> IntArray:
        window, part = frames * stride, length // clips
        if part > window:
            inside = np.minimum(np.linspace(0, window, frames), window - 1).astype(np.int64)
            return (part - window) // 2 + part * np.arange(clips)[:, None] + inside
        last = max(1, min(window, length) - 1)
        count = min(frames, last // stride)
        inside = np.concatenate([np.linspace(0, last, count), np.full(frames - count, last)])
        step = (length - window) // (clips - 1) if length > window and clips > 1 else 0
        return np.asarray(np.minimum(inside, last - 1).astype(np.int64) + step * np.arange(clips)[:, None])

    return windows


def sliding(length: int, frames: int, stride: int) -> IntArray:
    """Clips that overlap by half, from the first frame on, as many as fit, and at least one: 16 frames, 8 shared."""
    step = max(1, frames * stride // 2)
    return starting_at(lambda count, span: np.arange(0, max(0, count - span) + 1, step))(length, frames, stride)


def coclr(length: int, frames: int, stride: int) -> IntArray:
    """CoCLR: clips a little denser than half, starts n stride / 2 - 1 apart; a short video repeats its first frame."""
    window = frames * stride
    if length <= window:
        shown = np.arange(0, min(window, length), stride)
        return np.concatenate([np.zeros(frames - len(shown), np.int64), shown])[None]
    step = max(1, window // 2 - 1)
    return np.asarray(np.arange(0, length - window + 1, step)[:, None] + stride * np.arange(frames))
