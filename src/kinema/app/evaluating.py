"""`kinema evaluate`: measure, print the table, say where the numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinema.app.progress import progress_bar
from kinema.data.opening import open_manifest
from kinema.evaluation import EvaluationSettings, Extraction, Results, as_rich, with_overrides
from kinema.evaluation.runs import evaluate_run
from kinema.training.checkpoint import load_run
from kinema.training.distributed import choose_device
from kinema.training.loop import cpu_threads, default_workers


def evaluate_to_screen(
    run_folder: Path,
    data: Path,
    *,
    protocols: tuple[str, ...] = ("knn", "linear", "retrieval"),
    folds: str | None = None,
    within: str | None = None,
    views: str = "uniform10",
    name: str | None = None,
    skip_broken: bool = False,
    method: str | None = None,
    workers: int | None = None,
    overrides: Sequence[str] = (),
) -> Results:
    """Evaluate a run on labelled videos and print rows and comparisons."""
    run = load_run(run_folder, method=method)
    device = choose_device("auto")
    extraction = Extraction(
        views=views,
        workers=default_workers(device) if workers is None else workers,
        device=str(device),
        skip_broken=skip_broken,
    )
    settings = EvaluationSettings(protocols=protocols, folds=folds, within=within, extraction=extraction)
    settings = with_overrides(settings, overrides)
    manifest = open_manifest(data, refuse_broken=not skip_broken)
    name = name or data.stem
    with progress_bar(f"evaluating {run_folder}") as tick, cpu_threads(run.recipe, device):
        results = evaluate_run(run, manifest, settings, name=name, progress=tick)
    from rich.console import Console

    Console(width=None if _is_terminal() else 140).print(as_rich(results))
    print(f"numbers, protocol cards and predictions: {run_folder / 'evaluation' / name}")
    return results


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
