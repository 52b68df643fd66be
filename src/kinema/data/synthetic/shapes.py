"""Outlines and textures: the looks of synthetic bodies and backgrounds."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

SHAPES: tuple[str, ...] = ("disc", "triangle", "square", "hexagon", "star", "cross")
"""Names of the outlines."""

_CORNERS = {"disc": 48, "triangle": 3, "square": 4, "hexagon": 6}


def outline(shape: str) -> Floats:
    """Corners [N, 2] (x, y) of one of `SHAPES` around the origin; the farthest ones lie on the unit circle."""
    if shape == "star":
        return _ring(10) * np.where(np.arange(10) % 2, 0.45, 1.0).astype(np.float32)[:, None]
    if shape == "cross":
        arm = np.array([[3, -1], [3, 1], [1, 1]], np.float32) / math.sqrt(10)
        quarters = [np.array([[c, -s], [s, c]], np.float32) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
        return np.concatenate([arm @ quarter.T for quarter in quarters])
    return _ring(_CORNERS[shape])


def _ring(corners: int) -> Floats:
    angle = 2 * math.pi * np.arange(corners) / corners
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, *, channels: int, falloff: float) -> Floats:
    """Smooth random fields [height, width, channels], each of mean 0 and standard deviation about 1.

    Octaves of coarse noise are added, each a factor `falloff` weaker than the next coarser one; 1 gives the amplitude
    spectrum 1 / frequency of natural images, less is smoother.
    """
    total = np.zeros((height, width, channels), np.float32)
    weight, power, cell = 1.0, 0.0, max(height, width) / 2
    while cell >= 2:
        grid = rng.standard_normal((math.ceil(height / cell) + 2, math.ceil(width / cell) + 2, channels), np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).reshape(total.shape)
        power, weight, cell = power + weight**2, weight * falloff, cell / 2
    # Cubic interpolation between unit grid values halves their variance, near enough.
    return np.asarray(total * math.sqrt(2 / power), np.float32)


def texture(rng: np.random.Generator, height: int, width: int) -> Bytes:
    """A random coloured texture, uint8 RGB [height, width, 3]: two colours mixed by noise, light and fine grain."""
    first, second = rng.uniform(30, 225, (2, 3)).astype(np.float32)
    fields = noise(rng, height, width, channels=2, falloff=rng.uniform(0.7, 1.0))
    mix = 1 / (1 + np.exp(-2 * fields[..., :1]))
    slope = rng.uniform(-25, 25, 2)
    light = slope[0] * np.linspace(-1, 1, height)[:, None, None] + slope[1] * np.linspace(-1, 1, width)[None, :, None]
    colour = first + (second - first) * mix + rng.uniform(15, 35) * fields[..., 1:] + light
    return np.asarray(np.clip(colour, 0, 255), np.uint8)


def sprite(rng: np.random.Generator, shape: str, radius: float) -> Floats:
    """A textured body seen from above, float32 [S, S, 4]: RGB times coverage, and coverage in [0, 1] (smooth edge).

    The unit circle of `outline` has the given radius in pixels around the centre of the middle pixel; S is odd.
    """
    middle = math.ceil(radius) + 1
    side, fine = 2 * middle + 1, 4
    corners = (outline(shape) * radius + middle + 0.5) * fine - 0.5
    mask = np.zeros((side * fine, side * fine), np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, shift=4)
    coverage = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    return np.concatenate([texture(rng, side, side) * coverage, coverage], axis=2)
