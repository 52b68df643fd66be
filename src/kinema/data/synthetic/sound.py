"""Sound that belongs to what is seen: a tone at every event, its pitch that of the object."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SOUND_RATE = 16_000
"""Samples per second."""

FINE = 0.001
"""Seconds between the moments at which worlds look for events."""

_DECAY = 0.04  # seconds
_LENGTH = 0.25  # seconds of one sound
_HISS = 0.002  # of the loudest value


class Sound(NamedTuple):
    """One event that is heard.

    Attributes:
        time: seconds after the first frame.
        object: number of the object that makes it, from 1.
        pitch: Hz.
        kind: "tone", or "step": a duller thud, as of a foot.
    """

    time: float
    object: int
    pitch: float
    kind: str = "tone"


def pitch_of(identity: int) -> float:
    """The pitch of an identity: a quarter of an octave apart, from 300 Hz, beginning again after 16 of them."""
    return 300.0 * 2 ** (identity % 16 / 4)


def fine_times(duration: float) -> npt.NDArray[np.float64]:
    """Moments from 0 to `duration` (seconds), `FINE` apart."""
    return np.arange(max(2, math.ceil(duration / FINE)), dtype=np.float64) * FINE


def waveform(sounds: Iterable[Sound], duration: float, rng: np.random.Generator) -> Floats:
    """Mono samples in [-1, 1] at `SOUND_RATE`, over a faint hiss."""
    samples = rng.standard_normal(math.ceil(duration * SOUND_RATE), np.float32) * np.float32(_HISS)
    t = np.arange(int(_LENGTH * SOUND_RATE)) / SOUND_RATE
    for sound in sounds:
        start = round(sound.time * SOUND_RATE)
        wave = np.sin(2 * math.pi * sound.pitch * t)
        if sound.kind == "step":
            wave = 0.5 * wave + 0.5 * np.sin(2 * math.pi * 90 * t)
        # Begins at once and fades: an onset that can be found to the millisecond.
        tone = 0.4 * wave * np.exp(-t / _DECAY) * np.minimum(1, t / 0.001)
        end = min(start + len(t), len(samples))
        samples[start:end] += tone[: end - start].astype(np.float32)
    return np.asarray(np.clip(samples, -1, 1), np.float32)
