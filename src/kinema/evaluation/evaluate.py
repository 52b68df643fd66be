"""One call: encoders and a manifest in; rows, baselines and comparisons out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.evaluation.arms import SCRATCH, UNTRAINED, Arm, Encoders, all_arms, feature_tables
from kinema.evaluation.extract import Extraction, FeatureTable, Progress
from kinema.evaluation.measure import Measured, run_protocol
from kinema.evaluation.protocols import protocol
from kinema.evaluation.recorder import PIXEL_PROTOCOL, SUPERVISED, Recorder
from kinema.evaluation.rows import Results, plain
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.splits import labelled, make_split
from kinema.evaluation.supervised import supervised_scores
from kinema.evaluation.tasks import Protocol
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
    settings = settings or EvaluationSettings()
    protocols = [protocol(name) for name in dict.fromkeys(settings.protocols)]
    usable = labelled(manifest, label=settings.label, folds=settings.folds)
    split = make_split(
        usable,
        label=settings.label,
        group=settings.group,
        folds=settings.folds,
        within=settings.within,
        seed=settings.seed,
    )
    arms = all_arms(encoders, usable, split, settings)
    tables = feature_tables(arms, usable, _with_taps(settings.extraction, protocols), progress)
    kept = next(iter(tables.values())).rows
    counts = {"skipped": len(usable) - len(kept), "not used": len(manifest) - len(usable)}
    card = counts | {"seed": settings.seed, "versions": versions()}
    recorder = Recorder(usable.select(kept), split.restrict(kept), pretraining or {}, card)
    # The first arm's features show, beside the numbers, which videos it takes for similar.
    recorder.predictions["features"] = tables[arms[0].key].pooled.mean(1)[recorder.tested]
    for arm in arms:
        _judge(recorder, arm, tables.pop(arm.key), protocols, settings)
    _train_from_scratch(recorder, arms, settings)
    about = {"manifest": manifest.digest(), "root": str(manifest.root.resolve()), "settings": _what_counts(settings)}
    return recorder.results(card | about)


def _judge(
    recorder: Recorder, arm: Arm, table: FeatureTable, protocols: Sequence[Protocol], settings: EvaluationSettings
) -> None:
    views = settings.extraction.views if arm.encoder is not None else "all frames, 20 x 20, grey"
    if arm.encoder is None and not all(found.retrieves for found in protocols):
        protocols = list({found.name: found for found in (*protocols, protocol(PIXEL_PROTOCOL))}.values())
    for found in protocols:
        measured = run_protocol(found, table, recorder.split, settings.seed, device=settings.extraction.device)
        card = found.card | {"views": views, "feature dim": table.feature(found.tap).shape[2]}
        recorder.record(arm, found.name, measured, card, retrieves=found.retrieves)


def _train_from_scratch(recorder: Recorder, arms: Sequence[Arm], settings: EvaluationSettings) -> None:
    how, reading = settings.supervised, settings.extraction
    untrained = [arm for arm in arms if arm.name == UNTRAINED]
    if how.epochs and not untrained:
        raise RecipeError("training from scratch starts from the arm 'untrained', which was not given")
    for arm in untrained if how.epochs else ():
        assert arm.encoder is not None
        scores = supervised_scores(arm.encoder, recorder.manifest, recorder.split, how, reading, seed=arm.seed)
        card: dict[str, Any] = {
            "views": reading.views,
            "aggregation": "mean_softmax",
            "training": plain(how),
        }
        card |= {"feature dim": arm.encoder.feature_dim}
        recorder.record(arm._replace(name=SCRATCH), SUPERVISED, Measured(scores, ({},)), card, retrieves=False)


def _with_taps(extraction: Extraction, protocols: Sequence[Protocol]) -> Extraction:
    wanted = [(found.tap, *found.taps) for found in protocols]
    taps = dict.fromkeys(name for names in wanted for name in names if name is not None)
    return replace(extraction, taps=tuple(taps), every_view=any(found.every_view for found in protocols))


def _what_counts(settings: EvaluationSettings) -> dict[str, Any]:
    """The settings without those that change no number."""
    stated = plain(settings)
    for name in ("workers", "cache"):
        stated["extraction"].pop(name)
    return stated
