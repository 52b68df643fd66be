"""Action similarity: do two videos show the same class? A linear SVM on 36 numbers per pair, over folds of new classes.

STS (TPAMI 2021, section 6) after Kliper-Gross et al. (TPAMI 2012): features of three stages, averaged over the clips of
a video and L2-normalised; twelve (dis)similarities of each; scaled by the training folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.arms import Arm, Encoders, all_arms, planned_tables
from kinema.evaluation.features import Extraction, FeatureTable, Progress
from kinema.evaluation.measure import run_protocol
from kinema.evaluation.pairing import Pairs, SimilarityPreset, draw_pairs, read_pairs
from kinema.evaluation.recorder import Recorder
from kinema.evaluation.rows import Results, plain
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.splits import Fold, Split, every_row, row_names
from kinema.evaluation.svm import STRENGTH, svm_scores, unit
from kinema.evaluation.tasks import Protocol, Scores, Task
from kinema.metrics import pair_features, roc_auc

_BLOCK = 256
_NONE = np.empty(0, np.int64)


class PairRecorder(Recorder):
    """A recorder whose samples are pairs of the manifest's videos."""

    def __init__(
        self, videos: Manifest, pairs: Pairs, pretraining: Mapping[str, Manifest], card: dict[str, Any]
    ) -> None:
        self.pairs = pairs
        super().__init__(videos, pair_split(pairs), pretraining, card)

    def names(self) -> list[str]:
        """Both videos' names."""
        videos = super().names()
        return [f"{videos[first]} | {videos[second]}" for first, second in self.pairs.rows.tolist()]

    def shown(self) -> list[int]:
        """Every video of any pair."""
        return [int(row) for row in np.unique(self.pairs.rows)]


def evaluate_pairs(
    encoders: Encoders,
    manifest: Manifest,
    preset: SimilarityPreset,
    settings: EvaluationSettings,
    *,
    pretraining: Mapping[str, Manifest] | None = None,
    progress: Progress | None = None,
) -> Results:
    """Judge encoders, and the baselines that `settings` asks for, by pairs of videos.

    Rows are "top1" (percent of pairs judged right; the card has the mean and standard error over folds) and "AUC".

    Args:
        encoders: by arm, as for `evaluate`.
        manifest: videos; with labels, where no pairs are given.
        preset: how pairs are described.
        settings: label column, baselines, seed, extraction.
        pretraining: by arm, the manifest it was pre-trained on.
        progress: called with (rows done, rows) while videos are decoded.

    Raises:
        DataError: pairs cannot be read or drawn, or videos cannot be read.
        RecipeError: an encoder has no such stage.
    """
    labelled = _with_label(manifest, settings.label) if not preset.pairs else manifest
    pairs = _pairs(labelled, preset, settings)
    arms = all_arms(encoders, labelled, every_row(len(labelled)), settings)
    taps = tuple(tap for tap in preset.taps if tap != "pooled")
    plan = replace(settings.extraction, views=preset.views, taps=taps, every_view=False)
    tables = planned_tables(arms, labelled, [plan], progress)[0]
    kept = next(iter(tables.values())).rows
    pairs = pairs.keep(kept)
    card = _card(labelled.select(kept), pairs, preset, settings) | {"skipped": len(labelled) - len(kept)}
    recorder = PairRecorder(labelled.select(kept), pairs, pretraining or {}, card)
    for arm in arms:
        _judge(recorder, arm, tables[arm.key], preset, plan)
    about = {"manifest": manifest.digest(), "root": str(manifest.root.resolve()), "settings": plain(preset)}
    return recorder.results(recorder.card | about)


def pair_table(table: FeatureTable, pairs: Pairs, preset: SimilarityPreset) -> npt.NDArray[np.float32]:
    """The measures [P, 12 x stages] of all pairs; what is negative in a feature counts as 0."""
    features = [
        table.feature(None if tap == "pooled" else tap) for tap in preset.taps[: 1 if table.stageless else None]
    ]
    found = []
    for rows in np.array_split(pairs.rows, range(_BLOCK, len(pairs.rows), _BLOCK)):
        sides = [[_video(values, rows[:, side]) for side in (0, 1)] for values in features]
        found.append(pair_features([(first, second) for first, second in sides], normalise=preset.normalise))
    return np.concatenate(found).astype(np.float32)


def run_similarity(task: Task) -> Scores:
    """A linear SVM on measures scaled to mean 0 and deviation 1 over the training folds; no deviation: no scaling."""
    train, test = (np.asarray(part.averaged, np.float64) for part in (task.train, task.test))
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation < 1e-12] = 1.0
    scaled = (train - mean) / deviation, (test - mean) / deviation
    return Scores({"": svm_scores(scaled[0], task.train.labels, scaled[1], classes=2)}, {}, {})


def pair_split(pairs: Pairs) -> Split:
    """Every fold is tested once, by what was learned from all others.

    Raises:
        DataError: there are fewer than two folds, or one without both kinds of pairs in the others.
    """
    names, every = np.array(pairs.folds), np.arange(len(pairs.folds))
    folds = tuple(Fold(str(name), every[names != name], every[names == name], _NONE) for name in np.unique(names))
    for fold in folds:
        if len(np.unique(pairs.same[fold.train])) < 2:
            raise DataError(f"fold '{fold.name}': the other folds hold no two kinds of pairs to learn from")
    return Split("pairs", pairs.description, folds, pairs.folds, ("different", "same"), pairs.same)


def _judge(recorder: PairRecorder, arm: Arm, table: FeatureTable, preset: SimilarityPreset, plan: Extraction) -> None:
    values = pair_table(table, recorder.pairs, preset)
    every = np.arange(len(values))
    found = Protocol(preset.name, run_similarity)
    measured = run_protocol(found, FeatureTable(every, values[:, None]), recorder.split, 0)
    scores = np.asarray(measured.scores.video[""], np.float64)
    right = 100.0 * (scores.argmax(1) == recorder.pairs.same)
    by_fold = np.array([right[fold.test].mean() for fold in recorder.split.folds])
    card = {
        "views": plan.views if arm.encoder is not None else "all frames, 20 x 20, grey",
        "feature": "+".join(preset.taps) if arm.encoder is not None else "the reference itself",
        "feature dim": values.shape[1],
        "mean over folds": float(by_fold.mean()),
        "standard error over folds": float(by_fold.std(ddof=1) / np.sqrt(len(by_fold))),
    }
    recorder.record(arm, preset.name, measured, card, retrieves=False)
    row = recorder.rows[-1]
    area = roc_auc(scores[:, 1] - scores[:, 0], recorder.pairs.same)
    card = {name: value for name, value in row.card.items() if name != "interval"}
    recorder.rows.append(replace(row, metric="AUC", value=area, card=card, per_group={}))


def _video(features: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The averaged, L2-normalised feature of each row."""
    return unit(np.maximum(np.asarray(features[rows], np.float64).mean(1), 0.0))


def _pairs(manifest: Manifest, preset: SimilarityPreset, settings: EvaluationSettings) -> Pairs:
    if preset.pairs:
        return read_pairs(preset.pairs, row_names(manifest))
    labels, _ = manifest.labels(settings.label)
    return draw_pairs(labels, seed=settings.seed, folds=preset.folds, per_fold=preset.per_fold)


def _with_label(manifest: Manifest, label: str) -> Manifest:
    manifest.require([label], "drawing pairs of videos (without similarity.pairs=FILE)")
    kept = np.flatnonzero([value not in (None, "") for value in manifest.column(label)])
    if not len(kept):
        raise RecipeError(f"no row of the manifest has a '{label}', and no similarity.pairs=FILE was given")
    return manifest.select(kept)


def _card(manifest: Manifest, pairs: Pairs, preset: SimilarityPreset, settings: EvaluationSettings) -> dict[str, Any]:
    labels = manifest.column(settings.label) if settings.label in manifest.columns else None
    return {
        "classifier": "linear SVM, squared hinge",
        "C": STRENGTH,
        "aggregation": "mean over clips, L2",
        "normalisation": f"measures 9 to 12: {preset.normalise}; all: mean 0, deviation 1 over the training folds",
        "pairs": len(pairs.same),
        "videos": len(np.unique(pairs.rows)),
        "classes in several folds": "unknown" if labels is None else pairs.shared_classes(labels),
        "seed": settings.seed,
    }
