"""Presets with some of their fields changed, typed and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from kinema.errors import RecipeError
from kinema.training.recipe import resolve_key, wrong_type

Preset = TypeVar("Preset")


def overridden(preset: Preset, changes: Mapping[str, Any], section: str) -> Preset:
    """`preset`, a frozen dataclass, with the fields named in `changes`.

    Args:
        preset: fields may be dataclasses themselves.
        changes: by dotted name ("optimiser.lr"), or its last part where that is unique ("lr").
        section: what messages put before a name ("finetune").

    Raises:
        RecipeError: an unknown name (with a suggestion), or a value of the wrong type.
    """
    if not changes:
        return preset
    import jsonargparse

    tree = dataclasses.asdict(preset)  # type: ignore[call-overload]
    known = _names(tree)
    for name, value in changes.items():
        *groups, last = resolve_key(name, known).split(".")
        inner = tree
        for group in groups:
            inner = inner[group]
        inner[last] = value
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{section}", type=type(preset))
    try:
        values = parser.parse_object({section: tree}).as_dict()[section]
    except jsonargparse.ArgumentError as error:
        raise RecipeError(wrong_type(error)) from error
    for field in dataclasses.fields(preset):  # type: ignore[arg-type]
        old = getattr(preset, field.name)
        if dataclasses.is_dataclass(old):
            values[field.name] = dataclasses.replace(old, **values[field.name])  # type: ignore[type-var]
    return dataclasses.replace(preset, **values)  # type: ignore[type-var]


def _names(tree: Mapping[str, Any]) -> list[str]:
    """Dotted names of all fields."""
    names = []
    for name, value in tree.items():
        names += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name]
    return names
