"""How paper-doll persons move: named actions as joint angles over time, and where that puts the joints.

Lengths are in heights of the person. A person has three axes of its own: to its left, down, and forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

JOINTS = (
    "head",
    "neck",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_hip",
    "right_knee",
    "right_ankle",
)
"""Names of the joints, in the order of every array of joints."""

THIGH = SHIN = 0.25
TRUNK, NECK, UPPER_ARM, FOREARM, HIPS, ANKLE = 0.31, 0.11, 0.16, 0.17, 0.11, 0.03


class Pose(NamedTuple):
    """Angles in radians over T moments; columns of pairs are left and right; 0 everywhere is standing straight.

    Forward is positive for hips and shoulders, outward for arms; knees bend back and elbows forward.
    """

    hip: Doubles | float = 0.0
    knee: Doubles | float = 0.0
    shoulder: Doubles | float = 0.0
    elbow: Doubles | float = 0.15
    spread: Doubles | float = 0.08
    hand: Doubles | float = 0.0
    lean: Doubles | float = 0.0
    forward: Doubles | float = 0.0
    up: Doubles | float = 0.0


class Timing(NamedTuple):
    """When: rate in cycles per second, phase in cycles, and the seconds at which a change that is made once begins."""

    rate: float
    phase: float
    begin: float


def _both(c: Doubles) -> Doubles:
    """Cycles of the left and the right limb [T, 2], half a cycle apart, as angles."""
    return 2 * math.pi * np.stack([c, c + 0.5], axis=1)


def _right(values: Doubles, rest: float = 0.0) -> Doubles:
    """An angle of the right limb alone."""
    return np.stack([np.full_like(values, rest), values], axis=1)


def _walk(c: Doubles, s: Doubles) -> Pose:
    """One step with each leg per cycle."""
    swing = _both(c)
    hip, knee = 0.42 * np.sin(swing), 0.75 * np.maximum(0, np.cos(swing))
    return Pose(hip, knee, shoulder=-0.4 * np.sin(swing), elbow=0.25, forward=4 * 0.5 * math.sin(0.42) * c)


def _walk_backwards(c: Doubles, s: Doubles) -> Pose:
    """A walk that runs backwards in time."""
    return _walk(-c, s)


def _run(c: Doubles, s: Doubles) -> Pose:
    """Longer strides, bent arms, leaning forward."""
    swing = _both(c)
    hip, knee = 0.15 + 0.65 * np.sin(swing), 0.25 + 1.25 * np.maximum(0, np.cos(swing))
    arms = -0.7 * np.sin(swing)
    forward = 4 * 0.5 * math.sin(0.65) * c
    return Pose(hip, knee, arms, elbow=1.5, lean=0.18, forward=forward, up=0.03 * (1 - np.cos(4 * math.pi * c)))


def _jump(c: Doubles, s: Doubles) -> Pose:
    """Crouching for half of the cycle, in the air for the other half."""
    part = c % 1
    crouch = np.where(part < 0.5, np.sin(2 * math.pi * part), 0.0)
    air = np.where(part < 0.5, 0.0, np.sin(2 * math.pi * (part - 0.5)))
    bend = np.repeat(crouch[:, None], 2, 1)
    arms = np.repeat((2.2 * air - 0.6 * crouch)[:, None], 2, 1)
    return Pose(0.9 * bend, 1.5 * bend, arms, lean=0.45 * crouch, up=0.18 * air)


def _wave(c: Doubles, s: Doubles) -> Pose:
    """The right hand overhead, going to and fro."""
    wave = np.sin(2 * math.pi * c)
    raised = np.full_like(c, 2.4)
    return Pose(shoulder=_right(raised), elbow=_right(0.4 + 0.55 * wave, 0.15), hand=_right(0.6 * wave))


def _clap(c: Doubles, s: Doubles) -> Pose:
    """Both arms forward, hands meeting once a cycle."""
    wave = np.repeat(np.sin(2 * math.pi * c)[:, None], 2, 1)
    return Pose(shoulder=0.9 + 0.2 * wave, elbow=0.55 + 0.45 * wave, spread=0.13 + 0.35 * wave, hand=-0.2)


def _kick(c: Doubles, s: Doubles) -> Pose:
    """The right leg, back and forward."""
    wave = np.sin(2 * math.pi * c)
    bent = 0.9 * np.maximum(0, np.cos(2 * math.pi * c))
    return Pose(_right(0.45 + 0.85 * wave), _right(bent), shoulder=np.stack([0.5 * wave, -0.4 * wave], 1), lean=-0.12)


def _sit_down(c: Doubles, s: Doubles) -> Pose:
    """From standing to sitting, once."""
    both = np.repeat(s[:, None], 2, 1)
    return Pose(1.35 * both, 1.45 * both, 0.5 * both, 0.15 + 0.5 * both, lean=0.7 * np.sin(math.pi * s) + 0.05 * s)


def _stand_up(c: Doubles, s: Doubles) -> Pose:
    """The reverse of sitting down."""
    return _sit_down(c, 1 - s)


_ACTIONS: dict[str, Callable[[Doubles, Doubles], Pose]] = {
    "walk": _walk,
    "walk_backwards": _walk_backwards,
    "run": _run,
    "jump": _jump,
    "wave": _wave,
    "clap": _clap,
    "kick": _kick,
    "sit_down": _sit_down,
    "stand_up": _stand_up,
}

ACTIONS: tuple[str, ...] = tuple(_ACTIONS)
"""Names of all actions. Two pairs differ by the order of their poses alone: walk and walk_backwards, sit_down and
stand_up."""

RATES = {"run": 1.5, "jump": 0.9, "wave": 1.6, "clap": 1.8, "kick": 1.0}
"""Cycles per second of the actions, 1 where none is given."""

CHANGE = 0.9
"""Seconds that sitting down and standing up take."""

_HEARD: dict[str, tuple[float, ...]] = {
    "walk": (0.25, 0.75),
    "walk_backwards": (0.25, 0.75),
    "run": (0.25, 0.75),
    "jump": (0.0,),
    "clap": (0.75,),
    "kick": (0.25,),
}
"""Shares of a cycle at which an action makes a sound: feet that touch the ground, hands that meet."""


def pose_of(action: str, timing: Timing, times: Doubles) -> Pose:
    """The pose of a person at `times` (seconds)."""
    step = np.clip((times - timing.begin) / CHANGE, 0, 1)
    return _ACTIONS[action](timing.rate * times + timing.phase, step * step * (3 - 2 * step))


def sounds_of(action: str, timing: Timing, duration: float) -> list[float]:
    """Seconds at which the action is heard, between 0 and `duration`."""
    if action in ("sit_down", "stand_up"):
        return [timing.begin + CHANGE] if timing.begin + CHANGE < duration else []
    cycles = np.arange(math.floor(timing.phase), math.ceil(timing.phase + timing.rate * duration) + 1)
    # Backwards, the feet touch the ground where they would leave it.
    sign = -1 if action == "walk_backwards" else 1
    marks = [(sign * mark) % 1 for mark in _HEARD.get(action, ())]
    times = [(cycle + mark - timing.phase) / timing.rate for cycle in cycles for mark in marks]
    return sorted(float(time) for time in times if 0 <= time < duration)


def joint_places(pose: Pose, moments: int, shoulders: float) -> Doubles:
    """Joints [T, 14, 3] along left, down and forward, from the ground below the first position.

    The lower foot stands on the ground unless the pose lifts it. `shoulders` is their width.
    """
    pairs = [np.broadcast_to(value, (moments, 2)) for value in pose[:6]]
    lean, forward, up = (np.broadcast_to(value, (moments,)) for value in pose[6:])
    hip, knee, shoulder, elbow, spread, hand = pairs
    legs = [_direction(hip, 0.0), _direction(hip - knee, 0.0)]
    arms = [_direction(shoulder, spread), _direction(shoulder + elbow, spread + hand)]
    reach = THIGH * legs[0][..., 1] + SHIN * legs[1][..., 1]
    pelvis = np.stack([np.zeros(moments), -(reach.max(1) + ANKLE + up), forward], 1)
    trunk = np.stack([np.zeros(moments), -np.cos(lean), np.sin(lean)], 1)
    neck = pelvis + TRUNK * trunk
    places = [neck + NECK * trunk, neck]
    for side, sign in enumerate((1.0, -1.0)):
        places += _chain(neck + np.array([sign * shoulders / 2, 0, 0]), arms, (UPPER_ARM, FOREARM), side)
    for side, sign in enumerate((1.0, -1.0)):
        places += _chain(pelvis + np.array([sign * HIPS / 2, 0, 0]), legs, (THIGH, SHIN), side)
    return np.stack(places, axis=1)


def _chain(start: Doubles, directions: list[Doubles], lengths: tuple[float, float], side: int) -> list[Doubles]:
    """The three joints of one limb."""
    middle = start + lengths[0] * directions[0][:, side]
    return [start, middle, middle + lengths[1] * directions[1][:, side]]


def _direction(forward: Doubles, outward: Doubles | float) -> Doubles:
    """Unit vectors [T, 2, 3] of limbs that hang down at 0, turned forward and then outward."""
    out = np.broadcast_to(outward, forward.shape)
    sides = np.array([1.0, -1.0])
    return np.stack([np.sin(out) * sides, np.cos(out) * np.cos(forward), np.cos(out) * np.sin(forward)], axis=-1)
