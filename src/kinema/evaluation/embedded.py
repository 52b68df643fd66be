"""Evaluation of a folder of embeddings: vectors without the network that made them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.errors import RecipeError
from kinema.evaluation.arms import Arm
from kinema.evaluation.evaluate import what_counts
from kinema.evaluation.judging import Wanted, judge_draws
from kinema.evaluation.recorder import Recorder
from kinema.evaluation.rows import Results
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.splits import labelled_rows, make_split
from kinema.evaluation.stored import encoder_of, read_embeddings
from kinema.training.checkpoint import versions


def evaluate_embeddings(folder: Path, settings: EvaluationSettings | None = None, *, name: str = "results") -> Results:
    """Evaluate a folder of embeddings (`kinema.evaluation.stored`); results go to `FOLDER/evaluation/name`.

    There is no network, so there are no baselines but guessing; `kinema compare` sets several folders side by side.

    Raises:
        RecipeError: a protocol needs more than one vector per view.
        DataError: the folder is damaged, or labels or a split are missing.
    """
    stored = read_embeddings(folder)
    settings = settings or EvaluationSettings()
    views = str(stored.about.get("views", "not stated"))
    settings = replace(settings, extraction=replace(settings.extraction, views=views))
    wanted = Wanted(settings)
    _refuse_networks(wanted, views)
    rows = labelled_rows(stored.manifest, label=settings.label, folds=wanted.folds)
    usable = stored.manifest.select(rows)
    split = make_split(
        usable,
        label=settings.label,
        group=settings.group,
        folds=wanted.folds,
        within=settings.within,
        seed=settings.seed,
    )
    table = stored.table.keep(rows)
    arm = Arm(stored.name, settings.seed, encoder_of(stored))
    card = {"not used": len(stored.manifest) - len(usable), "seed": settings.seed, "versions": versions()}
    known = {arm.name: stored.exposure(stored.ids[row] for row in rows[split.test])}
    recorder = Recorder(usable, split, {}, card, known=known)
    recorder.predictions["features"] = np.asarray(table.pooled[recorder.tested], np.float32).mean(1)
    judge_draws(recorder, [arm], [{arm.key: table}] * len(wanted.plans), wanted, settings)
    about = {"manifest": stored.manifest.digest(), "root": str(stored.manifest.root), "settings": what_counts(settings)}
    results = recorder.results(card | about)
    results.write(folder / "evaluation" / name)
    return results


def _refuse_networks(wanted: Wanted, views: str) -> None:
    """Raise RecipeError where a protocol needs what vectors do not tell."""
    others = [one.name for one in wanted.attending] + [one.name for one in wanted.training]
    others += [one.name for one in wanted.sequences]
    others += [one.name for one in wanted.stored if one.tap or one.taps]
    if wanted.similarity is not None:
        others.append(wanted.similarity.name)
    others += [one.name for one in wanted.propagation]
    if others:
        raise RecipeError(f"'{others[0]}' needs the network: a folder of embeddings holds one vector for each view")
    for one in wanted.stored:
        if one.views not in (None, views):
            raise RecipeError(f"'{one.name}' is defined on the views '{one.views}'; these embeddings show '{views}'")
