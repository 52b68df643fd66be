"""`kinema segments`: what a run knows of the segments that are hidden from it, and numbers read off its features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.errors import RecipeError
from kinema.evaluation.extract import Extraction
from kinema.evaluation.masked_segments import Hiding, MaskedRow, masked_retrieval, write_masked
from kinema.evaluation.regression import Transform, regression_split, regression_targets, ridge_regression
from kinema.evaluation.runs import RAW
from kinema.evaluation.sequences import sequence_tables
from kinema.evaluation.splits import labelled
from kinema.methods.sequences import RawSequence
from kinema.training.checkpoint import Run, load_run
from kinema.training.distributed import choose_device
from kinema.training.loop import cpu_threads


def segments_to_screen(
    run_folder: Path, data: Path, hiding: Hiding, *, name: str | None = None, method: str | None = None
) -> list[MaskedRow]:
    """Rank predictions of hidden segments among real ones, print the table, keep it in the run.

    Args:
        run_folder: of a method that predicts segments.
        data: sequences of embeddings.
        hiding: what is hidden; `tokens` is the run's own.
        name: of the evaluation, by default the data's.
        method: repeats package.module:Class of a method from outside.

    Raises:
        RecipeError: the run predicts no segments.
    """
    run = load_run(run_folder, method=method)
    trained: Any = run.products().predictors.get("segments")
    if trained is None:
        raise RecipeError(f"{run_folder}: its method predicts no segments; train one with: kinema pretrain lv-mae")
    untrained: Any = run.untrained().products().predictors["segments"]
    device = choose_device("auto")
    predictors = {"trained": trained.to(device), "untrained": untrained.to(device)}
    manifest = open_manifest(data)
    with cpu_threads(run.recipe, device):
        hiding = replace(hiding, tokens=run.encoder().input.frames)
        rows = masked_retrieval(predictors, manifest, hiding, device=str(device))
    place = write_masked(rows, hiding, run.folder / "evaluation" / (name or data.stem))
    print(as_table(rows))
    print(f"numbers: {place}")
    return rows


def regression_to_screen(
    run_folder: Path, data: Path, columns: tuple[str, ...], transform: Transform, *, method: str | None = None
) -> None:
    """Print the mean square error of a ridge regression on the run's vectors, and on the mean of the embeddings."""
    run = load_run(run_folder, method=method)
    manifest = labelled(open_manifest(data), label=columns[0])
    targets = regression_targets(manifest, columns, transform)
    split = regression_split(manifest, targets)
    print("| features | mean square error | always the mean |\n| --- | --- | --- |")
    for name, features in _vectors(run, manifest).items():
        found = ridge_regression(features, targets, split)
        print(f"| {name} | {found.error:.3f} | {found.constant:.3f} |")
    print(f"{' and '.join(columns)}, {transform}: {split.description}, {len(split.test)} videos tested")


def as_table(rows: list[MaskedRow]) -> str:
    """The rows as a Markdown table."""
    names = list(rows[0].hits)
    head = ["gallery", "predictor", *names, "95 % of R@1", "chance R@1", "median rank", "mean rank", "error"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        hits = [f"{row.hits[name]:.1f}" for name in names]
        error = "" if row.error is None else f"{row.error:.3f}"
        cells = [row.gallery, row.predictor, *hits, f"{row.low:.1f} … {row.high:.1f}", f"{row.chance:.1f}"]
        lines.append(f"| {' | '.join([*cells, f'{row.median:.1f}', f'{row.mean:.1f}', error])} |")
    return "\n".join(lines)


def _vectors(run: Run, manifest: Manifest) -> dict[str, np.ndarray[Any, Any]]:
    encoder = run.encoder()
    encoders = {"trained": encoder, "untrained": run.untrained().products().encoders["sequence"]}
    arms = {**encoders, RAW: RawSequence(encoder.feature_dim)}
    tables = sequence_tables(arms, manifest, Extraction(device=str(choose_device("auto"))))
    return {name: table.pooled[:, 0] for name, table in tables.items()}
