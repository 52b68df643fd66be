"""One sentence about a clip, made of what is true of it; drawn wordings mean the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COMPASS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
"""The eight directions, clockwise as seen, from 0 degrees on."""

HEADED = ("translate", "zigzag", "stop_and_go")
"""Motions that lead somewhere."""

_WORDINGS: dict[str, tuple[str, ...]] = {
    "translate": ("moves straight on", "glides along a line", "travels without turning"),
    "oscillate": ("swings to and fro", "goes back and forth", "oscillates along a line"),
    "orbit": ("moves in a circle", "goes round and round", "travels along a ring"),
    "zigzag": ("moves in a zigzag", "goes on by sharp turns", "zigzags along"),
    "stop_and_go": ("moves and stops by turns", "goes on in jerks", "travels with halts"),
    "rotate": ("spins in place", "turns about itself", "rotates on the spot"),
    "rock": ("rocks in place", "tilts to and fro", "sways on the spot"),
    "pulse": ("grows and shrinks", "swells and shrinks again", "pulses in size"),
    "walk": ("walks", "is walking", "strolls"),
    "walk_backwards": ("walks backwards", "steps back", "is walking in reverse"),
    "run": ("runs", "is running", "jogs"),
    "jump": ("jumps", "is jumping on the spot", "hops up and down"),
    "wave": ("waves a hand", "is waving", "waves with one arm"),
    "clap": ("claps", "is clapping", "claps the hands"),
    "kick": ("kicks", "is kicking", "swings a leg forward"),
    "sit_down": ("sits down", "takes a seat", "goes from standing to sitting"),
    "stand_up": ("stands up", "gets up", "goes from sitting to standing"),
}

_PACES: dict[str, tuple[str, ...]] = {
    "slow": ("slowly", "at a low speed"),
    "medium": ("at a medium speed", "at a moderate pace"),
    "fast": ("fast", "quickly"),
}

_CAMERAS: dict[str, tuple[str, ...]] = {
    "drift": ("", "", " while the camera slides"),
    "walk": (" as the camera bobs with each step", " filmed while walking"),
    "sweep": (" while the camera sweeps from side to side", " as the view swings left and right"),
    "tremble": (" while the camera shakes", " filmed with a trembling hand"),
}


def choose(rng: np.random.Generator, wordings: Sequence[str]) -> str:
    """One of several wordings."""
    return wordings[int(rng.integers(len(wordings)))]


def wording(rng: np.random.Generator, motion: str, way: str | None = None, pace: str | None = None) -> str:
    """What something does, for example "glides along a line to the left, slowly".

    Args:
        rng: draws the wording.
        motion: a motion or action.
        way: one of `COMPASS`, said of motions that lead somewhere.
        pace: "slow", "medium", "fast", or anything else, which is passed over.
    """
    text = choose(rng, _WORDINGS[motion])
    if way is not None and motion in HEADED:
        text += f" to the {way}" if way in ("left", "right") else f" {way}"
    if pace in _PACES:
        text += f" {choose(rng, _PACES[pace])}"
    return text


def sentence(rng: np.random.Generator, subject: str, doings: Sequence[str], camera: str) -> str:
    """A sentence of a subject, what it does in order, and how the camera moves."""
    text = choose(rng, (" and then ", ", then ")).join(doings)
    whole = f"{subject} {text}{choose(rng, _CAMERAS[camera])}."
    return whole[0].upper() + whole[1:]


def article(noun: str) -> str:
    """The noun with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
