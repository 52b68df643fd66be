"""What a synthetic clip shows, as drawn numbers: the settings of a world and the scene of its i-th clip.

Nothing here depends on the class but `Body.motion` itself: size, shape, colours, speed, place, camera and distractors
are drawn first and alike for all classes. What a setting adds is drawn from a key of its own, so that it changes no
clip of a world without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from kinema.data.synthetic.camera import CAMERA_MOTIONS, Camera, draw_camera
from kinema.data.synthetic.motion import MARGIN, MOTIONS, Body
from kinema.data.synthetic.shapes import SHAPES
from kinema.errors import RecipeError, suggest
from kinema.randomness import numpy_generator

JITTER = math.radians(10)
"""How far a direction may be from the one that names it, where `World.directions` asks for named ones."""


@dataclass(frozen=True)
class World:
    """Settings of a synthetic world; lengths scale with the shorter side of the frame.

    Attributes:
        frames: frames of each clip.
        size: (height, width) in pixels, both even.
        fps: frames per second.
        classes: the motions that are shown, clip i showing number i modulo their count; see `MOTIONS`.
        camera: fastest camera drift, in shorter sides per second; 0 keeps the background still.
        distractors: number of smaller objects that drift in straight lines, whatever the class.
        clutter: contrast of the background's texture; 0 leaves a plain colour, 1 is as strong as that of the objects.
        border: "mirror" reflects the objects near the border; "wrap" lets them go on at the opposite one, so that a
            straight path stays straight, which a label of direction needs.
        identities: number of different objects, each with its own shape, size and texture in all its clips; 0 makes a
            new object for every clip.
        speeds: the speeds that are shown, in shorter sides per second; empty draws any from 0.3 to 0.5.
        directions: number of evenly spaced directions (within `JITTER`); 0 draws any.
        events: 1, or 2: one motion and then another, where clip i shows pair i modulo their count of `classes` in an
            order that is drawn, and the class is that order.
        camera_motions: ways in which the camera moves, drawn per clip; see `CAMERA_MOTIONS`.
        mingle: make the distractors as large as the object and draw the order of depth: they occlude each other.
    """

    frames: int = 48
    size: tuple[int, int] = (96, 128)
    fps: float = 25.0
    classes: tuple[str, ...] = MOTIONS
    camera: float = 0.1
    distractors: int = 1
    clutter: float = 1.0
    border: Literal["mirror", "wrap"] = "mirror"
    identities: int = 0
    speeds: tuple[float, ...] = ()
    directions: int = 0
    events: int = 1
    camera_motions: tuple[str, ...] = ("drift",)
    mingle: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that cannot be rendered.

        Raises:
            RecipeError: naming the option.
        """
        check_names("classes", self.classes, MOTIONS)
        check_names("camera_motions", self.camera_motions, CAMERA_MOTIONS)
        check_picture(self.frames, self.size, self.fps)
        if min(self.camera, self.distractors, self.clutter, self.identities, self.directions) < 0:
            raise RecipeError(
                "'camera', 'distractors', 'clutter', 'identities' and 'directions' of a synthetic world must be >= 0"
            )
        if not all(0 < speed <= 0.8 for speed in self.speeds):
            raise RecipeError(f"'speeds' of a synthetic world must lie above 0 and up to 0.8, got {self.speeds}")
        if self.border not in ("mirror", "wrap"):
            raise RecipeError(f"'border' of a synthetic world is '{self.border}'.{suggest(self.border, _BORDERS)}")
        if self.events not in (1, 2) or self.events > len(self.classes):
            raise RecipeError(f"'events' of a synthetic world is 1, or 2 with two classes or more, got {self.events}")

    @property
    def unit(self) -> int:
        """The shorter side of the frame, in pixels."""
        return min(self.size)

    @property
    def duration(self) -> float:
        """Seconds of each clip."""
        return self.frames / self.fps

    @property
    def round(self) -> int:
        """Number of clips that show every class, or every pair of classes, once."""
        return len(self.classes) if self.events == 1 else math.comb(len(self.classes), 2)


_BORDERS = ("mirror", "wrap")


@dataclass(frozen=True)
class Scene:
    """The draws of one clip.

    Attributes:
        body: the object whose motion is the class.
        distractors: further bodies.
        camera: how the camera moves; the background moves the opposite way.
        identity: number of the object; that of the clip where every clip has its own.
        depth: objects from the farthest to the nearest: 1 is `body`, 2 the first of the distractors, and so on.
    """

    body: Body
    distractors: tuple[Body, ...]
    camera: Camera
    identity: int
    depth: tuple[int, ...]

    @property
    def bodies(self) -> tuple[Body, ...]:
        """All objects, number 1 first."""
        return self.body, *self.distractors


def draw_scene(seed: int, i: int, world: World) -> Scene:
    """The scene of clip `i`: a pure function of its arguments, the same in a world of any number of clips."""
    rng, more = numpy_generator(seed, "world", i), numpy_generator(seed, "world", i, "labels")
    drift = _polar(world.unit * world.camera * rng.random(), rng.uniform(0, 2 * math.pi))
    first, second = _motions(more, i, world)
    body = _draw_body(rng, world, first)
    shrink = 1.0 if world.mingle else 0.4
    others = tuple(_draw_body(rng, world, "translate", shrink=shrink) for _ in range(world.distractors))
    switch = more.uniform(0.4, 0.6) * world.duration
    if second is not None:
        body = replace(body, then=second, switch=switch)
    body, identity = _labelled(body, more, world, (seed, i))
    camera = draw_camera(world.camera_motions[more.integers(len(world.camera_motions))], drift, world.unit, seed, i)
    depth = (*range(2, world.distractors + 2), 1)
    if world.mingle:
        depth = tuple(int(number) for number in more.permutation(depth))
    return Scene(body, others, camera, identity, depth)


def check_names(option: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Refuse unknown, repeated or missing names of an option of a world.

    Raises:
        RecipeError: naming the option.
    """
    for name in names:
        if name not in known:
            raise RecipeError(f"'{option}' of a synthetic world: '{name}' is unknown.{suggest(name, known)}")
    if not names or len(set(names)) != len(names):
        raise RecipeError(f"'{option}' of a synthetic world must name each of them once, got {names}")


def check_picture(frames: int, size: tuple[int, int], fps: float) -> None:
    """Refuse frames that no video can have.

    Raises:
        RecipeError: naming the option.
    """
    if len(size) != 2 or min(size) < 16 or size[0] % 2 or size[1] % 2:
        raise RecipeError(f"'size' of a synthetic world must be even and at least 16 x 16, got {size}")
    if frames < 1 or fps <= 0:
        raise RecipeError(f"a synthetic world needs frames >= 1 and fps > 0, got {frames} and {fps}")


def _motions(rng: np.random.Generator, i: int, world: World) -> tuple[str, str | None]:
    """The motion of clip `i` and the one that follows it."""
    if world.events == 1:
        return world.classes[i % world.round], None
    pair = list(combinations(world.classes, 2))[i % world.round]
    return pair if rng.random() < 0.5 else (pair[1], pair[0])


def _labelled(body: Body, rng: np.random.Generator, world: World, key: tuple[int, int]) -> tuple[Body, int]:
    """The body with the looks, speed and direction that the world's labels ask for, and its identity."""
    seed, identity = key
    if world.identities:
        identity = int(rng.integers(world.identities))
        looks = numpy_generator(seed, "world", "identity", identity)
        shape = SHAPES[looks.integers(len(SHAPES))]
        body = replace(body, shape=shape, radius=world.unit * looks.uniform(0.16, 0.22))
    if world.speeds:
        body = replace(body, speed=world.unit * world.speeds[rng.integers(len(world.speeds))])
    if world.directions:
        heading = 2 * math.pi * rng.integers(world.directions) / world.directions
        body = replace(body, direction=float(heading + rng.uniform(-JITTER, JITTER)) % (2 * math.pi))
    if world.border == "wrap":
        body = replace(body, start=(_stretch(body.start[0], world.size[1]), _stretch(body.start[1], world.size[0])))
    return body, identity


def _stretch(value: float, length: int) -> float:
    """A start within the margins, spread over the whole frame."""
    return (value - MARGIN * length) / (1 - 2 * MARGIN)


def _draw_body(rng: np.random.Generator, world: World, motion: str, shrink: float = 1.0) -> Body:
    height, width = world.size
    return Body(
        motion=motion,
        shape=SHAPES[rng.integers(len(SHAPES))],
        radius=shrink * world.unit * rng.uniform(0.16, 0.22),
        start=(width * rng.uniform(0.15, 0.85), height * rng.uniform(0.15, 0.85)),
        angle=rng.uniform(0, 2 * math.pi),
        speed=shrink * world.unit * rng.uniform(0.3, 0.5),
        direction=rng.uniform(0, 2 * math.pi),
        turn=1 if rng.random() < 0.5 else -1,
        period=rng.uniform(0.5, 0.75),
        phase=rng.random(),
    )


def _polar(length: float, angle: float) -> tuple[float, float]:
    return length * math.cos(angle), length * math.sin(angle)
