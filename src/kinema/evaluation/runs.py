"""Evaluation of a run folder: the trained encoder beside the same network untrained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kinema.data.duplicates import overlap
from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.evaluation.arms import UNTRAINED
from kinema.evaluation.evaluate import evaluate
from kinema.evaluation.extract import Extraction, FeatureTable, Progress, encoder_digest, extract
from kinema.evaluation.pretrained import arm_name, load_pretrained
from kinema.evaluation.rows import Results
from kinema.evaluation.sequences import SEQUENCE
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.stored import described, write_embeddings
from kinema.methods.sequences import RawSequence
from kinema.modules.encoder import Encoder
from kinema.training.checkpoint import Run, load_run

TRAINED = "trained"
RAW = "segments"
"""The arm of the segment embeddings themselves, which a method of sequences must beat."""


def evaluate_run(
    run: Run | str | Path,
    manifest: Manifest,
    settings: EvaluationSettings | None = None,
    *,
    name: str = "results",
    others: Mapping[str, Encoder] | None = None,
    progress: Progress | None = None,
) -> Results:
    """Evaluate a run's encoder, the same network untrained, and the references; keep the results in the run.

    Features are cached in `RUN/evaluation/cache`, so that a second evaluation with other protocols decodes nothing.

    Args:
        run: a run folder, or what `load_run` returned.
        manifest: labelled videos.
        settings: protocols, split, baselines, views.
        name: results go to `RUN/evaluation/name`.
        others: further encoders to compare with, by arm, for example frozen networks of other people.
        progress: called with (rows done, rows).

    Raises:
        RecipeError: the run has no video encoder, or another problem that `evaluate` names.
        DataError: a video cannot be read, or labels or a split are missing.
    """
    run = run if isinstance(run, Run) else load_run(run)
    seed = run.recipe.seed
    # Folds and other draws of the evaluation keep their own seed, so that runs of other seeds meet the same ones.
    arms = {TRAINED: {seed: run.encoder()}, UNTRAINED: {seed: _untrained(run)}}
    if run.encoder().input.modality == SEQUENCE:
        arms[RAW] = {seed: RawSequence(run.encoder().feature_dim)}
    arms |= {arm: {seed: encoder} for arm, encoder in (others or {}).items()}
    # Of published weights nobody has the pre-training manifest: their rows are marked "unknown".
    seen = {TRAINED: run.manifest} if (run.folder / "data.parquet").is_file() else {}
    settings = _cached(settings or EvaluationSettings(), run.folder)
    results = evaluate(arms, manifest, settings, pretraining=seen, progress=progress)
    results.write(run.folder / "evaluation" / name)
    return results


def evaluate_pretrained(
    named: str,
    manifest: Manifest,
    folder: Path,
    settings: EvaluationSettings | None = None,
    *,
    name: str = "results",
    others: Mapping[str, Encoder] | None = None,
    progress: Progress | None = None,
) -> Results:
    """Evaluate a network of other people, "hf:PATH", as `evaluate_run` does a run; results go to `folder`.

    Nobody has its pre-training manifest: rows are marked "unknown".

    Raises:
        MissingExtra, RecipeError: as `load_pretrained`.
        DataError: a video cannot be read, or labels or a split are missing.
    """
    arms = {TRAINED: load_pretrained(named), UNTRAINED: load_pretrained(named, trained=False), **(others or {})}
    results = evaluate(arms, manifest, _cached(settings or EvaluationSettings(), folder), progress=progress)
    results.write(folder / "evaluation" / name)
    return results


def embed_run(
    run: Run | str | Path,
    manifest: Manifest,
    folder: Path,
    extraction: Extraction | None = None,
    *,
    progress: Progress | None = None,
) -> FeatureTable:
    """Write the embeddings of all videos of a manifest under a run's encoder to a folder (`kinema.evaluation.stored`).

    Features are cached as by `evaluate_run`.

    Args:
        run: a run folder, or what `load_run` returned.
        manifest: videos; their labels, groups and other columns go with them.
        folder: where to.
        extraction: views, batch, device, workers, skip_broken.
        progress: called with (rows done, rows).

    Raises:
        DataError: a video cannot be read.
    """
    run = run if isinstance(run, Run) else load_run(run)
    options = extraction or Extraction()
    options = replace(options, cache=options.cache or run.folder / "evaluation" / "cache", taps=())
    encoder = run.encoder()
    table = extract({TRAINED: encoder}, manifest, options, progress=progress)[TRAINED]
    # Of published weights nobody knows what they were trained on.
    seen = overlap(manifest, run.manifest) if (run.folder / "data.parquet").is_file() else None
    about = described(run.folder.resolve().name, encoder, encoder_digest(encoder))
    write_embeddings(folder, table, manifest, views=options.views, encoder=about, seen=seen)
    return table


def embed_pretrained(
    named: str,
    manifest: Manifest,
    folder: Path,
    extraction: Extraction | None = None,
    *,
    progress: Progress | None = None,
) -> FeatureTable:
    """As `embed_run`, under a network of other people, "hf:PATH"; nothing is cached."""
    options, encoder = replace(extraction or Extraction(), taps=()), load_pretrained(named)
    table = extract({TRAINED: encoder}, manifest, options, progress=progress)[TRAINED]
    about = described(arm_name(named), encoder, encoder_digest(encoder))
    write_embeddings(folder, table, manifest, views=options.views, encoder=about, seen=None)
    return table


def _cached(settings: EvaluationSettings, folder: Path) -> EvaluationSettings:
    """With features kept in the folder, unless the settings name a place."""
    if settings.extraction.cache is not None:
        return settings
    return replace(settings, extraction=replace(settings.extraction, cache=folder / "evaluation" / "cache"))


def _untrained(run: Run) -> Encoder:
    products = run.untrained().products()
    encoder = products.encoders.get(products.judged)
    if encoder is None:
        raise RecipeError(f"{run.folder}: its method yields no encoder of videos, images or sequences to evaluate")
    return encoder
