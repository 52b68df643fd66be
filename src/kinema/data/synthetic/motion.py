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
        then: the motion that follows at time `switch` (seconds); None: the first one goes on.
        switch: when it follows.
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
    then: str | None = None
    switch: float = math.inf

    @property
    def swelling(self) -> float:
        """Largest change of the scale from 1, as share of the radius."""
        return self.speed * self.period / (4 * self.radius)


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


_MARKS: dict[str, tuple[float, ...]] = {
    "oscillate": (0.25, 0.75),
    "orbit": (0.0,),
    "zigzag": (0.0, 0.5),
    "stop_and_go": (0.0, 0.5),
    "rock": (0.25, 0.75),
    "pulse": (0.25, 0.75),
}
"""Moments of a period at which a motion turns round, stops, starts or completes a round."""


def trajectory(body: Body, times: Floats, size: tuple[int, int], camera: Floats, *, wrap: bool = False) -> Poses:
    """The poses of `body` at `times` (seconds, the first of them 0) in frames of `size` (height, width).

    The path is relative to the scenery, which the camera at `camera` [T, 2] (pixels) leaves behind. The body is
    reflected where it comes within `MARGIN` of a border; with `wrap` it goes on over the border, and is to be shown
    again at the opposite one. Either keeps a uniform start uniform at all times.
    """
    change = _change(body, times)
    x, y = _path(body, times, camera, change)
    centre = np.stack([x, y] if wrap else [_reflect(x, size[1]), _reflect(y, size[0])], axis=1)
    # Bodies that keep their size keep the one of a moment of the pulse, so that sizes are spread alike.
    swell = np.full(times.shape, math.sin(2 * math.pi * body.phase)) if change.swell is None else change.swell
    return Poses(centre, np.broadcast_to(body.angle + change.turn, times.shape), 1 + body.swelling * swell)


def strikes(body: Body, times: Floats, size: tuple[int, int], camera: Floats, *, wrap: bool = False) -> Floats:
    """The moments (seconds, sorted) at which a body does something that could be heard.

    It bounces off a border, turns round, stops or starts (`oscillate`, `zigzag`, `stop_and_go`, `rock`, `pulse`),
    completes a round (`orbit`, `rotate`), or changes from its first motion to its second.

    Args:
        body: whose.
        times: a fine grid from 0 on; the answer is as exact as its steps.
        size: (height, width) of the frames.
        camera: [T, 2] its path at `times`.
        wrap: as for `trajectory`: nothing to bounce off.
    """
    counters = [_rounds(body.motion, body, np.minimum(times, body.switch))]
    if body.then is not None:
        counters.append(_rounds(body.then, body, np.maximum(times - body.switch, 0.0)))
        counters.append(np.asarray(times >= body.switch, np.float64))
    if not wrap:
        path = _path(body, times, camera, _change(body, times))
        counters += [np.floor(_spans(axis, length)) for axis, length in zip(path, size[::-1], strict=True)]
    passed = np.zeros(len(times) - 1, bool)
    for counter in counters:
        passed |= np.diff(counter) != 0
    return times[1:][passed]


def _rounds(motion: str, body: Body, t: Floats) -> Floats:
    """A number that steps at every audible moment of one motion."""
    if motion == "rotate":
        return np.floor((body.angle + np.asarray(_rotate(body, t).turn)) / (2 * math.pi))
    cycles = t / body.period + body.phase
    return sum((np.floor(cycles - mark) for mark in _MARKS.get(motion, ())), np.zeros(t.shape))


def _change(body: Body, t: Floats) -> _Change:
    """What the body does up to `t`: the clock of its first motion stops when that of the second starts."""
    first = _MOTIONS[body.motion](body, np.minimum(t, body.switch))
    if body.then is None:
        return first
    second = _MOTIONS[body.then](body, np.maximum(t - body.switch, 0.0))
    return _Change(
        along=_since_start(first.along) + _since_start(second.along),
        across=_since_start(first.across) + _since_start(second.across),
        turn=first.turn + second.turn,
        swell=first.swell if first.swell is not None else second.swell,
    )


def _path(body: Body, t: Floats, camera: Floats, change: _Change) -> tuple[Floats, Floats]:
    """Where the body would be in a frame without borders: x and y, pixels."""
    cos, sin = math.cos(body.direction), math.sin(body.direction)
    along, across = (np.broadcast_to(_since_start(path), t.shape) for path in (change.along, change.across))
    x = body.start[0] + along * cos - across * sin - camera[:, 0]
    y = body.start[1] + along * sin + across * cos - camera[:, 1]
    return x, y


def _since_start(path: Floats | float) -> Floats:
    return np.asarray(path - np.ravel(path)[0])


def _sine(body: Body, t: Floats) -> Floats:
    return np.sin(2 * math.pi * (t / body.period + body.phase))


def _reflect(value: Floats, length: int) -> Floats:
    """Fold a free path into the allowed span, as light between two mirrors."""
    low, span = MARGIN * length, (1 - 2 * MARGIN) * length
    return low + span - np.abs((value - low) % (2 * span) - span)


def _spans(value: Floats, length: int) -> Floats:
    """A free path in allowed spans: it touches a mirror at whole numbers."""
    return (value - MARGIN * length) / ((1 - 2 * MARGIN) * length)
