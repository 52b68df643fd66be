"""Runs the wanted protocols on the arms: on stored features, on stored tokens, on clips."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.manifest import Manifest
from kinema.errors import RecipeError, TrainingDiverged
from kinema.evaluation.arms import CALIBRATED, SCRATCH, UNTRAINED, Arm, planned_tables
from kinema.evaluation.attending import Segments, attentive_scores
from kinema.evaluation.attentive import heads_of
from kinema.evaluation.episodes import run_episodes
from kinema.evaluation.extract import Extraction, FeatureTable, Progress
from kinema.evaluation.finetune import finetune, finetune_card, finetuned_scores
from kinema.evaluation.finetune_presets import FineTune
from kinema.evaluation.measure import Measured, run_protocol
from kinema.evaluation.pairing import SimilarityPreset
from kinema.evaluation.propagation.presets import Propagation
from kinema.evaluation.protocols import (
    PROTOCOLS,
    AnyProtocol,
    Attending,
    EpisodeProtocol,
    SequenceAttending,
    Similarity,
    Training,
    protocol,
)
from kinema.evaluation.recorder import PIXEL_PROTOCOL, Recorder
from kinema.evaluation.rows import plain
from kinema.evaluation.sequence_judging import attend_sequences, shown_views
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.splits import Split
from kinema.evaluation.subsets import subset_split
from kinema.evaluation.svm import run_svm
from kinema.evaluation.tasks import Protocol, Scores
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder

TOKENS = "map.tokens"
Tables = Sequence[Mapping[str, FeatureTable]]


class Wanted:
    """The protocols of an evaluation by what they need.

    Attributes:
        stored, episodes, attending, sequences, training: protocols of each kind.
        similarity: how pairs are judged, where that is what is wanted, and nothing else.
        propagation: how labels are carried, where that is what is wanted, and nothing else.
        classifies: any of them names classes otherwise than by a plane, so that the logistic regression that defines
            the pixel references stands for it there.
        plans: how features are taken, the settings' views first; of all of them a video is decoded once.
        folds: the column whose values are left out in turn: the protocols' own, else the settings'.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        found = [protocol(name, settings.options) for name in dict.fromkeys(settings.protocols)]
        self.stored = [one for one in found if isinstance(one, Protocol)]
        self.episodes = [one for one in found if isinstance(one, EpisodeProtocol)]
        self.attending = [one for one in found if isinstance(one, Attending)]
        self.sequences = [one for one in found if isinstance(one, SequenceAttending)]
        self.training = [one for one in found if isinstance(one, Training)]
        self.similarity = _alone(found)
        self.propagation = _carried(found)
        defined = all(one.retrieves or one.run is run_svm for one in self.stored)
        self.classifies = bool(self.attending or self.training) or not defined
        self._own = settings.extraction.views
        self.views = tuple(dict.fromkeys([self._own, *map(self.views_of, self.stored)]))
        self.plans = [self._plan(settings.extraction, views) for views in self.views]
        if self.attending:
            self.plans.append(replace(settings.extraction, taps=(TOKENS,), every_view=True))
        self.folds = self._folds(settings.folds)

    def views_of(self, found: Protocol) -> str:
        """The views under which a protocol judges."""
        return found.views or self._own

    def table(self, tables: Tables, found: Protocol, arm: Arm) -> FeatureTable:
        """The features that a protocol judges."""
        return tables[self.views.index(self.views_of(found))][arm.key]

    def _plan(self, extraction: Extraction, views: str) -> Extraction:
        own = [one for one in self.stored if self.views_of(one) == views]
        taps = dict.fromkeys(name for one in own for name in (one.tap, *one.taps) if name is not None)
        single = [one.name for one in own if one.every_view]
        if single and view_preset(views).clips is None:
            raise RecipeError(f"'{single[0]}' judges single clips, which the views '{views}' join; use other --views")
        return replace(extraction, views=views, taps=tuple(taps), every_view=bool(single))

    def _folds(self, stated: str | None) -> str | None:
        columns = {one.folds or stated for one in self.stored} or {stated}
        if len(columns) > 1:
            named = ", ".join(f"'{one.name}'" for one in self.stored if one.folds)
            raise RecipeError(f"{named} divide the videos in a way of their own: evaluate the other protocols apart")
        return columns.pop()

    def refuse_folds(self, split: Split) -> None:
        """Raise RecipeError where a protocol would train a network once for each of many folds."""
        if self.training and not split.single:
            raise RecipeError(
                f"'{self.training[0].name}' would train once for each of {len(split.folds)} folds; use a manifest with "
                "a column 'split', or leave this protocol out"
            )


def _alone(found: Sequence[AnyProtocol]) -> SimilarityPreset | None:
    """The preset for pairs; their samples are no videos, so that nothing else can be evaluated with them."""
    similar = [one for one in found if isinstance(one, Similarity)]
    if similar and len(found) > 1:
        raise RecipeError(f"'{similar[0].name}' judges pairs, not videos: evaluate it by itself")
    return similar[0].preset if similar else None


def _carried(found: Sequence[AnyProtocol]) -> list[Propagation]:
    """The protocols that carry labels; their samples are sequences with annotated frames."""
    carrying = [one for one in found if isinstance(one, Propagation)]
    if carrying and len(found) > len(carrying):
        raise RecipeError(f"'{carrying[0].name}' judges annotated sequences, not videos: evaluate it by itself")
    return carrying


def take(arms: Sequence[Arm], manifest: Manifest, wanted: Wanted, progress: Progress | None) -> Tables:
    """The features that all protocols need, of the rows that all arms could read."""
    if not wanted.attending or wanted.plans[0].cache is not None:
        return planned_tables(arms, manifest, wanted.plans, progress)
    # Tokens are too many for memory; what is mapped outlives the name of its file.
    with tempfile.TemporaryDirectory(prefix="kinema-tokens-") as folder:
        plans = [replace(plan, cache=Path(folder)) for plan in wanted.plans]
        return planned_tables(arms, manifest, plans, progress)


def judge_draws(
    recorder: Recorder, arms: Sequence[Arm], tables: Tables, wanted: Wanted, options: EvaluationSettings
) -> None:
    """`judge_all` with all training videos, or with each of the subsets that are to be drawn."""
    whole = recorder.split
    for draw in range(options.subset.draws):
        if not options.subset.is_whole:
            recorder.use(subset_split(whole, options.subset, draw), draw, options.subset.description)
        judge_all(recorder, arms, tables, wanted, options)


def judge_all(
    recorder: Recorder, arms: Sequence[Arm], tables: Tables, wanted: Wanted, options: EvaluationSettings
) -> None:
    """Run every protocol on every arm that it suits, on the recorder's split, and record what comes out."""
    _judge(recorder, arms, tables, wanted, options)
    _attend(recorder, arms, tables, wanted, options)
    attend_sequences(recorder, arms, wanted.sequences, options)
    _finetune(recorder, arms, wanted, options)


def _judge(
    recorder: Recorder, arms: Sequence[Arm], tables: Tables, wanted: Wanted, options: EvaluationSettings
) -> None:
    """All protocols on stored features."""
    device, seed = options.extraction.device, options.seed
    for arm in arms:
        for found in _suited(arm, wanted):
            table = wanted.table(tables, found, arm)
            measured = run_protocol(found, table, recorder.split, seed, device=device)
            card = found.card | {"views": shown_views(arm, wanted.views_of(found))}
            card |= {"feature dim": table.feature(found.tap).shape[2]}
            recorder.record(arm, found.name, measured, card, retrieves=found.retrieves)
        for one in wanted.episodes if recorder.draw == 0 else ():
            features = np.asarray(tables[0][arm.key].pooled[recorder.tested], np.float32).mean(1)
            accuracy = run_episodes(features, recorder.split.labels[recorder.tested], one.episodes, seed=seed)
            card = {"views": shown_views(arm, wanted.views[0]), "episodes": plain(one.episodes)}
            recorder.record_episodes(arm, one.name, accuracy, card)


def _suited(arm: Arm, wanted: Wanted) -> list[Protocol]:
    """All on stored features; pixel references have no stages, but the logistic regression that defines them."""
    if arm.encoder is not None:
        return wanted.stored
    found = {one.name: one for one in wanted.stored if not one.taps}
    return list(({**found, PIXEL_PROTOCOL: PROTOCOLS[PIXEL_PROTOCOL]} if wanted.classifies else found).values())


def _attend(
    recorder: Recorder, arms: Sequence[Arm], tables: Tables, wanted: Wanted, options: EvaluationSettings
) -> None:
    """Attentive probes on stored tokens, which are the last plan."""
    reading = options.extraction
    for found in wanted.attending:
        for arm in (one for one in arms if one.encoder is not None):
            assert arm.encoder is not None
            preset = found.preset
            segments = Segments(tables[-1][arm.key].taps[TOKENS], _clips(reading.views) if preset.across else 1)
            heads = preset.heads or heads_of(arm.encoder)
            scores = attentive_scores(
                segments, recorder.split, preset, heads=heads, seed=options.seed, device=reading.device
            )
            card: dict[str, Any] = {"views": reading.views, "aggregation": "mean_softmax", "probe": plain(preset)}
            card |= {"feature dim": segments.tokens.shape[-1], "heads": heads, "tokens": segments.tokens.shape[2]}
            recorder.record(arm, found.name, Measured(scores, ({},)), card, retrieves=False)


def _clips(views: str) -> int:
    found = view_preset(views).clips
    if found is None:
        raise RecipeError(f"views={views}: an attentive probe needs the same number of clips of every video")
    return found


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
