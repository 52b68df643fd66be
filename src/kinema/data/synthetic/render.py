"""From a scene to pixels and truth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.film import Film, Layer, Shot, draw_canvas, look, place, render_film
from kinema.data.synthetic.motion import Body, Poses, trajectory
from kinema.data.synthetic.scene import Scene, World, draw_scene
from kinema.data.synthetic.shapes import outline, sprite
from kinema.randomness import numpy_generator

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SyntheticClip:
    """One rendered clip and the truth about its object; see `kinema.data.synthetic.truth` for all the rest.

    Attributes:
        frames: uint8 RGB [T, H, W, 3].
        label: the motion of the object.
        scene: everything that was drawn.
        centre: float32 [T, 2], (x, y) of the object in pixels; (0, 0) is the centre of the first pixel.
        box: float32 [T, 4], its outline's left, top, right, bottom, cut at the borders of the frame.
    """

    frames: Bytes
    label: str
    scene: Scene
    centre: Floats
    box: Floats


def render_clip(seed: int, i: int, world: World | None = None) -> SyntheticClip:
    """Clip `i` of the world that `seed` names, without files. The same whatever else is rendered.

    Example:
        >>> render_clip(0, 5, World(frames=16, size=(64, 64))).frames.shape
        (16, 64, 64, 3)
    """
    world = world or World()
    scene = draw_scene(seed, i, world)
    frames = render_film(compose_scene(seed, i, world))
    poses = scene_poses(scene, world)[0]
    if world.border == "wrap":
        poses = poses._replace(centre=poses.centre % np.array(world.size[::-1]))
    box = _boxes(scene.body, poses, world.size)
    return SyntheticClip(frames, scene.body.motion, scene, poses.centre.astype(np.float32), box)


def scene_poses(scene: Scene, world: World) -> list[Poses]:
    """The poses of `Scene.bodies` in every frame."""
    times = np.arange(world.frames) / world.fps
    camera, wrap = scene.camera.path(times), world.border == "wrap"
    return [trajectory(body, times, world.size, camera, wrap=wrap) for body in scene.bodies]


def compose_scene(seed: int, i: int, world: World) -> Film:
    """The film of clip `i`: scenery and objects, textured and placed in every frame."""
    scene = draw_scene(seed, i, world)
    rng = numpy_generator(seed, "world", i, "texture")
    canvas = draw_canvas(rng, world.size, world.clutter)
    sprites = {number: sprite(rng, body.shape, body.radius) for number, body in enumerate(scene.distractors, 2)}
    looks = numpy_generator(seed, "world", "looks", scene.identity) if world.identities else rng
    sprites[1] = sprite(looks, scene.body.shape, scene.body.radius)
    poses = scene_poses(scene, world)
    layers: list[Layer] = []
    for number in scene.depth:
        shown = _copies(poses[number - 1], scene.bodies[number - 1], world)
        layers += [Layer(sprites[number], place(copy, sprites[number]), number) for copy in shown]
    view = look(world.size, scene.camera.path(np.arange(world.frames) / world.fps))
    return Film(world.size, (Shot(canvas, view, tuple(layers)),), len(scene.bodies))


def _copies(poses: Poses, body: Body, world: World) -> list[Poses]:
    """The body once, or, where borders wrap, at every place from which it reaches into the frame at some time."""
    if world.border == "mirror":
        return [poses]
    limits, reach = np.array(world.size[::-1]), body.radius * (1 + body.swelling) + 2
    low = np.floor((poses.centre.min(0) - reach) / limits).astype(int)
    high = np.floor((poses.centre.max(0) + reach) / limits).astype(int)
    tiles = product(range(low[0], high[0] + 1), range(low[1], high[1] + 1))
    return [poses._replace(centre=poses.centre - limits * tile) for tile in tiles]


def _boxes(body: Body, poses: Poses, size: tuple[int, int]) -> Floats:
    corners = outline(body.shape) * body.radius
    cos, sin = poses.scale * np.cos(poses.angle), poses.scale * np.sin(poses.angle)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    placed = np.einsum("tij,nj->tni", linear, corners) + poses.centre[:, None]
    box = np.concatenate([placed.min(axis=1), placed.max(axis=1)], axis=1)
    limits = np.array([size[1], size[0]] * 2) - 1
    return np.asarray(np.clip(box, 0, limits), np.float32)
