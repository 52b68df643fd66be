"""How the camera of a synthetic world moves: where it is, and what an accelerometer on it would measure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.randomness import numpy_generator

Floats = npt.NDArray[np.float64]

GRAVITY = 9.81
"""m/s²; a camera at rest measures it upwards."""

IMU_RATE = 200.0
"""Samples per second of the accelerometer."""

IMU_HEADER = "t_seconds,a0_m_s2,a1_m_s2,a2_m_s2"
"""Columns of an accelerometer's table: seconds on the clock of the video; right, down and forward in m/s²."""


class Swing(NamedTuple):
    """One sinusoid of a camera's path: (x, y) amplitude in pixels, frequency in Hz, phase in cycles."""

    amplitude: tuple[float, float]
    frequency: float
    phase: float


@dataclass(frozen=True)
class Camera:
    """A camera that slides parallel to the scenery; what it sees moves the opposite way.

    Attributes:
        motion: its class, one of `CAMERA_MOTIONS`.
        drift: (x, y), constant velocity in pixels per second.
        swings: sinusoids on top of it.
    """

    motion: str = "drift"
    drift: tuple[float, float] = (0.0, 0.0)
    swings: tuple[Swing, ...] = ()

    def path(self, times: Floats) -> Floats:
        """Where it is at `times` (seconds): [T, 2] pixels (x, y), 0 at time 0."""
        path = np.stack([self.drift[0] * times, self.drift[1] * times], axis=1)
        for amplitude, frequency, phase in self.swings:
            wave = np.sin(2 * math.pi * (frequency * times + phase)) - math.sin(2 * math.pi * phase)
            path += wave[:, None] * np.array(amplitude)
        return path

    def acceleration(self, times: Floats) -> Floats:
        """Second derivative of `path`, [T, 2] pixels per second²."""
        total = np.zeros((len(times), 2))
        for amplitude, frequency, phase in self.swings:
            wave = -((2 * math.pi * frequency) ** 2) * np.sin(2 * math.pi * (frequency * times + phase))
            total += wave[:, None] * np.array(amplitude)
        return total


def accelerometer(camera: Camera, times: Floats, metre: float) -> Floats:
    """What an accelerometer on the camera measures: [T, 3] m/s² along right, down and forward.

    An accelerometer measures specific force, that is acceleration minus gravity: -9.81 along "down" at rest.

    Args:
        camera: whose motion.
        times: seconds.
        metre: pixels that stand for one metre.
    """
    moving = camera.acceleration(times) / metre
    return np.column_stack([moving[:, 0], moving[:, 1] - GRAVITY, np.zeros(len(times))])


def draw_camera(motion: str, drift: tuple[float, float], unit: float, *key: int | str) -> Camera:
    """A camera of a class: its drift as given, its swings drawn from `key`; `unit` is the frame's shorter side."""
    return Camera(motion, drift, _SWINGS[motion](numpy_generator(*key, "camera"), unit))


def _no_swings(rng: np.random.Generator, unit: float) -> tuple[Swing, ...]:
    """Sliding evenly: nothing that an accelerometer feels."""
    return ()


def _walk(rng: np.random.Generator, unit: float) -> tuple[Swing, ...]:
    """Bobbing at every step, swaying at every other one."""
    step, size = rng.uniform(1.7, 2.2), unit * rng.uniform(0.8, 1.2)
    bob = Swing((0.0, 0.02 * size), step, rng.random())
    return bob, Swing((0.02 * size, 0.0), step / 2, rng.random())


def _sweep(rng: np.random.Generator, unit: float) -> tuple[Swing, ...]:
    """Looking slowly from side to side."""
    return (Swing((0.1 * unit * rng.uniform(0.8, 1.2), 0.0), rng.uniform(0.4, 0.7), rng.random()),)


def _tremble(rng: np.random.Generator, unit: float) -> tuple[Swing, ...]:
    """Shaking fast in both directions."""
    return tuple(
        Swing((axis[0] * 0.01 * unit, axis[1] * 0.01 * unit), rng.uniform(4, 6), rng.random())
        for axis in ((1.0, 0.0), (0.0, 1.0))
    )


_SWINGS: dict[str, Callable[[np.random.Generator, float], tuple[Swing, ...]]] = {
    "drift": _no_swings,
    "walk": _walk,
    "sweep": _sweep,
    "tremble": _tremble,
}

CAMERA_MOTIONS: tuple[str, ...] = tuple(_SWINGS)
"""Names of all ways in which a camera can move."""
