"""What `kinema methods` prints."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

from kinema.data.manifest import template
from kinema.methods.registry import METHODS, find_method
from kinema.training.files import write_atomic
from kinema.training.recipe import recipe_keys, shipped_recipes


def list_methods() -> None:
    """Title, place in the taxonomy and paper of each method."""
    width = max(map(len, METHODS))
    for name, entry in METHODS.items():
        print(f"{name:<{width}}  {entry.title}")
        for line in filter(None, (entry.kind, entry.paper)):
            print(f"{'':<{width}}  {line}")
    print("\nmore: kinema methods NAME · a method of your own: kinema pretrain package.module:Class")


def explain_method(name: str) -> None:
    """Paper, manifest columns, options with defaults and meaning, and shipped recipes of one method."""
    cls = find_method(name)
    if name in METHODS:
        entry = METHODS[name]
        print("\n".join(filter(None, (f"{name}: {entry.title}", entry.kind, entry.paper, "\n"))), end="")
    print(
        f"manifest columns: {', '.join(cls.columns)}"
        + (f"; used if there: {', '.join(cls.optional)}" if cls.optional else "")
    )
    print(f"recipes: {', '.join(shipped_recipes(name)) or 'none'}\n\noptions:")
    meanings = option_meanings(cls)
    for key, default in recipe_keys(name).items():
        if key.startswith("options."):
            option = key.removeprefix("options.")
            print(f"  {option}={default}")
            print(textwrap.fill(meanings.get(option, ""), 100, initial_indent="      ", subsequent_indent="      "))


def option_meanings(cls: type) -> dict[str, str]:
    """The sentences of the "Args:" part of a class's docstring, by option."""
    meanings: dict[str, str] = {}
    _, _, arguments = (inspect.getdoc(cls) or "").partition("Args:\n")
    option = ""
    for line in arguments.splitlines():
        if not line.startswith("    "):
            break
        if not line.startswith("     "):
            option, _, line = line.strip().partition(":")
        meanings[option] = f"{meanings.get(option, '')} {line.strip()}".strip()
    return meanings


def write_template(name: str, path: Path) -> None:
    """Write a CSV with the columns that a method reads, to be filled in."""
    cls = find_method(name)
    write_atomic(path, template([*cls.columns, *cls.optional]))
    print(f"wrote {path}: fill in one row per video")
