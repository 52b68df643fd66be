"""Evaluation of a run folder: the trained encoder beside the same network untrained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.evaluation.arms import UNTRAINED
from kinema.evaluation.evaluate import evaluate
from kinema.evaluation.extract import Progress
from kinema.evaluation.rows import Results
from kinema.evaluation.settings import EvaluationSettings
from kinema.modules.encoder import Encoder
from kinema.training.checkpoint import Run, load_run

TRAINED = "trained"


def evaluate_run(
    run: Run | str | Path,
    manifest: Manifest,
    settings: EvaluationSettings | None = None,
    *,
    name: str = "results",
    progress: Progress | None = None,
) -> Results:
    """Evaluate a run's video encoder, the same network untrained, and the references; keep the results in the run.

    Features are cached in `RUN/evaluation/cache`, so that a second evaluation with other protocols decodes nothing.

    Args:
        run: a run folder, or what `load_run` returned.
        manifest: labelled videos.
        settings: protocols, split, baselines, views.
        name: results go to `RUN/evaluation/name`.
        progress: called with (rows done, rows).

    Raises:
        RecipeError: the run has no video encoder, or another problem that `evaluate` names.
        DataError: a video cannot be read, or labels or a split are missing.
    """
    run = run if isinstance(run, Run) else load_run(run)
    settings = settings or EvaluationSettings()
    folder = run.folder / "evaluation"
    if settings.extraction.cache is None:
        settings = replace(settings, extraction=replace(settings.extraction, cache=folder / "cache"))
    seed = run.recipe.seed
    # Folds and other draws of the evaluation keep their own seed, so that runs of other seeds meet the same ones.
    arms = {TRAINED: {seed: run.encoder()}, UNTRAINED: {seed: _untrained(run)}}
    # Of published weights nobody has the pre-training manifest: their rows are marked "unknown".
    seen = {TRAINED: run.manifest} if (run.folder / "data.parquet").is_file() else {}
    results = evaluate(arms, manifest, settings, pretraining=seen, progress=progress)
    results.write(folder / name)
    return results


def _untrained(run: Run) -> Encoder:
    encoder = run.untrained().products().encoders.get("video")
    if encoder is None:
        raise RecipeError(f"{run.folder}: its method yields no video encoder to evaluate")
    return encoder
