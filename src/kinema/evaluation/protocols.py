"""The protocols by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kinema.errors import RecipeError, suggest
from kinema.evaluation.attending import AttentivePreset
from kinema.evaluation.episodes import Episodes, parse_episodes
from kinema.evaluation.finetune_presets import FINETUNE_PRESETS, FROZEN_PRESETS, FineTune
from kinema.evaluation.linear_sgd import LINEAR_PRESETS
from kinema.evaluation.neighbours import KNN
from kinema.evaluation.overrides import overridden
from kinema.evaluation.pairing import NAME, SimilarityPreset
from kinema.evaluation.probes import LINEAR, linear_protocol
from kinema.evaluation.propagation.presets import NAME as PROPAGATION
from kinema.evaluation.propagation.presets import Propagation, propagation
from kinema.evaluation.retrieving import RETRIEVAL
from kinema.evaluation.sequence_probe import SEQUENCE_PROBES, SequenceProbe
from kinema.evaluation.svm import SVM
from kinema.evaluation.tasks import Protocol

Options = Mapping[str, Mapping[str, Any]]
SECTIONS = ("finetune", "linear", "attentive", "similarity", "propagation")


@dataclass(frozen=True)
class Training:
    """A protocol that trains on clips with labels: a network, or a head on a frozen one."""

    name: str
    preset: FineTune


@dataclass(frozen=True)
class Attending:
    """A protocol that trains an attentive probe on stored tokens."""

    name: str
    preset: AttentivePreset


@dataclass(frozen=True)
class SequenceAttending:
    """A protocol that trains LV-MAE's attentive probe on the tokens of sequences."""

    name: str
    preset: SequenceProbe


@dataclass(frozen=True)
class EpisodeProtocol:
    """A protocol whose number is a mean over episodes drawn from the test videos."""

    name: str
    episodes: Episodes


@dataclass(frozen=True)
class Similarity:
    """The protocol whose samples are pairs of videos."""

    name: str
    preset: SimilarityPreset


AnyProtocol = Protocol | Training | Attending | SequenceAttending | EpisodeProtocol | Similarity | Propagation
PROTOCOLS = {found.name: found for found in (*KNN, *LINEAR, *RETRIEVAL, *SVM)}
TRAININGS: dict[str, Training | Attending | SequenceAttending] = {
    **{f"finetune:{name}": Training(f"finetune:{name}", preset) for name, preset in FINETUNE_PRESETS.items()},
    **{f"linear:{name}": Training(f"linear:{name}", preset) for name, preset in FROZEN_PRESETS.items()},
    "attentive": Attending("attentive", AttentivePreset()),
    "attentive:across": Attending("attentive:across", AttentivePreset(across=True)),
    **{f"attentive:{name}": SequenceAttending(f"attentive:{name}", probe) for name, probe in SEQUENCE_PROBES.items()},
}
_SHORT = {"retrieval": "retrieval:benchmark", "finetune": "finetune:quick", "linear:logreg": "linear"}


def protocol(name: str, options: Options | None = None) -> AnyProtocol:
    """The protocol called `name`; "retrieval" and "finetune" are short for a preset, "episodes:NxK" is made to measure.

    "retrieval:vcop@p4" judges another stage: its map max-pooled and flattened, "@p4.mean" its mean over positions,
    "@pooled" the encoder's own vector.

    Args:
        name: as in result rows.
        options: by section, fields of the preset that are changed: "linear" for probes on stored features, "attentive",
            "finetune" for all that trains on clips, "propagation".

    Raises:
        RecipeError: there is none, or it has no such field.
    """
    options = options or {}
    base, _, tap = name.partition("@")
    full = _SHORT.get(base, base)
    if full == NAME:
        similar = overridden(SimilarityPreset(), options.get(NAME, {}), NAME)
        similar = replace(similar, taps=tuple(tap.split("+"))) if tap else similar
        return Similarity(similar.name, similar)
    section, _, preset = full.partition(":")
    if section == PROPAGATION:
        carrying = propagation(full, tap)
        return replace(carrying, preset=overridden(carrying.preset, options.get(PROPAGATION, {}), PROPAGATION))
    if tap and full in PROTOCOLS:
        return tapped(PROTOCOLS[full], tap)
    if tap and full in TRAININGS:
        raise RecipeError(f"'{full}' does not judge stored features of a stage: it takes no @{tap}")
    episodes = parse_episodes(full)
    if episodes is not None:
        return EpisodeProtocol(f"episodes:{episodes.ways}x{episodes.shots}", episodes)
    if section == "linear" and preset in LINEAR_PRESETS and options.get("linear"):
        return linear_protocol(preset, overridden(LINEAR_PRESETS[preset], options["linear"], "linear"))
    found = TRAININGS.get(full)
    if isinstance(found, Training):
        return Training(full, overridden(found.preset, options.get("finetune", {}), "finetune"))
    if isinstance(found, Attending):
        return Attending(full, overridden(found.preset, options.get(section, {}), section))
    if isinstance(found, SequenceAttending):
        return SequenceAttending(full, overridden(found.preset, options.get(section, {}), section))
    if full not in PROTOCOLS:
        known = [*PROTOCOLS, *TRAININGS, *_SHORT, "episodes", NAME, PROPAGATION]
        raise RecipeError(f"there is no protocol called '{name}'.{suggest(base, known)}")
    return PROTOCOLS[full]


def tapped(found: Protocol, tap: str) -> Protocol:
    """A protocol on stored features with another stage output in place of its own.

    Raises:
        RecipeError: it chooses among several.
    """
    if found.taps:
        raise RecipeError(f"'{found.name}' chooses among stages itself: it takes no @{tap}")
    stage, mean = tap.removesuffix(".mean"), tap.endswith(".mean")
    pooled_by = "mean over positions" if mean else "max pool (1, 2, 2), flattened"
    feature = "pooled" if tap == "pooled" else f"{stage}, {pooled_by}"
    card = found.card | {"feature": feature}
    return replace(found, name=f"{found.name}@{tap}", tap=None if tap == "pooled" else tap, card=card)
