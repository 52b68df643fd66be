"""A world of long videos: activities one after the other, and labels that only their order over minutes tells.

An activity is a motion of an object of its own at a place of its own, the same in all videos of a world. Every video
holds six steps, all of them; its class is the order in which they come. One step comes twice, either again at once or
much later; which of the two is a second label. Between the steps lie fillers. So every video holds the same
activities, each as often and as long whatever the labels: what is shown on average says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.camera import CAMERA_MOTIONS, Camera, draw_camera
from kinema.data.synthetic.captions import article, sentence, wording
from kinema.data.synthetic.facts import Facts, split_of
from kinema.data.synthetic.film import Film, Layer, Shot, draw_canvas, look, place
from kinema.data.synthetic.motion import MOTIONS, Body, strikes, trajectory
from kinema.data.synthetic.scene import World, check_names, check_picture, draw_scene
from kinema.data.synthetic.shapes import SHAPES, sprite
from kinema.data.synthetic.sound import Sound, fine_times, pitch_of
from kinema.errors import RecipeError
from kinema.randomness import numpy_generator

STEPS = 6
"""Activities that every video holds; the other two are fillers."""

ORDERS: dict[str, tuple[int, ...]] = {
    "onward": (0, 1, 2, 3, 4, 5),
    "reversed": (5, 4, 3, 2, 1, 0),
    "swapped": (3, 4, 5, 0, 1, 2),
    "mirrored": (2, 1, 0, 5, 4, 3),
}
"""The classes: in which order the steps come for the first time (a step that is repeated aside)."""

REPEATS = ("at once", "later")
"""Whether the step that comes twice comes again after one filler, or three steps away from the first time."""


@dataclass(frozen=True)
class LongWorld:
    """Settings of a world of long videos.

    Attributes:
        seconds: length of each video, 30 at least.
        size: (height, width) in pixels, both even.
        fps: frames per second.
        camera_motions: ways in which the camera moves; an activity has one of them for good.
    """

    seconds: float = 90.0
    size: tuple[int, int] = (48, 64)
    fps: float = 8.0
    camera_motions: tuple[str, ...] = ("drift",)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be rendered.

        Raises:
            RecipeError: naming the option.
        """
        check_picture(self.frames, self.size, self.fps)
        check_names("camera_motions", self.camera_motions, CAMERA_MOTIONS)
        if self.seconds < 30 or self.fps < 4:
            raise RecipeError(
                f"a world of long videos needs seconds >= 30 and fps >= 4, got {self.seconds} and {self.fps}"
            )

    @property
    def frames(self) -> int:
        """Frames of each video."""
        return round(self.seconds * self.fps)


class Segment(NamedTuple):
    """One activity: its number, its first frame and its last but one."""

    activity: int
    start: int
    stop: int


class Story(NamedTuple):
    """The draws of one video: its segments, the order of its steps and how one of them comes again."""

    segments: tuple[Segment, ...]
    order: str
    repeat: str
    repeated: int


def draw_story(seed: int, i: int, world: LongWorld) -> Story:
    """What happens in video `i`: a pure function of its arguments."""
    rng = numpy_generator(seed, "long", i)
    order = list(ORDERS)[i % len(ORDERS)]
    repeat, repeated = REPEATS[rng.integers(2)], int(rng.integers(STEPS))
    sequence = list(ORDERS[order])
    first = sequence.index(repeated)
    if repeat == "at once":
        sequence.insert(first + 1, repeated)
    else:
        # Three steps later, or earlier where there are not as many left.
        sequence.insert(first + 4 if first < STEPS // 2 else first - 3, repeated)
    filled = [part for step in sequence for part in (step, STEPS + int(rng.integers(len(MOTIONS) - STEPS)))][:-1]
    # Lengths between half and one and a half of the mean, so that every activity lasts as long on average.
    weights = rng.uniform(0.5, 1.5, len(filled))
    cuts = np.rint(np.concatenate([[0], np.cumsum(weights)]) / weights.sum() * world.frames).astype(int)
    segments = tuple(Segment(*found) for found in zip(filled, cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
    return Story(segments, order, repeat, repeated)


def describe_long(seed: int, i: int, world: LongWorld) -> Facts:
    """The facts of video `i` of a world of long videos."""
    story = draw_story(seed, i, world)
    rng = numpy_generator(seed, "long", i, "caption")
    cameras, sounds, rows = [], [], []
    for number, segment in enumerate(story.segments):
        body, camera = _staging(seed, i, number, segment, world)
        start, stop = segment.start / world.fps, segment.stop / world.fps
        times = fine_times(stop - start)
        found = strikes(body, times, world.size, camera.path(times))
        sounds += [Sound(start + float(t), segment.activity + 1, pitch_of(segment.activity)) for t in found]
        cameras.append((start, camera))
        text = sentence(rng, article(body.shape), [wording(rng, body.motion)], camera.motion)
        activity = MOTIONS[segment.activity]
        role = "step" if segment.activity < STEPS else "filler"
        rows.append({"start": start, "end": stop, "label": activity, "role": role, "text": text})
    row = {
        "label": story.order,
        "split": split_of(seed, i, len(ORDERS)),
        "repeat": story.repeat,
        "repeated": MOTIONS[story.repeated],
    }
    text = sentence(rng, "the steps", [f"come {story.order}", f"one of them comes again {story.repeat}"], "drift")
    objects = tuple({"object": k + 1, "identity": k, "motion": MOTIONS[k]} for k in range(len(MOTIONS)))
    duration = world.frames / world.fps
    return Facts(row, objects, tuple(sounds), tuple(cameras), min(world.size), duration, text, tuple(rows))


def compose_long(seed: int, i: int, world: LongWorld) -> Film:
    """The film of video `i`: one shot per segment."""
    story = draw_story(seed, i, world)
    places = [numpy_generator(seed, "long", "place", k) for k in range(len(MOTIONS))]
    canvases = [draw_canvas(rng, world.size) for rng in places]
    objects = [sprite(rng, _looks(seed, k, world).shape, _looks(seed, k, world).radius) for k, rng in enumerate(places)]
    shots = []
    for number, segment in enumerate(story.segments):
        body, camera = _staging(seed, i, number, segment, world)
        times = np.arange(segment.stop - segment.start) / world.fps
        path = camera.path(times)
        poses = trajectory(body, times, world.size, path)
        picture = objects[segment.activity]
        layer = Layer(picture, place(poses, picture), segment.activity + 1)
        shots.append(Shot(canvases[segment.activity], look(world.size, path), (layer,)))
    return Film(world.size, tuple(shots), len(MOTIONS))


def activity_histogram(story: Story) -> npt.NDArray[np.float64]:
    """Share of the video that each activity takes, [8]: all that a mean over its segments can know."""
    lengths = np.zeros(len(MOTIONS))
    for segment in story.segments:
        lengths[segment.activity] += segment.stop - segment.start
    return np.asarray(lengths / lengths.sum())


def _staging(seed: int, i: int, number: int, segment: Segment, world: LongWorld) -> tuple[Body, Camera]:
    """The body and the camera of one segment: the activity's looks, at a place and pace drawn anew."""
    key = int(numpy_generator(seed, "long", i, "segment", number).integers(1 << 62))
    setting = World(size=world.size, fps=world.fps, classes=(MOTIONS[segment.activity],), camera=0.02)
    scene = draw_scene(key, 0, setting)
    looks = _looks(seed, segment.activity, world)
    # Slow enough for few frames per second.
    body = replace(scene.body, shape=looks.shape, radius=looks.radius, period=2.5 * scene.body.period)
    body = replace(body, speed=0.5 * body.speed)
    motion = world.camera_motions[segment.activity % len(world.camera_motions)]
    return body, draw_camera(motion, scene.camera.drift, setting.unit, key, "camera")


class _Looks(NamedTuple):
    shape: str
    radius: float


def _looks(seed: int, activity: int, world: LongWorld) -> _Looks:
    rng = numpy_generator(seed, "long", "looks", activity)
    return _Looks(SHAPES[rng.integers(len(SHAPES))], min(world.size) * rng.uniform(0.18, 0.24))
