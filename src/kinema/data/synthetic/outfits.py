"""What paper-doll persons look like: skin, hair, clothes and build, which are an identity and say no action."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from kinema.data.synthetic.shapes import noise
from kinema.randomness import numpy_generator

Floats = npt.NDArray[np.float32]
Colour = tuple[float, float, float]

COLOURS: dict[str, Colour] = {
    "red": (200, 40, 45),
    "orange": (230, 130, 40),
    "yellow": (225, 205, 60),
    "green": (60, 145, 70),
    "teal": (40, 150, 150),
    "blue": (50, 80, 190),
    "purple": (125, 60, 160),
    "pink": (230, 140, 175),
    "brown": (115, 75, 45),
    "grey": (130, 130, 135),
    "white": (232, 232, 228),
    "black": (38, 38, 42),
}
"""Colours of clothes; every identity wears its own shade."""

PATTERNS = ("plain", "stripes", "checks", "blob")
_SKINS: tuple[Colour, ...] = ((245, 208, 178), (215, 165, 125), (160, 110, 75), (95, 62, 45))
_HAIRS: tuple[Colour, ...] = ((30, 25, 22), (85, 55, 35), (150, 105, 55), (215, 185, 115), (165, 165, 165))


@dataclass(frozen=True)
class Outfit:
    """The looks of one identity.

    Attributes:
        skin: number of the tone.
        hair: number of the colour.
        top: colour of the torso and the arms, one of `COLOURS`.
        pattern: of the torso, one of `PATTERNS`.
        trousers: one of `COLOURS`.
        shoes: one of `COLOURS`.
        bag: whether a bag is carried.
        height: relative to others.
        shoulders: width in heights.
    """

    skin: int
    hair: int
    top: str
    pattern: str
    trousers: str
    shoes: str
    bag: bool
    height: float
    shoulders: float


LOOKALIKES = 0.2
"""Share of the odd-numbered identities that differ from the one before in a single attribute."""


def draw_outfit(seed: int, identity: int) -> Outfit:
    """The looks of an identity of a world."""
    rng = numpy_generator(seed, "person", identity)
    names = list(COLOURS)
    drawn = Outfit(
        skin=int(rng.integers(len(_SKINS))),
        hair=int(rng.integers(len(_HAIRS))),
        top=names[rng.integers(len(names))],
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        trousers=names[rng.integers(len(names))],
        shoes=names[rng.integers(len(names))],
        bag=bool(rng.random() < 0.3),
        height=rng.uniform(0.88, 1.1),
        shoulders=rng.uniform(0.2, 0.27),
    )
    if identity % 2 == 0 or rng.random() >= LOOKALIKES:
        return drawn
    other = draw_outfit(seed, identity - 1)
    differing = [field.name for field in fields(drawn) if getattr(drawn, field.name) != getattr(other, field.name)]
    name = differing[rng.integers(len(differing))]
    changed: Any = {name: getattr(drawn, name)}
    return replace(other, **changed)


@dataclass(frozen=True)
class Cloth:
    """A painted part: float32 [h, w, 4] as `Layer.sprite`, and the pixels (x, y) at which its two joints lie."""

    sprite: Floats
    first: tuple[float, float]
    second: tuple[float, float]


def dress(seed: int, identity: int, height: float, yaw: float) -> dict[str, Cloth]:
    """The parts of a person of `height` pixels that is seen from `yaw` radians (0 from the front, pi / 2 facing right).

    Returns:
        Cloths by the names of `kinema.data.synthetic.persons.PARTS`, drawn at the size at which they are shown.
    """
    outfit, rng = draw_outfit(seed, identity), numpy_generator(seed, "person", identity, "cloth")
    shade = {name: _shade(rng, colour) for name, colour in _palette(outfit).items()}
    grain = rng.integers(1 << 31)
    front, side = abs(math.cos(yaw)), abs(math.sin(yaw))
    width = height * (outfit.shoulders * front + 0.13 * side)
    parts = {"torso": _torso(height * 0.31, width, (shade["top"], shade["pattern"]), outfit.pattern)}
    parts["head"] = _head(height, shade, math.sin(yaw))
    parts["bag"] = _tube(height * 0.16, height * 0.13, [(1.0, shade["bag"])])
    for limb, length, thick, colours in (
        ("upper_arm", 0.16, 0.062, [(1.0, shade["top"])]),
        ("forearm", 0.17, 0.052, [(0.72, shade["top"]), (1.0, shade["skin"])]),
        ("thigh", 0.25, 0.092, [(1.0, shade["trousers"])]),
        ("shin", 0.25, 0.075, [(0.8, shade["trousers"]), (1.0, shade["shoes"])]),
    ):
        parts[limb] = _tube(height * length, height * thick, colours)
    return {name: _grain(cloth, int(grain) + number) for number, (name, cloth) in enumerate(parts.items())}


def _palette(outfit: Outfit) -> dict[str, Colour]:
    names = list(COLOURS)
    top = names.index(outfit.top)
    return {
        "skin": _SKINS[outfit.skin],
        "hair": _HAIRS[outfit.hair],
        "top": COLOURS[outfit.top],
        "pattern": COLOURS[names[(top + 5) % len(names)]],
        "trousers": COLOURS[outfit.trousers],
        "shoes": COLOURS[outfit.shoes],
        "bag": COLOURS[names[(top + 3) % len(names)]],
    }


def _shade(rng: np.random.Generator, colour: Colour) -> Floats:
    return np.clip(np.array(colour, np.float32) + rng.uniform(-14, 14, 3), 0, 255).astype(np.float32)


_FINE = 4


def _coverage(corners: npt.NDArray[np.floating[Any]], height: int, width: int) -> Floats:
    """Area of a polygon (x, y) in each pixel, [height, width]."""
    mask = np.zeros((height * _FINE, width * _FINE), np.uint8)
    points = (np.asarray(corners) + 0.5) * _FINE - 0.5
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, shift=4)
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) / 255, np.float32)


def _capsule(length: float, thick: float) -> tuple[Floats, float]:
    """Coverage of a capsule around a vertical line of `length`, and how far its first end lies from both borders."""
    pad = math.ceil(thick / 2) + 1
    angle = np.linspace(0, math.pi, 16)
    cap = np.stack([np.cos(angle), np.sin(angle)], 1) * thick / 2
    corners = np.concatenate([cap + np.array([pad, pad + length]), pad - cap])
    return _coverage(corners, math.ceil(length) + 2 * pad + 1, 2 * pad + 1), float(pad)


def _tube(length: float, thick: float, colours: list[tuple[float, Floats]]) -> Cloth:
    """A limb: colours down to shares of its length."""
    cover, pad = _capsule(length, thick)
    along = (np.arange(cover.shape[0]) - pad) / length
    rows = np.stack([colours[int(np.searchsorted([c[0] for c in colours[:-1]], a))][1] for a in along])
    return _cloth(np.broadcast_to(rows[:, None], (*cover.shape, 3)), cover, (pad, pad), (pad, pad + length))


def _torso(length: float, width: float, colours: tuple[Floats, Floats], pattern: str) -> Cloth:
    """A box with rounded shoulders; stripes, checks or a blob in the second colour."""
    pad = 2
    middle, bottom = pad + width / 2, pad + 2 + length + 0.03 * length
    shape = [(0.12, 0), (0.88, 0), (1, 0.12), (0.93, 1), (0.07, 1), (0, 0.12)]
    corners = np.array([(pad + x * width, pad + y * (bottom - pad)) for x, y in shape])
    cover = _coverage(corners, math.ceil(bottom) + pad + 1, math.ceil(width) + 2 * pad + 1)
    y, x = np.indices(cover.shape)
    cell = max(2.0, length / 6)
    marks = {
        "plain": np.zeros(cover.shape, bool),
        "stripes": (y // cell) % 2 == 1,
        "checks": ((y // cell) + (x // cell)) % 2 == 1,
        "blob": np.hypot(x - middle, y - length * 0.4) < 0.25 * length,
    }[pattern]
    colour = np.where(marks[..., None], colours[1], colours[0])
    return _cloth(colour, cover, (middle, pad + 2.0), (middle, pad + 2 + length))


def _head(height: float, shade: dict[str, Floats], facing: float) -> Cloth:
    """Neck, face and hair; the face looks to where the person does."""
    radius, length = 0.07 * height, 0.11 * height
    pad = math.ceil(1.2 * radius) + 2
    angle = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    ring = np.stack([np.cos(angle) * radius * 0.9, np.sin(angle) * radius * 1.12], 1)
    rows, columns = math.ceil(length) + 2 * pad, 2 * pad + 1
    face = _coverage(ring + pad, rows, columns)
    neck = _coverage(pad + np.array([(-1, 0), (1, 0), (1, 1), (-1, 1)]) * (0.4 * radius, length), rows, columns)
    y, x = np.indices(face.shape) - pad
    profile = abs(facing) > 0.7
    # Hair covers the top, and the back of a head that is seen from the side.
    hair = (y < -0.35 * radius) | (profile & (math.copysign(1, facing) * x < -0.25 * radius))
    colour = np.where((hair & (face > 0))[..., None], shade["hair"], shade["skin"])
    for eye in (0.55 * facing,) if profile else (0.3 * facing - 0.35, 0.3 * facing + 0.35):
        dark = np.hypot(x - eye * radius, y) < 0.16 * radius
        colour = np.where(dark[..., None], np.float32(25), colour)
    return _cloth(colour, np.maximum(face, neck), (pad, pad), (pad, pad + length))


def _cloth(colour: npt.NDArray[Any], cover: Floats, first: tuple[float, float], second: tuple[float, float]) -> Cloth:
    return Cloth(np.concatenate([colour * cover[..., None], cover[..., None]], 2).astype(np.float32), first, second)


def _grain(cloth: Cloth, seed: int) -> Cloth:
    """A faint texture, without which nobody could see how a plain part moves."""
    height, width = cloth.sprite.shape[:2]
    field = 9 * noise(numpy_generator(seed), height, width, channels=1, falloff=1.0)
    cover = cloth.sprite[..., 3:]
    colour = np.clip(cloth.sprite[..., :3] + field * cover, 0, 255 * cover)
    return replace(cloth, sprite=np.concatenate([colour, cover], 2).astype(np.float32))
