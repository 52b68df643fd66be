"""Flat layers over a scenery, painted far to near: what every synthetic world is made of, and how it becomes pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.motion import Poses
from kinema.data.synthetic.shapes import texture

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class Layer(NamedTuple):
    """A textured piece of an object that moves as one.

    Attributes:
        sprite: float32 [h, w, 4], RGB times coverage, and coverage in [0, 1].
        placing: float64 [T, 2, 3], where the pixels of the sprite lie in each frame: (x, y) = A (column, row, 1).
        owner: number of the object, from 1.
        part: number of the part of the object that this is, from 1.
    """

    sprite: Floats
    placing: Doubles
    owner: int
    part: int = 1


@dataclass(frozen=True)
class Shot:
    """One uncut stretch of a film.

    Attributes:
        canvas: uint8 RGB, the scenery; mirrored where it ends.
        view: float64 [T, 2], (x, y) on the canvas of the frame's first pixel.
        layers: what lies over it, from far to near; the layers of one object follow each other.
        joints: float64 [T, N, J, 2] (x, y) of the joints of N persons in the frame, N in the order of their numbers.
        style: float64 [3, 4], colours that the camera makes of (R, G, B, 1); None changes nothing.
    """

    canvas: Bytes
    view: Doubles
    layers: tuple[Layer, ...]
    joints: Doubles | None = None
    style: Doubles | None = None


@dataclass(frozen=True)
class Film:
    """Everything that is needed to render one clip.

    Attributes:
        size: (height, width) of the frames.
        shots: its uncut stretches, in order.
        objects: number of objects, over all shots.
    """

    size: tuple[int, int]
    shots: tuple[Shot, ...]
    objects: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return sum(len(shot.view) for shot in self.shots)


class Patch(NamedTuple):
    """A layer in one frame: where its region begins, and its pixels [h, w, 4] as in `Layer.sprite`."""

    left: int
    top: int
    pixels: Floats


Watch = Callable[[int, int, Patch], None]
"""Called with the frame, the number of the layer (from 1, over all shots) and its patch, in painting order."""


def render_film(film: Film, watch: Watch | None = None) -> Bytes:
    """Frames, uint8 RGB [T, H, W, 3]."""
    frames = np.empty((film.frames, *film.size, 3), np.uint8)
    start, number = 0, 0
    for shot in film.shots:
        part = frames[start : start + len(shot.view)]
        _scenery(part, shot)
        for layer in shot.layers:
            number += 1
            for t, patch in enumerate(patches(layer, film.size)):
                _blend(part[t], patch)
                if watch is not None:
                    watch(start + t, number, patch)
        if shot.style is not None:
            for frame in part:
                frame[:] = cv2.transform(frame, shot.style)
        start += len(shot.view)
    return frames


def patches(layer: Layer, size: tuple[int, int]) -> Iterator[Patch]:
    """The layer in each frame of `size`, at sub-pixel places; only the pixels around it, none where it is outside."""
    height, width = layer.sprite.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = layer.placing[:, :, :2]
    centre = layer.placing @ (*middle, 1.0)
    # The half diagonal: a margin that does not depend on the angle.
    reach = np.sqrt(np.square(linear * middle).sum((1, 2)))[:, None] + 1
    limits = np.array(size[::-1])
    first = np.clip(np.floor(centre - reach), 0, limits).astype(int)
    stop = np.clip(np.ceil(centre + reach) + 1, 0, limits).astype(int)
    offset = centre - first - linear @ middle
    placing = np.concatenate([linear, offset[:, :, None]], 2)
    for matrix, (left, top), (right, bottom) in zip(placing, first.tolist(), stop.tolist(), strict=True):
        if right > left and bottom > top:
            yield Patch(left, top, cv2.warpAffine(layer.sprite, matrix, (right - left, bottom - top)))
        else:
            yield Patch(0, 0, np.zeros((0, 0, 4), np.float32))


def place(poses: Poses, sprite: Floats) -> Doubles:
    """The `Layer.placing` of a square sprite that turns and swells around its middle."""
    middle = (sprite.shape[0] - 1) / 2
    cos, sin = poses.scale * np.cos(poses.angle), poses.scale * np.sin(poses.angle)
    linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    return np.concatenate([linear, (poses.centre - linear.sum(2) * middle)[..., None]], 2)


def draw_canvas(rng: np.random.Generator, size: tuple[int, int], clutter: float = 1.0) -> Bytes:
    """A textured scenery half as large again as the frame; `clutter` scales its contrast."""
    canvas = texture(rng, size[0] * 3 // 2, size[1] * 3 // 2)
    if clutter != 1:
        plain = canvas.mean((0, 1))
        canvas = np.clip(plain + clutter * (canvas - plain), 0, 255).astype(np.uint8)
    return canvas


def look(size: tuple[int, int], camera: Doubles) -> Doubles:
    """The `Shot.view` of a camera at `camera` [T, 2] (pixels) that begins over the middle of a canvas."""
    return np.array([size[1] / 4, size[0] / 4]) + camera


def _scenery(frames: Bytes, shot: Shot) -> None:
    """Fill frames with what the camera sees of the scenery."""
    height, width = frames.shape[1:3]
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    for frame, (x, y) in zip(frames, shot.view, strict=True):
        shift = np.array([[1, 0, x], [0, 1, y]])
        cv2.warpAffine(shot.canvas, shift, (width, height), dst=frame, flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def _blend(frame: Bytes, patch: Patch) -> None:
    left, top, pixels = patch
    region = frame[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    region[:] = region * (1 - pixels[..., 3:]) + pixels[..., :3] + 0.5
