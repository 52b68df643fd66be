"""What a synthetic clip shows, as drawn numbers: the settings of a world and the scene of its i-th clip.

Nothing here depends on the class but `Body.motion` itself: size, shape, colours, speed, place, camera and distractors
are drawn first and alike for all classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.data.synthetic.motion import MOTIONS, Body
from kinema.data.synthetic.shapes import SHAPES
from kinema.errors import RecipeError, suggest
from kinema.randomness import numpy_generator


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
    """

    frames: int = 48
    size: tuple[int, int] = (96, 128)
    fps: float = 25.0
    classes: tuple[str, ...] = MOTIONS
    camera: float = 0.1
    distractors: int = 1
    clutter: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be rendered.

        Raises:
            RecipeError: naming the option.
        """
        for name in self.classes:
            if name not in MOTIONS:
                raise RecipeError(f"'classes' of a synthetic world: '{name}' is no motion.{suggest(name, MOTIONS)}")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise RecipeError(f"'classes' of a synthetic world must name each motion once, got {self.classes}")
        if min(self.size) < 16 or self.size[0] % 2 or self.size[1] % 2:
            raise RecipeError(f"'size' of a synthetic world must be even and at least 16 x 16, got {self.size}")
        if self.frames < 1 or self.fps <= 0 or min(self.camera, self.distractors, self.clutter) < 0:
            raise RecipeError("a synthetic world needs frames >= 1, fps > 0; camera, distractors and clutter >= 0")

    @property
    def unit(self) -> int:
        """The shorter side of the frame, in pixels."""
        return min(self.size)


@dataclass(frozen=True)
class Scene:
    """The draws of one clip.

    Attributes:
        body: the object whose motion is the class.
        distractors: further bodies, painted below it.
        camera: (x, y) drift of the camera in pixels per second; the background moves the opposite way.
    """

    body: Body
    distractors: tuple[Body, ...]
    camera: tuple[float, float]


def draw_scene(seed: int, i: int, world: World) -> Scene:
    """The scene of clip `i`: a pure function of its arguments, the same in a world of any number of clips."""
    rng = numpy_generator(seed, "world", i)
    camera = _polar(world.unit * world.camera * rng.random(), rng.uniform(0, 2 * math.pi))
    body = _draw_body(rng, world, world.classes[i % len(world.classes)])
    others = tuple(_draw_body(rng, world, "translate", shrink=0.4) for _ in range(world.distractors))
    return Scene(body, others, camera)


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
