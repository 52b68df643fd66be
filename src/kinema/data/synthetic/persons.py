"""A world of paper-doll persons: who they are is their clothes, what they do is how they move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.camera import CAMERA_MOTIONS, Camera, draw_camera
from kinema.data.synthetic.captions import choose, sentence, wording
from kinema.data.synthetic.facts import TEST_SHARE, Facts, Row, split_of
from kinema.data.synthetic.film import Film, Layer, Shot, draw_canvas, look
from kinema.data.synthetic.outfits import Cloth, draw_outfit, dress
from kinema.data.synthetic.scene import check_names, check_picture
from kinema.data.synthetic.skeleton import ACTIONS, JOINTS, RATES, Timing, joint_places, pose_of, sounds_of
from kinema.data.synthetic.sound import Sound, pitch_of
from kinema.errors import RecipeError
from kinema.randomness import numpy_generator

Doubles = npt.NDArray[np.float64]

VIEWS = ("side", "front")
"""From where a person is seen."""

_LIMBS: dict[str, tuple[str, str, str]] = {
    "torso": ("torso", "neck", "pelvis"),
    "head": ("head", "head", "neck"),
    "left_upper_arm": ("upper_arm", "left_shoulder", "left_elbow"),
    "left_forearm": ("forearm", "left_elbow", "left_wrist"),
    "right_upper_arm": ("upper_arm", "right_shoulder", "right_elbow"),
    "right_forearm": ("forearm", "right_elbow", "right_wrist"),
    "left_thigh": ("thigh", "left_hip", "left_knee"),
    "left_shin": ("shin", "left_knee", "left_ankle"),
    "right_thigh": ("thigh", "right_hip", "right_knee"),
    "right_shin": ("shin", "right_knee", "right_ankle"),
    "bag": ("bag", "back", "pelvis"),
}

PARTS: tuple[str, ...] = tuple(_LIMBS)
"""Names of the parts of a person; part number k of the truth is `PARTS[k - 1]`."""


@dataclass(frozen=True)
class PersonWorld:
    """Settings of a world of persons; lengths scale with the shorter side of the frame.

    Attributes:
        frames: frames of each clip.
        size: (height, width) in pixels, both even.
        fps: frames per second.
        actions: what the main person may do, clip i showing number i modulo their count; see `ACTIONS`.
        persons: persons in each clip; those beside the main one do any of the actions and may enter or leave.
        identities: different persons; test clips show others than training clips.
        views: from where persons are seen, drawn for each; see `VIEWS`.
        cameras: cameras with their own colours, drawn per clip; test clips are seen by as many others.
        camera: fastest camera drift, in shorter sides per second.
        camera_motions: ways in which the camera moves, drawn per clip.
    """

    frames: int = 48
    size: tuple[int, int] = (96, 128)
    fps: float = 25.0
    actions: tuple[str, ...] = ACTIONS
    persons: int = 3
    identities: int = 64
    views: tuple[str, ...] = VIEWS
    cameras: int = 6
    camera: float = 0.05
    camera_motions: tuple[str, ...] = ("drift",)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be rendered.

        Raises:
            RecipeError: naming the option.
        """
        check_picture(self.frames, self.size, self.fps)
        check_names("actions", self.actions, ACTIONS)
        check_names("views", self.views, VIEWS)
        check_names("camera_motions", self.camera_motions, CAMERA_MOTIONS)
        if self.persons < 1 or self.cameras < 1 or self.camera < 0:
            raise RecipeError("a world of persons needs persons >= 1, cameras >= 1 and camera >= 0")
        if min(len(self.pool("train")), len(self.pool("test"))) < self.persons:
            raise RecipeError(
                f"{self.identities} identities are too few for {self.persons} persons per clip and a test set that "
                "shows others: raise 'identities'"
            )

    @property
    def unit(self) -> int:
        """The shorter side of the frame, in pixels."""
        return min(self.size)

    @property
    def duration(self) -> float:
        """Seconds of each clip."""
        return self.frames / self.fps

    def pool(self, split: str) -> range:
        """Numbers of the identities that a split shows."""
        border = round(self.identities * (1 - TEST_SHARE))
        return range(border) if split == "train" else range(border, self.identities)


@dataclass(frozen=True)
class Person:
    """One person in one clip.

    Attributes:
        identity: whose looks.
        action: what it does.
        timing: when.
        view: "side" or "front".
        yaw: radians from which it is seen: 0 faces the camera, pi / 2 faces right.
        height: pixels.
        ground: y of the ground below its feet, pixels, before the camera moves.
        middle: x halfway through the clip, pixels.
    """

    identity: int
    action: str
    timing: Timing
    view: str
    yaw: float
    height: float
    ground: float
    middle: float


@dataclass(frozen=True)
class Crowd:
    """The draws of one clip: persons, the main one first, the camera, and the number of its colours."""

    persons: tuple[Person, ...]
    camera: Camera
    style: int
    split: str

    @property
    def depth(self) -> list[int]:
        """Numbers of the persons, from 1, from the farthest to the nearest: smaller ones stand farther away."""
        return sorted(range(1, len(self.persons) + 1), key=lambda number: self.persons[number - 1].ground)


def draw_crowd(seed: int, i: int, world: PersonWorld) -> Crowd:
    """Who does what in clip `i`: a pure function of its arguments."""
    rng = numpy_generator(seed, "persons", i)
    split = split_of(seed, i, len(world.actions))
    drift = world.unit * world.camera * rng.random()
    angle = rng.uniform(0, 2 * math.pi)
    motion = world.camera_motions[rng.integers(len(world.camera_motions))]
    camera = draw_camera(motion, (drift * math.cos(angle), drift * math.sin(angle)), world.unit, seed, i)
    style = int(rng.integers(world.cameras)) + (world.cameras if split == "test" else 0)
    identities = rng.choice(list(world.pool(split)), world.persons, replace=False)
    persons = tuple(_draw_person(seed, rng, int(who), world) for who in identities)
    main = _cast(persons[0], world.actions[i % len(world.actions)], rng, world)
    return Crowd((main, *persons[1:]), camera, style, split)


def describe_persons(seed: int, i: int, world: PersonWorld) -> Facts:
    """The facts of clip `i` of a world of persons."""
    crowd = draw_crowd(seed, i, world)
    main = crowd.persons[0]
    row: Row = {
        "label": main.action,
        "split": crowd.split,
        "identity": main.identity,
        "view": main.view,
        "facing": "right" if math.sin(main.yaw) > 0 else "left",
        "camera_id": crowd.style,
        "camera": crowd.camera.motion,
    }
    nearness = {number: place for place, number in enumerate(crowd.depth)}
    objects = tuple(_object_row(seed, person, number, nearness) for number, person in enumerate(crowd.persons, 1))
    sounds = sorted(
        Sound(time, number, pitch_of(person.identity), "tone" if person.action == "clap" else "step")
        for number, person in enumerate(crowd.persons, 1)
        for time in sounds_of(person.action, person.timing, world.duration)
    )
    cameras = ((0.0, crowd.camera),)
    text = _caption(seed, i, crowd)
    return Facts(row, objects, tuple(sounds), cameras, world.unit, world.duration, text, persons=True)


def compose_persons(seed: int, i: int, world: PersonWorld) -> Film:
    """The film of clip `i`: dressed persons, placed in every frame."""
    crowd = draw_crowd(seed, i, world)
    times = np.arange(world.frames) / world.fps
    path = crowd.camera.path(times)
    joints = [project(seed, person, times, path) for person in crowd.persons]
    layers: list[Layer] = []
    for number in crowd.depth:
        layers += _layers(seed, crowd.persons[number - 1], number, joints[number - 1])
    rng = numpy_generator(seed, "persons", i, "texture")
    canvas = draw_canvas(rng, world.size, clutter=0.7)
    shot = Shot(canvas, look(world.size, path), tuple(layers), np.stack(joints, 1), _style(seed, crowd.style))
    return Film(world.size, (shot,), len(crowd.persons))


def project(seed: int, person: Person, times: Doubles, camera: Doubles) -> Doubles:
    """Joints [T, 14, 2] (x, y) of a person in the frame; `camera` is the camera's path [T, 2]."""
    outfit = draw_outfit(seed, person.identity)
    moments = np.append(times, times[-1] / 2)
    places = joint_places(pose_of(person.action, person.timing, moments), len(moments), outfit.shoulders)
    # Paths are told from where the person is halfway, so that it is in view then.
    places[:, :, 2] -= places[-1:, :1, 2]
    places = person.height * places[:-1]
    x = person.middle + places[..., 0] * math.cos(person.yaw) + places[..., 2] * math.sin(person.yaw)
    y = person.ground + places[..., 1]
    return np.stack([x, y], -1) - camera[:, None]


def _draw_person(seed: int, rng: np.random.Generator, identity: int, world: PersonWorld) -> Person:
    """A bystander, who may be cut by the borders."""
    nearness = rng.random()
    height = world.unit * (0.5 + 0.18 * nearness) * draw_outfit(seed, identity).height
    view = world.views[rng.integers(len(world.views))]
    facing = 1 if rng.random() < 0.5 else -1
    yaw = facing * (math.pi / 2 - rng.uniform(0, 0.25)) if view == "side" else facing * rng.uniform(0.05, 0.35)
    person = Person(
        identity=identity,
        action="",
        timing=Timing(0, 0, 0),
        view=view,
        yaw=yaw,
        height=height,
        ground=world.size[0] * (0.72 + 0.22 * nearness),
        middle=world.size[1] * rng.uniform(-0.1, 1.1),
    )
    return _cast(person, ACTIONS[rng.integers(len(ACTIONS))], rng, world, main=False)


def _cast(person: Person, action: str, rng: np.random.Generator, world: PersonWorld, *, main: bool = True) -> Person:
    """Let a person act; the main one stands near the middle of the frame halfway through the clip."""
    rate = RATES.get(action, 1.0) * rng.uniform(0.85, 1.15)
    begin = rng.uniform(0.1, 0.4) * world.duration
    middle = world.size[1] * rng.uniform(0.35, 0.65) if main else person.middle
    timing = Timing(rate, rng.random(), begin)
    return Person(**{**vars(person), "action": action, "timing": timing, "middle": middle})


def _layers(seed: int, person: Person, number: int, joints: Doubles) -> list[Layer]:
    """The parts of a person, those on the far side of the body first."""
    cloths = dress(seed, person.identity, person.height, person.yaw)
    points = {name: joints[:, k] for k, name in enumerate(JOINTS)}
    points["pelvis"] = (points["left_hip"] + points["right_hip"]) / 2
    back = -math.copysign(0.4, person.yaw) * cloths["torso"].sprite.shape[1] * abs(math.sin(person.yaw))
    points["back"] = (points["neck"] + points["pelvis"]) / 2 + np.array([back, 0.0])
    layers = []
    for part in _painting_order(person, draw_outfit(seed, person.identity).bag):
        cloth, first, second = _LIMBS[part]
        placing = _span(cloths[cloth], points[first], points[second])
        layers.append(Layer(cloths[cloth].sprite, placing, number, PARTS.index(part) + 1))
    return layers


def _painting_order(person: Person, bag: bool) -> list[str]:
    """Far arm, far leg, near leg, trunk, head, near arm; from the front both arms come last."""
    near, far = ("right", "left") if person.yaw > 0 else ("left", "right")
    arms = {side: [f"{side}_upper_arm", f"{side}_forearm"] for side in (near, far)}
    legs = [f"{side}_{part}" for side in (far, near) for part in ("thigh", "shin")]
    sack = ["bag"] if bag else []
    if person.view == "side":
        return [*arms[far], *legs, "torso", "head", *sack, *arms[near]]
    return [*sack, *legs, "torso", "head", *arms[far], *arms[near]]


def _span(cloth: Cloth, first: Doubles, second: Doubles) -> Doubles:
    """The `Layer.placing` that puts the two joints of a cloth on two paths; foreshortened, but never to nothing."""
    length = cloth.second[1] - cloth.first[1]
    along = second - first
    seen = np.linalg.norm(along, axis=1, keepdims=True)
    unit = np.where(seen > 1e-6, along / np.maximum(seen, 1e-6), np.array([0.0, 1.0]))
    along = unit * np.maximum(seen / length, 0.25)
    linear = np.stack([np.stack([unit[:, 1], -unit[:, 0]], 1), along], 2)
    return np.concatenate([linear, (first - linear @ np.array(cloth.first))[..., None]], 2)


def _style(seed: int, number: int) -> Doubles:
    """The colours of one camera: a matrix near the identity and an offset, [3, 4]."""
    rng = numpy_generator(seed, "style", number)
    matrix = np.diag(rng.uniform(0.82, 1.15, 3)) + rng.uniform(-0.05, 0.05, (3, 3))
    return np.column_stack([matrix, rng.uniform(-12, 12, 3)])


def _object_row(seed: int, person: Person, number: int, nearness: dict[int, int]) -> Row:
    outfit = draw_outfit(seed, person.identity)
    return {
        "object": number,
        "identity": person.identity,
        "action": person.action,
        "view": person.view,
        "nearness": nearness[number],
        **{name: value for name, value in vars(outfit).items() if name not in ("height", "shoulders")},
        "height": round(person.height, 2),
    }


def _caption(seed: int, i: int, crowd: Crowd) -> str:
    rng, main = numpy_generator(seed, "persons", i, "caption"), crowd.persons[0]
    outfit = draw_outfit(seed, main.identity)
    clothes = f"a {outfit.top} top and {outfit.trousers} trousers".replace("a orange", "an orange")
    subject = choose(rng, (f"a person in {clothes}", f"someone wearing {clothes}"))
    return sentence(rng, subject, [wording(rng, main.action)], crowd.camera.motion)
