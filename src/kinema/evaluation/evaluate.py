"""One call: encoders and a manifest in; rows, baselines and comparisons out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kinema.data.manifest import Manifest
from kinema.evaluation.arms import Encoders, all_arms
from kinema.evaluation.exposure import shared_with_training
from kinema.evaluation.extract import Progress
from kinema.evaluation.judging import Wanted, judge_draws, take
from kinema.evaluation.propagation.judging import evaluate_propagation
from kinema.evaluation.recorder import Recorder
from kinema.evaluation.rows import Results, plain
from kinema.evaluation.sequence_judging import suited
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.similarity import evaluate_pairs
from kinema.evaluation.splits import labelled, make_split
from kinema.training.checkpoint import versions


def evaluate(
    encoders: Encoders,
    manifest: Manifest,
    settings: EvaluationSettings | None = None,
    *,
    pretraining: Mapping[str, Manifest] | None = None,
    progress: Progress | None = None,
) -> Results:
    """Measure encoders and their baselines on labelled videos.

    Args:
        encoders: by arm; several seeds of one arm as a mapping from seed to encoder. The arm "untrained", the same
            network at its initial weights, is the source of the baselines "untrained-calibrated" and "scratch".
        manifest: videos with labels.
        settings: protocols, split, baselines, views.
        pretraining: by arm, the manifest it was pre-trained on; marks rows transductive or inductive.
        progress: called with (rows done, rows) while videos are decoded.

    Raises:
        DataError: a video cannot be read, a column is missing, a split is impossible.
        RecipeError: an unknown protocol or view preset, or a baseline that cannot be had.
    """
    settings = suited(settings or EvaluationSettings(), encoders)
    wanted = Wanted(settings)
    if wanted.similarity is not None:
        return evaluate_pairs(
            encoders, manifest, wanted.similarity, settings, pretraining=pretraining, progress=progress
        )
    if wanted.propagation:
        return evaluate_propagation(
            encoders, manifest, wanted.propagation, settings, pretraining=pretraining, progress=progress
        )
    usable = labelled(manifest, label=settings.label, folds=wanted.folds)
    split = make_split(
        usable,
        label=settings.label,
        group=settings.group,
        folds=wanted.folds,
        within=settings.within,
        seed=settings.seed,
    )
    wanted.refuse_folds(split)
    arms = all_arms(encoders, usable, split, settings)
    tables = take(arms, usable, wanted, progress)
    kept = next(iter(tables[0].values())).rows
    counts = {"skipped": len(usable) - len(kept), "not used": len(manifest) - len(usable)}
    counts["set aside by the scan"] = len(manifest.set_aside)
    counts |= shared_with_training(usable, split)
    card = counts | {"seed": settings.seed, "versions": versions()}
    recorder = Recorder(usable.select(kept), split.restrict(kept), pretraining or {}, card)
    # The first arm's features show, beside the numbers, which videos it takes for similar.
    recorder.predictions["features"] = np.asarray(tables[0][arms[0].key].pooled[recorder.tested], np.float32).mean(1)
    judge_draws(recorder, arms, tables, wanted, settings)
    about = {"manifest": manifest.digest(), "root": str(manifest.root.resolve()), "settings": what_counts(settings)}
    return recorder.results(card | about)


def what_counts(settings: EvaluationSettings) -> dict[str, Any]:
    """The settings without those that change no number."""
    stated = plain(settings)
    for name in ("workers", "cache"):
        stated["extraction"].pop(name)
    return stated
