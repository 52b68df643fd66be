"""Runs the wanted protocols on the arms: on stored features, on stored tokens, on clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kinema.errors import RecipeError, TrainingDiverged
from kinema.evaluation.arms import CALIBRATED, SCRATCH, UNTRAINED, Arm
from kinema.evaluation.attending import Segments, attentive_scores
from kinema.evaluation.attentive import heads_of
from kinema.evaluation.episodes import run_episodes
from kinema.evaluation.extract import FeatureTable
from kinema.evaluation.finetune import finetune, finetune_card, finetuned_scores
from kinema.evaluation.finetune_presets import FineTune
from kinema.evaluation.measure import Measured, run_protocol
from kinema.evaluation.protocols import PROTOCOLS, Attending, EpisodeProtocol, Training, protocol
from kinema.evaluation.recorder import PIXEL_PROTOCOL, Recorder
from kinema.evaluation.rows import plain
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.splits import Split
from kinema.evaluation.tasks import Protocol, Scores
from kinema.evaluation.tokens import token_maps
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder


class Wanted:
    """The protocols of an evaluation by what they need.

    Attributes:
        stored, episodes, attending, training: protocols of each kind.
        classifies: any of them names classes, so that the pixel references are asked to.
        extraction: the settings' with the taps that are needed.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        found = [protocol(name, settings.options) for name in dict.fromkeys(settings.protocols)]
        self.stored = [one for one in found if isinstance(one, Protocol)]
        self.episodes = [one for one in found if isinstance(one, EpisodeProtocol)]
        self.attending = [one for one in found if isinstance(one, Attending)]
        self.training = [one for one in found if isinstance(one, Training)]
        self.classifies = bool(self.attending or self.training) or not all(one.retrieves for one in self.stored)
        wanted = [name for one in self.stored for name in (one.tap, *one.taps) if name is not None]
        every_view = any(one.every_view for one in self.stored)
        self.extraction = replace(settings.extraction, taps=tuple(dict.fromkeys(wanted)), every_view=every_view)

    def refuse_folds(self, split: Split) -> None:
        """Raise RecipeError where a protocol would train a network once for each of many folds."""
        if self.training and not split.single:
            raise RecipeError(
                f"'{self.training[0].name}' would train once for each of {len(split.folds)} folds; use a manifest with "
                "a column 'split', or leave this protocol out"
            )


def judge_all(
    recorder: Recorder,
    arms: Sequence[Arm],
    tables: Mapping[str, FeatureTable],
    wanted: Wanted,
    options: EvaluationSettings,
) -> None:
    """Run every protocol on every arm that it suits, on the recorder's split, and record what comes out."""
    _judge(recorder, arms, tables, wanted, options)
    _attend(recorder, arms, wanted, options)
    _finetune(recorder, arms, wanted, options)


def _judge(
    recorder: Recorder,
    arms: Sequence[Arm],
    tables: Mapping[str, FeatureTable],
    wanted: Wanted,
    options: EvaluationSettings,
) -> None:
    """All protocols on stored features."""
    for arm in arms:
        table = tables[arm.key]
        views = options.extraction.views if arm.encoder is not None else "all frames, 20 x 20, grey"
        for found in _suited(arm, table, wanted):
            measured = run_protocol(found, table, recorder.split, options.seed, device=options.extraction.device)
            card = found.card | {"views": views, "feature dim": table.feature(found.tap).shape[2]}
            recorder.record(arm, found.name, measured, card, retrieves=found.retrieves)
        for one in wanted.episodes if recorder.draw == 0 else ():
            features, labels = table.pooled.mean(1)[recorder.tested], recorder.split.labels[recorder.tested]
            accuracy = run_episodes(features, labels, one.episodes, seed=options.seed)
            recorder.record_episodes(arm, one.name, accuracy, {"views": views, "episodes": plain(one.episodes)})


def _suited(arm: Arm, table: FeatureTable, wanted: Wanted) -> list[Protocol]:
    """All on stored features; pixel references have no stages, but the logistic regression that defines them."""
    if arm.encoder is not None:
        return wanted.stored
    found = {one.name: one for one in wanted.stored if set(one.taps) <= table.taps.keys()}
    return list(({**found, PIXEL_PROTOCOL: PROTOCOLS[PIXEL_PROTOCOL]} if wanted.classifies else found).values())


def _attend(recorder: Recorder, arms: Sequence[Arm], wanted: Wanted, options: EvaluationSettings) -> None:
    """Attentive probes; the tokens of one arm at a time are on disk where nothing is cached."""
    reading = options.extraction
    clips = view_preset(reading.views).clips or 1
    for arm in arms if wanted.attending else ():
        if arm.encoder is None:
            continue
        with token_maps({"": arm.encoder}, recorder.manifest, reading) as maps:
            for found in wanted.attending:
                preset, segments = found.preset, Segments(maps[""], clips if found.preset.across else 1)
                heads = preset.heads or heads_of(arm.encoder)
                scores = attentive_scores(
                    segments, recorder.split, preset, heads=heads, seed=options.seed, device=reading.device
                )
                card: dict[str, Any] = {"views": reading.views, "aggregation": "mean_softmax", "probe": plain(preset)}
                card |= {"feature dim": segments.tokens.shape[-1], "heads": heads, "tokens": segments.tokens.shape[2]}
                recorder.record(arm, found.name, Measured(scores, ({},)), card, retrieves=False)


def _finetune(recorder: Recorder, arms: Sequence[Arm], wanted: Wanted, options: EvaluationSettings) -> None:
    """Protocols that train on clips; fine-tuning the untrained network is the arm "scratch"."""
    for found in wanted.training:
        for arm in arms:
            if arm.encoder is None or (not found.preset.frozen and _is_moot(arm, scratch=options.scratch)):
                continue
            named = arm._replace(name=SCRATCH) if arm.name == UNTRAINED and not found.preset.frozen else arm
            scores = _trained_scores(arm.encoder, recorder, found.preset, options, arm.seed)
            card = finetune_card(found.name, found.preset, arm.encoder)
            recorder.record(named, found.name, Measured(scores, (scores.card,)), card, retrieves=False)


def _is_moot(arm: Arm, *, scratch: bool) -> bool:
    """Training estimates BatchNorm's statistics itself; the untrained network is a baseline that may be left out."""
    return arm.name == CALIBRATED or (arm.name == UNTRAINED and not scratch)


def _trained_scores(
    encoder: Encoder, recorder: Recorder, preset: FineTune, options: EvaluationSettings, seed: int
) -> Scores:
    """Scores of one training; one that broke down has none, is counted as wrong, and says so."""
    split, reading = recorder.split, options.extraction
    try:
        trained = finetune(encoder, recorder.manifest, split, preset, reading=reading, seed=seed)
    except TrainingDiverged as error:
        nothing = np.full((len(split.folds[0].test), len(split.classes)), np.nan)
        return Scores({"": nothing}, {"": nothing[:, None]}, {"diverged": str(error)})
    return finetuned_scores(trained, recorder.manifest, split, reading)
