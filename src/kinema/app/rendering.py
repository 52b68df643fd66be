"""`kinema synth`: render a synthetic world and say what to do with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from kinema.app.progress import progress_bar
from kinema.data.synthetic import CAMERA_MOTIONS, Extras, LongWorld, PersonWorld, World, render_world
from kinema.data.synthetic.world import AnyWorld
from kinema.errors import RecipeError, suggest

CALM = World(camera=0.0, distractors=0, clutter=0.1, classes=("translate", "orbit", "rotate", "pulse"))
"""Four motions over quiet backgrounds: what a tiny network can begin to tell within minutes."""

WORLDS: Mapping[str, AnyWorld] = {
    "shapes": World(),
    "calm": CALM,
    "labels": World(border="wrap", identities=16, speeds=(0.15, 0.3, 0.6), directions=8),
    "order": World(border="wrap", identities=16, speeds=(0.15, 0.3, 0.6), directions=8, events=2),
    "crowd": World(distractors=4, mingle=True),
    "persons": PersonWorld(),
    "long": LongWorld(),
}
"""Worlds by the names that `kinema synth --world` takes; docs/synthetic-worlds.md says what each is for."""


def render_to_screen(
    out: Path,
    *,
    clips: int,
    seed: int = 0,
    world: AnyWorld | None = None,
    extras: Extras | None = None,
    workers: int | None = None,
) -> Path:
    """Render `clips` videos of a world into `out`; returns the path of labels.csv."""
    with progress_bar(f"rendering {out}") as tick:
        labels = render_world(out, clips=clips, seed=seed, world=world, extras=extras, workers=workers, progress=tick)
    print(f"{clips:,} videos and {labels}")
    return labels


def choose_world(name: str, overrides: Sequence[str] = (), *, imu: bool = False) -> AnyWorld:
    """The world of a name, changed by `key=value` settings such as "frames=32" or "speeds=[0.2,0.4]".

    With `imu` the camera moves in all ways, unless `camera_motions` is given: a drift is nothing that one could feel.

    Raises:
        RecipeError: an unknown world or setting, or a value that cannot be rendered.
    """
    if name not in WORLDS:
        raise RecipeError(f"--world {name} is unknown.{suggest(name, WORLDS)}")
    world = WORLDS[name]
    known = {field.name for field in fields(world)}
    changes: dict[str, Any] = {"camera_motions": CAMERA_MOTIONS} if imu else {}
    for text in overrides:
        key, _, value = text.partition("=")
        if key not in known:
            raise RecipeError(f"'{key}' is no setting of the world '{name}'.{suggest(key, known)}")
        changes[key] = _parsed(text, value, getattr(world, key))
    try:
        return replace(world, **changes)
    except TypeError as error:
        raise RecipeError(f"{' '.join(overrides)}: a value of the wrong kind ({error})") from error


def _parsed(text: str, value: str, default: Any) -> Any:
    """A value in YAML, of the kind of the default; a single one stands for a list of one."""
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"'{text}' cannot be read: write key=value, lists as [a,b]") from error
    if isinstance(default, tuple):
        return tuple(found) if isinstance(found, list) else (found,)
    wanted = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(found, wanted) or isinstance(found, bool) != isinstance(default, bool):
        raise RecipeError(f"'{text}' does not fit: {type(default).__name__} wanted, as in {default}")
    return found
