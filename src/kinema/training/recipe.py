"""Recipes: everything that decides a run, typed, in one place; YAML and `key=value` are views of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from kinema.data.fractions import FractionBy
from kinema.errors import RecipeError, suggest
from kinema.methods.base import Method
from kinema.methods.registry import find_method, is_outside


@dataclass(frozen=True)
class OptimiserConfig:
    """How weights move.

    Args:
        name: "sgd" (momentum), "adamw" or "adam".
        lr: learning rate, as written; never scaled behind your back.
        momentum: of SGD.
        nesterov: Nesterov momentum for SGD.
        weight_decay: L2 for "sgd" and "adam", decoupled for "adamw".
        betas: of Adam and AdamW.
    """

    name: Literal["sgd", "adamw", "adam"] = "sgd"
    lr: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes.

    Args:
        name: "constant", "step" (times `gamma` every `every`, or at each of `milestones`) or "cosine" (per step, down
            to `floor`).
        every: period of "step".
        milestones: when "step" falls, instead of a period.
        gamma: factor of "step".
        floor: last factor of "cosine".
        warmup: length of the linear rise from zero.
        rise: "moving" begins it at one part of the peak, so that the first step moves; "zero" at 0, and its last step
            has the peak (VideoMAE).
        unit: what `every`, `milestones` and `warmup` count: "epochs", fractions allowed, or "steps" of the optimiser.
    """

    name: Literal["constant", "step", "cosine"] = "cosine"
    every: float = 6.0
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    floor: float = 0.0
    warmup: float = 0.0
    rise: Literal["moving", "zero"] = "moving"
    unit: Literal["epochs", "steps"] = "epochs"


@dataclass(frozen=True)
class Recipe:
    """One run, complete.

    Args:
        method: registered name, or package.module:Class.
        options: arguments of the method's class.
        epochs: passes over the samples.
        steps: length of the run in optimiser steps instead; null: `epochs` decides.
        batch: samples of one step, over all processes and micro-batches together.
        accumulate: micro-batches of one step and process.
        optimiser: how weights move.
        schedule: how the learning rate changes.
        clip_grad: largest global gradient norm of each phase; null: no clipping.
        precision: "fp32", "bf16" or "fp16" (with loss scaling).
        ema: decay of an exponential moving average of the weights, kept beside them; 0: none.
        seed: of every random number.
        workers: processes that read and prepare; null: chosen from the cores.
        threads: threads of the network's arithmetic on the CPU; null: the cores that the workers leave free. The
            last bits of the result depend on it.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        sync_bn: share BatchNorm statistics between processes.
        channels_last: lay 3D convolutions out with channels innermost; faster for narrow networks on CPUs and for
            half precision on GPUs.
        compile: run the losses through torch.compile.
        checkpoint: minutes between checkpoints; one is also written at the end.
        keep: checkpoints that stay on disk.
        health: epochs between looks at the features; 0: only at the end.
        validation: share of the rows held out for the pretext's own validation.
        fraction: share of the files, of those that are not held out, to train on: the first ceil(fraction x n).
        fraction_by: their order: by "name", by "time" of recording, or "random" (see `kinema.data.fractions`).
        choose: the weights that a run stands for: its "last", or its "best", those with the least loss on the held-out
            rows at any look at the features (`health`).
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 20
    steps: int | None = None
    batch: int = 30
    accumulate: int = 1
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    clip_grad: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: float = 0.0
    seed: int = 0
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"
    sync_bn: bool = True
    channels_last: bool = False
    compile: bool = False
    checkpoint: float = 2.0
    keep: int = 2
    health: float = 1.0
    validation: float = 0.0
    fraction: float = 1.0
    fraction_by: FractionBy = "name"
    choose: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        positive = {"epochs": self.epochs, "batch": self.batch, "accumulate": self.accumulate, "keep": self.keep}
        positive |= {} if self.steps is None else {"steps": self.steps}
        for name, value in positive.items():
            if value is None or value < 1:
                raise RecipeError(f"{name}={value}: must be at least 1")
        for name, least in {"workers": 0, "threads": 1, "checkpoint": 0, "health": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise RecipeError(f"{name}={value}: must be at least {least}")
        if not 0 <= self.ema < 1:
            raise RecipeError(f"ema={self.ema}: a decay lies in [0, 1); 0 means no average")
        if not 0 <= self.validation < 1:
            raise RecipeError(f"validation={self.validation}: a share of the rows, in [0, 1)")
        if not 0 < self.fraction <= 1:
            raise RecipeError(f"fraction={self.fraction}: a share of the files, above 0 and at most 1")
        if self.choose == "best" and not self.validation:
            raise RecipeError("choose=best needs held-out rows to judge by: set validation, for example validation=0.1")
        if self.optimiser.lr <= 0:
            raise RecipeError(f"optimiser.lr={self.optimiser.lr}: must be positive")

    def build(self) -> Method:
        """A fresh method at its initial weights, a function of the recipe alone.

        Raises:
            RecipeError: the method does not take one of the options, or refuses its value.
        """
        import torch

        from kinema.randomness import key_entropy

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key_entropy(self.seed, "init") & 0x7FFF_FFFF_FFFF_FFFF)
            try:
                return find_method(self.method)(**self.options)
            except (TypeError, ValueError) as error:
                raise RecipeError(f"method '{self.method}' refuses its options {self.options}: {error}") from error

    def to_yaml(self) -> str:
        """The recipe as YAML that `load_recipe` reads back unchanged."""
        return yaml.safe_dump(_plain(asdict(self)), sort_keys=False)


def load_recipe(
    method: str | None = None, recipe: str | Path | None = None, overrides: Iterable[str] | Mapping[str, Any] = ()
) -> Recipe:
    """Resolve a recipe: a shipped one ("tiny", "paper") or a YAML file, then the overrides.

    Args:
        method: registered name or package.module:Class; may be left out when `recipe` is a file that names it.
        recipe: name of a shipped recipe of that method, or a path; None: "tiny" where the method ships one.
        overrides: "key=value" texts, or a mapping. A key is a full dotted name (optimiser.lr, options.backbone) or its
            last part where only one option ends so (lr, backbone).

    Raises:
        RecipeError: unknown method, recipe or key (with a suggestion), or a value of the wrong type.
    """
    tree = _read_recipe(method, recipe)
    named = method or tree.get("method")
    if not named:
        raise RecipeError(f"{recipe} does not name a method: add the line  method: sts")
    tree["method"] = named
    keys = recipe_keys(named)
    for key, value in override_pairs(overrides):
        full = resolve_key(key, keys)
        # motion=1 names a pattern: YAML takes it for a number.
        is_text = isinstance(keys[full], str) and isinstance(value, int | float) and not isinstance(value, bool)
        _set(tree, full, str(value) if is_text else value)
    return _typed(tree, keys)


def recipe_keys(method: str) -> dict[str, Any]:
    """Every key that a recipe of `method` takes, dotted, with its default ("options.backbone" …)."""
    tree = asdict(Recipe(method))
    del tree["options"]
    keys = _flatten(tree)
    for name, parameter in inspect.signature(find_method(method).__init__).parameters.items():
        if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            keys[f"options.{name}"] = None if parameter.default is parameter.empty else parameter.default
    return keys


def resolve_key(key: str, known: Iterable[str]) -> str:
    """The full dotted name of `key`, which may be the last part of exactly one."""
    names = list(known)
    if key in names:
        return key
    ends = [name for name in names if name.endswith(f".{key}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise RecipeError(f"'{key}' could be {' or '.join(ends)}: write the full name")
    offered = names if "." in key else {name.rpartition(".")[2] for name in names}
    raise RecipeError(f"no option is called '{key}'.{suggest(key, offered)}")


def shipped_recipes(method: str) -> list[str]:
    """Names of the recipes that come with a method."""
    folder = resources.files("kinema") / "recipes" / method
    return (
        sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")) if folder.is_dir() else []
    )


def _read_recipe(method: str | None, recipe: str | Path | None) -> dict[str, Any]:
    shipped = [] if method is None or is_outside(method) else shipped_recipes(method)
    if recipe is None and "tiny" not in shipped:
        return {}
    name = "tiny" if recipe is None else str(recipe)
    if name in shipped:
        text = (resources.files("kinema") / "recipes" / str(method) / f"{name}.yaml").read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        raise RecipeError(
            f"no recipe '{name}': '{method}' ships {', '.join(shipped) or 'none'}, and no file has that name"
        )
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{name} must hold 'key: value' lines")
    if method and tree.get("method", method) != method:
        raise RecipeError(f"{name} is a recipe of '{tree['method']}', but '{method}' was asked for")
    return tree


def override_pairs(overrides: Iterable[str] | Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Key and value of each override; the value of a text is read as YAML.

    Raises:
        RecipeError: a text that is no "key=value".
    """
    if isinstance(overrides, Mapping):
        yield from overrides.items()
        return
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise RecipeError(f"'{text}' is no override: write key=value, for example epochs=20")
        try:
            yield key.strip(), yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"the value of '{text}' cannot be read: {error}") from error


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        tree = tree.setdefault(group, {})
    tree[last] = value


def _typed(tree: dict[str, Any], keys: Mapping[str, Any]) -> Recipe:
    """Check every key and type, and build the recipe."""
    import jsonargparse

    for key in _flatten(tree):
        # An option may hold a mapping, whose own keys are the method's business.
        stem = ".".join(key.split(".")[:2]) if key.startswith("options.") else key
        if stem not in keys and stem != "options":
            raise RecipeError(f"the recipe has the unknown key '{key}'.{suggest(key, keys)}")
    method = tree["method"]
    options = jsonargparse.ArgumentParser(exit_on_error=False)
    options.add_class_arguments(find_method(method), None)
    settings = jsonargparse.ArgumentParser(exit_on_error=False)
    settings.add_class_arguments(Recipe, None, skip={"options"})
    try:
        chosen = options.parse_object(tree.get("options") or {}).as_dict()
        fields = settings.parse_object({key: value for key, value in tree.items() if key != "options"}).as_dict()
    except jsonargparse.ArgumentError as error:
        raise RecipeError(wrong_type(error)) from error
    fields["optimiser"] = OptimiserConfig(**fields["optimiser"])
    fields["schedule"] = ScheduleConfig(**fields["schedule"])
    return Recipe(**fields, options=chosen)


def wrong_type(error: Exception) -> str:
    """What jsonargparse says of a value of the wrong type, as "optimiser.lr=fast: expected float"."""
    text = " ".join(str(error).split())
    found = re.search(
        r"""Parser key "(?P<key>[^"]+)": Expected an? <class '(?P<type>\w+)'>\. Got value: (?P<value>.*)""", text
    )
    return f"{found['key']}={found['value']}: expected {found['type']}" if found else text


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _plain(value: Any) -> Any:
    """Tuples to lists, so that safe YAML can hold them."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
