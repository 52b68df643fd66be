"""The classes of a synthetic world: eight ways to move, and where they take a body.

In every class and at every moment, position, angle and size of the body are spread alike (given the uniform draws of
start, direction, turn, angle and phase): a single frame holds no trace of the class, only a sequence does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MARGIN = 0.15
"""Bodies turn back at this share of the width and height from the borders of the frame."""


@dataclass(frozen=True)
class Body:
    """One object and how it moves.

    Attributes:
        motion: its class, one of `MOTIONS`.
        shape: outline, one of `kinema.data.synthetic.shapes.SHAPES`.
        radius: pixels from the centre to the farthest corner, at scale 1.
        start: (x, y) of its centre in the first frame, pixels.
        angle: radians, its attitude in the first frame.
        speed: pixels per second, averaged over a period: of the centre, or of the rim of a body that stays in place.
        direction: radians in image axes (y down): where it heads, or the line along which it swings.
        turn: 1 or -1, the sense of circles and spins.
        period: seconds.
        phase: share of a period that has passed in the first frame, [0, 1).
    """

    motion: str
    shape: str
    radius: float
    start: tuple[float, float]
    angle: float
    speed: float
    direction: float
    turn: int
    period: float
    phase: float


class Poses(NamedTuple):
    """Attitude of a body over time: centre [T, 2] (x, y) in pixels, angle [T] in radians, scale [T] of its radius."""

    centre: Floats
    angle: Floats
    scale: Floats


class _Change(NamedTuple):
    """What a motion does: path [T] along and across the direction in pixels, turn in radians, swelling in [-1, 1]."""

    along: Floats | float = 0.0
    across: Floats | float = 0.0
    turn: Floats | float = 0.0
    swell: Floats | None = None


Motion = Callable[[Body, Floats], _Change]


def _translate(body: Body, t: Floats) -> _Change:
    """Straight on."""
    return _Change(along=body.speed * t)


def _oscillate(body: Body, t: Floats) -> _Change:
    """To and fro on a line."""
    return _Change(along=body.speed * body.period / 4 * _sine(body, t))


def _orbit(body: Body, t: Floats) -> _Change:
    """Round in a circle, without turning itself."""
    radius = body.speed * body.period / (2 * math.pi)
    return _Change(along=radius * _sine(body, t + body.period / 4), across=radius * body.turn * _sine(body, t))


def _zigzag(body: Body, t: Floats) -> _Change:
    """On, by a right-angled turn twice a period."""
    wave = np.abs((t / body.period + body.phase) % 1 - 0.5) * 2 * body.period / 2
    return _Change(along=body.speed * t / math.sqrt(2), across=body.turn * body.speed / math.sqrt(2) * wave * 2)


def _stop_and_go(body: Body, t: Floats) -> _Change:
    """On at twice the speed for half of each period, at rest for the other half."""
    periods, part = np.divmod(t / body.period + body.phase, 1)
    return _Change(along=body.speed * body.period * (periods + np.minimum(2 * part, 1)))


def _rotate(body: Body, t: Floats) -> _Change:
    """Spinning in place."""
    return _Change(turn=body.turn * body.speed / body.radius * t)


def _rock(body: Body, t: Floats) -> _Change:
    """Turning to and fro in place."""
    return _Change(turn=body.speed * body.period / (4 * body.radius) * _sine(body, t))


def _pulse(body: Body, t: Floats) -> _Change:
    """Growing and shrinking in place."""
    return _Change(swell=_sine(body, t))


_MOTIONS: dict[str, Motion] = {
    "translate": _translate,
    "oscillate": _oscillate,
    "orbit": _orbit,
    "zigzag": _zigzag,
    "stop_and_go": _stop_and_go,
    "rotate": _rotate,
    "rock": _rock,
    "pulse": _pulse,
}

MOTIONS: tuple[str, ...] = tuple(_MOTIONS)
"""Names of all motions."""


def trajectory(body: Body, times: Floats, size: tuple[int, int], camera: tuple[float, float] = (0.0, 0.0)) -> Poses:
    """The poses of `body` at `times` (seconds) in frames of `size` (height, width).

    The path is relative to the scenery, which a camera moving by `camera` pixels per second leaves behind; the body is
    reflected where it comes within `MARGIN` of a border. Reflection keeps a uniform start uniform at all times.
    """
    change = _MOTIONS[body.motion](body, times)
    cos, sin = math.cos(body.direction), math.sin(body.direction)
    along, across = (np.broadcast_to(path - np.ravel(path)[0], times.shape) for path in (change.along, change.across))
    x = body.start[0] + along * cos - across * sin - camera[0] * times
    y = body.start[1] + along * sin + across * cos - camera[1] * times
    centre = np.stack([_reflect(x, size[1]), _reflect(y, size[0])], axis=1)
    # Bodies that keep their size keep the one of a moment of the pulse, so that sizes are spread alike.
    swell = np.full(times.shape, math.sin(2 * math.pi * body.phase)) if change.swell is None else change.swell
    amplitude = body.speed * body.period / (4 * body.radius)
    return Poses(centre, np.broadcast_to(body.angle + change.turn, times.shape), 1 + amplitude * swell)


def _sine(body: Body, t: Floats) -> Floats:
    return np.sin(2 * math.pi * (t / body.period + body.phase))


def _reflect(value: Floats, length: int) -> Floats:
    """Fold a free path into the allowed span, as light between two mirrors."""
    low, span = MARGIN * length, (1 - 2 * MARGIN) * length
    return low + span - np.abs((value - low) % (2 * span) - span)
