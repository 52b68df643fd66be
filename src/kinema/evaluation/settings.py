"""What an evaluation measures, and on which division of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from kinema.errors import RecipeError, suggest
from kinema.evaluation.extract import Extraction
from kinema.evaluation.overrides import overridden
from kinema.evaluation.protocols import SECTIONS, Options
from kinema.evaluation.subsets import Subset
from kinema.training.recipe import override_pairs


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything that decides the numbers, besides encoders and videos.

    Attributes:
        protocols: names known to `kinema.evaluation.protocols`.
        label: column of the classes.
        group: column of what belongs together (scene, person, source video); absent, each file is its own group.
        folds: leave one value of this column out at a time, instead of the column `split`.
        within: with `folds`: column whose values are never mixed.
        pixels: add the three pixel references.
        calibrated: add the untrained network with BatchNorm statistics from training clips.
        scratch: under protocols "finetune:…", train the untrained network as well.
        subset: how few of the training videos are used.
        options: by section ("finetune", "linear", "attentive", "propagation" …), fields of the protocols' presets that
            are changed.
        seed: key of drawn folds, held-out parts, orders and initial heads.
        extraction: views, batch, device, workers, cache, skip_broken.
    """

    protocols: tuple[str, ...] = ("knn", "linear", "retrieval")
    label: str = "label"
    group: str = "group"
    folds: str | None = None
    within: str | None = None
    pixels: bool = True
    calibrated: bool = True
    scratch: bool = True
    subset: Subset = field(default_factory=Subset)
    options: Options = field(default_factory=dict)
    seed: int = 0
    extraction: Extraction = field(default_factory=Extraction)


_PLAIN: dict[str, type] = {"label": str, "group": str, "pixels": bool, "calibrated": bool, "scratch": bool}
"""Settings that can be changed by their own name, and their types."""


def with_overrides(settings: EvaluationSettings, overrides: Iterable[str] | Mapping[str, Any]) -> EvaluationSettings:
    """The settings changed by "shots=10", "finetune.epochs=3", "linear.lrs=[0.1,1]", "label=speed_class" …

    Raises:
        RecipeError: an unknown name, or a value of the wrong type. Names of a preset are checked when it is used.
    """
    options = {section: dict(settings.options.get(section, {})) for section in SECTIONS}
    subset: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    known = [found.name for found in fields(Subset)]
    for key, value in override_pairs(overrides):
        section, dot, name = key.partition(".")
        if dot and section in SECTIONS:
            options[section][name] = value
        elif key in known:
            subset[key] = value
        elif key in _PLAIN:
            if not isinstance(value, _PLAIN[key]):
                raise RecipeError(f"{key}={value}: a value of type {_PLAIN[key].__name__} is needed")
            plain[key] = value
        else:
            offered = [*known, *_PLAIN, *(f"{section}.…" for section in SECTIONS)]
            raise RecipeError(f"an evaluation has no option '{key}'.{suggest(key, offered)}")
    kept = {section: changes for section, changes in options.items() if changes}
    return replace(settings, options=kept, subset=overridden(settings.subset, subset, "subset"), **plain)
