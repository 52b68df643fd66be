"""`kinema evaluate` and `kinema embed`: measure, print the table, say where the numbers or vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from kinema.app.progress import progress_bar
from kinema.data.opening import open_manifest
from kinema.evaluation import EvaluationSettings, Extraction, Results, as_rich, with_overrides
from kinema.evaluation.embedded import evaluate_embeddings
from kinema.evaluation.pretrained import PREFIX, load_pretrained
from kinema.evaluation.runs import embed_run, evaluate_run
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
    baselines: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> Results:
    """Evaluate a run on labelled videos and print rows and comparisons; `baselines` are networks named "hf:PATH"."""
    others = {_arm(named): load_pretrained(named) for named in baselines}
    run = load_run(run_folder, method=method)
    device = choose_device("auto")
    extraction = _extraction(device, views, workers, skip_broken=skip_broken)
    settings = EvaluationSettings(protocols=protocols, folds=folds, within=within, extraction=extraction)
    settings = with_overrides(settings, overrides)
    manifest = open_manifest(data, refuse_broken=not skip_broken)
    name = name or data.stem
    with progress_bar(f"evaluating {run_folder}") as tick, cpu_threads(run.recipe, device):
        results = evaluate_run(run, manifest, settings, name=name, others=others, progress=tick)
    _show(results, run_folder / "evaluation" / name)
    return results


def evaluate_embeddings_to_screen(
    folder: Path,
    *,
    protocols: tuple[str, ...] = ("knn", "linear", "retrieval"),
    folds: str | None = None,
    within: str | None = None,
    name: str | None = None,
    overrides: Sequence[str] = (),
) -> Results:
    """Evaluate a folder of embeddings and print rows."""
    settings = with_overrides(EvaluationSettings(protocols=protocols, folds=folds, within=within), overrides)
    results = evaluate_embeddings(folder, settings, name=name or "results")
    _show(results, folder / "evaluation" / (name or "results"))
    return results


def embed_to_folder(
    run_folder: Path,
    data: Path,
    out: Path,
    *,
    views: str = "uniform10",
    skip_broken: bool = False,
    method: str | None = None,
    workers: int | None = None,
) -> None:
    """Write embeddings of all videos of a manifest, and say what lies where."""
    run = load_run(run_folder, method=method)
    device = choose_device("auto")
    extraction = _extraction(device, views, workers, skip_broken=skip_broken)
    manifest = open_manifest(data, refuse_broken=not skip_broken)
    with progress_bar(f"embedding {data}") as tick, cpu_threads(run.recipe, device):
        table = embed_run(run, manifest, out, extraction, progress=tick)
    videos, clips, dim = table.pooled.shape
    print(f"{out}: {videos} videos, {clips} views each, {dim} numbers per vector")
    print(f"next: kinema evaluate {out}")


def _extraction(device: torch.device, views: str, workers: int | None, *, skip_broken: bool) -> Extraction:
    reading = default_workers(device) if workers is None else workers
    return Extraction(views=views, workers=reading, device=str(device), skip_broken=skip_broken)


def _arm(named: str) -> str:
    """hf:folder/model@stride=2 is the arm hf:model@stride=2."""
    path, _, options = named.removeprefix(PREFIX).partition("@")
    return PREFIX + Path(path).name + (f"@{options}" if options else "")


def _show(results: Results, place: Path) -> None:
    from rich.console import Console

    Console(width=None if _is_terminal() else 140).print(as_rich(results))
    print(f"numbers, protocol cards and predictions: {place}")


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
