"""What is known about a clip without rendering it: the labels, the objects, what is heard, a caption."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.camera import Camera
from kinema.data.synthetic.captions import COMPASS, article, sentence, wording
from kinema.data.synthetic.motion import Body, Poses, strikes
from kinema.data.synthetic.render import scene_poses
from kinema.data.synthetic.scene import Scene, World, draw_scene
from kinema.data.synthetic.shapes import SHAPES, outline
from kinema.data.synthetic.sound import Sound, fine_times, pitch_of
from kinema.randomness import numpy_generator

TEST_SHARE = 0.375
"""Share of the rounds through all classes, drawn for each by itself, that `split` calls test."""

REGIONS = 3
"""`region` names a cell of a grid of this many rows and columns."""

PACES = ("slow", "medium", "fast")
"""Names of three speeds, and of the thirds of a range of speeds."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """Everything known about a clip but its pixels.

    Attributes:
        row: columns of labels.csv, `label` and `split` among them.
        objects: one row of objects.csv per object, number 1 first.
        sounds: what is heard, in order of time.
        cameras: (start, camera): when, in seconds, which camera took over; its path begins there.
        metre: pixels that stand for one metre to the accelerometer.
        duration: seconds.
        text: the caption.
        segments: rows of segments.csv: start and end (seconds) and what is shown.
        persons: whether the objects are persons, which have joints and parts.
    """

    row: Row
    objects: tuple[Row, ...]
    sounds: tuple[Sound, ...]
    cameras: tuple[tuple[float, Camera], ...]
    metre: float
    duration: float
    text: str
    segments: tuple[Row, ...] = ()
    persons: bool = False


def describe_scene(seed: int, i: int, world: World) -> Facts:
    """The facts of clip `i` of a world of shapes."""
    scene = draw_scene(seed, i, world)
    row = _row(seed, i, world, scene)
    nearness = {number: place for place, number in enumerate(scene.depth)}
    objects = tuple(
        {
            "object": number,
            "identity": scene.identity if number == 1 else "",
            "motion": body.motion,
            "shape": body.shape,
            "nearness": nearness[number],
            "speed": round(body.speed, 3),
            "direction": round(math.degrees(body.direction), 2),
        }
        for number, body in enumerate(scene.bodies, 1)
    )
    drift = ((0.0, scene.camera),)
    text = _caption(seed, i, world, scene)
    return Facts(row, objects, _sounds(world, scene), drift, world.unit, world.duration, text)


def speed_class(speed: float, world: World) -> str:
    """The class of a speed in pixels per second: which of `World.speeds`, or which third of the range drawn from."""
    share = speed / world.unit
    if world.speeds:
        ranks = sorted(world.speeds)
        number = int(np.argmin(np.abs(np.array(ranks) - share)))
        return PACES[number] if len(ranks) == len(PACES) else f"speed{number}"
    return PACES[min(max(int((share - 0.3) / 0.2 * 3), 0), 2)]


def direction_class(direction: float) -> str:
    """Which of `COMPASS` a direction (radians, y down) is nearest to."""
    return COMPASS[round(direction / (math.pi / 4)) % 8]


def motion_region(body: Body, poses: Poses, size: tuple[int, int], *, wrap: bool = False) -> str:
    """Cell "row-column", from 0, of a grid of `REGIONS` by `REGIONS` in which a body moves most.

    Its area is moved along with the poses; each spot counts by its way from a frame to the next, in the cell it is in,
    or, with `wrap`, in which it comes in again.
    """
    spots = _spots(body.shape) * body.radius
    cos, sin = poses.scale * np.cos(poses.angle), poses.scale * np.sin(poses.angle)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    placed = np.einsum("tij,nj->tni", linear, spots) + poses.centre[:, None]
    weight = np.linalg.norm(np.diff(placed, axis=0), axis=2) * np.square(poses.scale[:-1, None])
    limits = np.array(size[::-1])
    cell = np.floor(placed[:-1] / limits * REGIONS).astype(int)
    if wrap:
        cell %= REGIONS
    inside = ((cell >= 0) & (cell < REGIONS)).all(-1)
    totals = np.zeros((REGIONS, REGIONS))
    np.add.at(totals, (cell[inside][:, 1], cell[inside][:, 0]), weight[inside])
    best = divmod(int(totals.argmax()), REGIONS)
    return f"{best[0]}-{best[1]}"


def split_of(seed: int, i: int, clips_of_a_round: int) -> str:
    """Test or train: drawn for whole rounds through the classes, so that each has its share of every class."""
    draw = numpy_generator(seed, "world", i // clips_of_a_round, "split").random()
    return "test" if draw < TEST_SHARE else "train"


def _row(seed: int, i: int, world: World, scene: Scene) -> Row:
    body = scene.body
    poses = scene_poses(scene, world)[0]
    row: Row = {
        "label": body.motion if body.then is None else f"{body.motion}-{body.then}",
        "split": split_of(seed, i, world.round),
        "shape": body.shape,
        "speed": round(body.speed, 3),
        "direction": round(math.degrees(body.direction), 2),
        "camera_x": round(float(scene.camera.drift[0]), 3),
        "camera_y": round(float(scene.camera.drift[1]), 3),
        "speed_class": speed_class(body.speed, world),
        "direction_class": direction_class(body.direction),
        "region": motion_region(body, poses, world.size, wrap=world.border == "wrap"),
        "identity": scene.identity,
        "camera": scene.camera.motion,
    }
    if body.then is not None:
        ordered = world.classes.index(body.motion) < world.classes.index(body.then)
        row["pair"] = "+".join(sorted((body.motion, body.then), key=world.classes.index))
        row["order"] = "forward" if ordered else "backward"
        row["switch"] = round(body.switch, 3)
    return row


def _sounds(world: World, scene: Scene) -> tuple[Sound, ...]:
    """Every strike of the main object, at the pitch of its identity or, where each clip has its own, of its shape."""
    times = fine_times(world.duration)
    camera = scene.camera.path(times)
    found = strikes(scene.body, times, world.size, camera, wrap=world.border == "wrap")
    pitch = pitch_of(scene.identity if world.identities else 2 * SHAPES.index(scene.body.shape))
    return tuple(Sound(float(time), 1, pitch) for time in found)


def _caption(seed: int, i: int, world: World, scene: Scene) -> str:
    rng, body = numpy_generator(seed, "world", i, "caption"), scene.body
    # A direction lasts only where nothing turns the object back.
    heading = direction_class(body.direction) if world.border == "wrap" else None
    motions = [body.motion] if body.then is None else [body.motion, body.then]
    doings = [wording(rng, motion, heading, speed_class(body.speed, world)) for motion in motions]
    return sentence(rng, article(body.shape), doings, scene.camera.motion)


@cache
def _spots(shape: str) -> npt.NDArray[np.float64]:
    """Points [N, 2] that fill an outline evenly."""
    grid = np.stack(np.meshgrid(*[np.linspace(-0.95, 0.95, 13)] * 2), -1).reshape(-1, 2)
    corners = outline(shape)
    inside = [cv2.pointPolygonTest(corners, (float(x), float(y)), False) >= 0 for x, y in grid]
    return grid[inside]
