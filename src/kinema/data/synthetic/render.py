"""From a scene to pixels and truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.motion import Body, Poses, trajectory
from kinema.data.synthetic.scene import Scene, World, draw_scene
from kinema.data.synthetic.shapes import outline, sprite, texture
from kinema.randomness import numpy_generator

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SyntheticClip:
    """One rendered clip and the truth about it.

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
    times = np.arange(world.frames) / world.fps
    rng = numpy_generator(seed, "world", i, "texture")
    frames = _background(rng, world, times, scene.camera)
    poses = trajectory(scene.body, times, world.size, scene.camera)
    for body in scene.distractors:
        _paint(frames, sprite(rng, body.shape, body.radius), trajectory(body, times, world.size, scene.camera))
    _paint(frames, sprite(rng, scene.body.shape, scene.body.radius), poses)
    box = _boxes(scene.body, poses, world.size)
    return SyntheticClip(frames, scene.body.motion, scene, poses.centre.astype(np.float32), box)


def _background(
    rng: np.random.Generator, world: World, times: npt.NDArray[np.float64], camera: tuple[float, float]
) -> Bytes:
    """Frames [T, H, W, 3] of a textured plane that a drifting camera sees; mirrored where the texture ends."""
    height, width = world.size
    canvas = texture(rng, height * 3 // 2, width * 3 // 2)
    if world.clutter != 1:
        plain = canvas.mean((0, 1))
        canvas = np.clip(plain + world.clutter * (canvas - plain), 0, 255).astype(np.uint8)
    frames = np.empty((len(times), height, width, 3), np.uint8)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    for frame, t in zip(frames, times, strict=True):
        shift = np.array([[1, 0, width / 4 + camera[0] * t], [0, 1, height / 4 + camera[1] * t]])
        cv2.warpAffine(canvas, shift, (width, height), dst=frame, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return frames


def _paint(frames: Bytes, body: Floats, poses: Poses) -> None:
    """Lay a sprite over the frames, in place, at sub-pixel poses; only the pixels around it are touched."""
    middle = body.shape[0] // 2
    for frame, centre, angle, scale in zip(frames, *poses, strict=True):
        reach = middle * scale * math.sqrt(2) + 1
        left, top = np.maximum(np.floor(centre - reach), 0).astype(int)
        right, bottom = np.minimum(np.ceil(centre + reach) + 1, frame.shape[1::-1]).astype(int)
        linear = scale * _rotation(angle)
        offset = centre - (left, top) - linear @ (middle, middle)
        layer = cv2.warpAffine(body, np.column_stack([linear, offset]), (int(right - left), int(bottom - top)))
        region = frame[top:bottom, left:right]
        region[:] = region * (1 - layer[..., 3:]) + layer[..., :3] + 0.5


def _boxes(body: Body, poses: Poses, size: tuple[int, int]) -> Floats:
    corners = outline(body.shape) * body.radius
    turned = np.stack(
        [scale * corners @ _rotation(angle).T for angle, scale in zip(poses.angle, poses.scale, strict=True)]
    )
    placed = turned + poses.centre[:, None]
    box = np.concatenate([placed.min(axis=1), placed.max(axis=1)], axis=1)
    limits = np.array([size[1], size[0]] * 2) - 1
    return np.asarray(np.clip(box, 0, limits), np.float32)


def _rotation(angle: float) -> npt.NDArray[np.float64]:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
