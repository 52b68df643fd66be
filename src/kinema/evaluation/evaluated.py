"""Evaluations as they lie on disk: which there are, and of which method, recipe and seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.errors import DataError
from kinema.evaluation.rows import Results
from kinema.training.files import read_json

# What decides no number, or what makes runs of one method differ.
_ASIDE = ("seed", "workers", "threads", "device", "checkpoint", "keep", "health", "method")


@dataclass(frozen=True)
class Evaluated:
    """One stored evaluation.

    Attributes:
        folder: where `results.json` lies.
        method: name of the run's method; for embeddings without a run, the name of their folder.
        recipe: what the weights were made of besides the seed, flat, by dotted name.
        results: what was measured.
    """

    folder: Path
    method: str
    recipe: Mapping[str, Any]
    results: Results


def read_evaluated(folders: Sequence[Path], name: str | None = None) -> list[Evaluated]:
    """Read one evaluation of each folder: a run, a folder of embeddings, or an evaluation's own folder.

    Args:
        folders: what to read.
        name: of the evaluations; by default the one that all folders have.

    Raises:
        DataError: a folder holds no evaluation, or which one is meant is open.
    """
    offered = {folder: _evaluations(folder) for folder in folders}
    several = [names for names in offered.values() if "" not in names]
    if name is None and several:
        common = [found for found in several[0] if all(found in names for names in several)]
        if len(common) != 1:
            named = f"they share: {', '.join(common)}; choose one by --name" if common else "they share none"
            raise DataError(f"{', '.join(map(str, folders))}: which evaluations are to be compared? {named}")
        name = common[0]
    return [_read(folder, "" if "" in offered[folder] else str(name)) for folder in folders]


def group_names(evaluated: Sequence[Evaluated]) -> list[str]:
    """Of each evaluation the name of its method, with the settings by which recipes of one method differ."""
    names = []
    for one in evaluated:
        rivals = [other.recipe for other in evaluated if other.method == one.method]
        keys = dict.fromkeys(key for recipe in rivals for key in recipe)
        differing = [key for key in keys if len({_text(recipe.get(key)) for recipe in rivals}) > 1]
        told = ", ".join(f"{key.removeprefix('options.')}={_text(one.recipe.get(key))}" for key in differing)
        names.append(f"{one.method} ({told})" if told else one.method)
    return names


def _evaluations(folder: Path) -> list[str]:
    """Names of the evaluations of a folder; "" for one that is an evaluation itself."""
    if (folder / "results.json").is_file():
        return [""]
    found = sorted(place.parent.name for place in folder.glob("evaluation/*/results.json"))
    if not found:
        raise DataError(f"{folder} holds no evaluation; make one with: kinema evaluate {folder} --data …")
    return found


def _read(folder: Path, name: str) -> Evaluated:
    place = folder / "evaluation" / name if name else folder
    if not (place / "results.json").is_file():
        raise DataError(f"{folder} has no evaluation '{name}'; it has: {', '.join(_evaluations(folder))}")
    run = folder if name else folder.parent.parent
    results = Results.read(place)
    if not results.rows:
        raise DataError(f"{place} holds no numbers; evaluate again")
    if not (run / "recipe.yaml").is_file():
        return Evaluated(place, run.resolve().name, {}, results)
    tree = _recipe(run / "recipe.yaml")
    recipe = {key: value for key, value in _flat(tree) if key.partition(".")[0] not in _ASIDE}
    if (run / "data.json").is_file():
        recipe["pre-training data"] = str(read_json(run / "data.json").get("digest", ""))[:8]
    return Evaluated(place, str(tree.get("method", run.resolve().name)), recipe, results)


def _recipe(path: Path) -> dict[str, Any]:
    import yaml

    try:
        tree = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise DataError(f"{path} must hold a mapping")
    return tree


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
