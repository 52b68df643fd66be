"""`kinema evaluate` and `kinema embed`: measure, print the table, say where the numbers or vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from kinema.app.progress import progress_bar
from kinema.data.opening import open_manifest
from kinema.evaluation import EvaluationSettings, Extraction, Results, as_rich, with_overrides
from kinema.evaluation.embedded import evaluate_embeddings
from kinema.evaluation.pretrained import PREFIX, arm_name, load_pretrained
from kinema.evaluation.runs import embed_pretrained, embed_run, evaluate_pretrained, evaluate_run
from kinema.training.checkpoint import Run, load_run
from kinema.training.distributed import choose_device
from kinema.training.loop import cpu_threads, default_workers


def evaluate_to_screen(
    named: str | Path,
    data: Path,
    *,
    out: Path | None = None,
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
    """Evaluate a run, or "hf:PATH", a network of others, on labelled videos; print rows and comparisons.

    `baselines` are further such networks. Results of a run go into it, of a network to `out` or runs/hf-NAME.
    """
    others = {arm_name(other): load_pretrained(other) for other in baselines}
    run = None if is_pretrained(named) else load_run(named, method=method)
    device = choose_device("auto")
    extraction = _extraction(device, views, workers, skip_broken=skip_broken)
    settings = EvaluationSettings(protocols=protocols, folds=folds, within=within, extraction=extraction)
    settings = with_overrides(settings, overrides)
    manifest = open_manifest(data, refuse_broken=not skip_broken)
    folder, name = run.folder if run else out or pretrained_folder(str(named)), name or data.stem
    with progress_bar(f"evaluating {named}") as tick, _threads(run, device):
        if run is None:
            results = evaluate_pretrained(
                str(named), manifest, folder, settings, name=name, others=others, progress=tick
            )
        else:
            results = evaluate_run(run, manifest, settings, name=name, others=others, progress=tick)
    _show(results, folder / "evaluation" / name)
    return results


def is_pretrained(named: str | Path) -> bool:
    """Whether a network of other people is meant, and no run folder."""
    return str(named).startswith(PREFIX)


def pretrained_folder(named: str) -> Path:
    """runs/hf-NAME, with what was changed: hf:folder/model@stride=2 has runs/hf-model@stride=2."""
    return Path("runs") / arm_name(named).replace(":", "-")


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
    named: str | Path,
    data: Path,
    out: Path,
    *,
    views: str = "uniform10",
    skip_broken: bool = False,
    method: str | None = None,
    workers: int | None = None,
) -> None:
    """Write embeddings of all videos under a run's encoder, or under "hf:PATH", and say what lies where."""
    run = None if is_pretrained(named) else load_run(named, method=method)
    device = choose_device("auto")
    extraction = _extraction(device, views, workers, skip_broken=skip_broken)
    manifest = open_manifest(data, refuse_broken=not skip_broken)
    with progress_bar(f"embedding {data}") as tick, _threads(run, device):
        if run is None:
            table = embed_pretrained(str(named), manifest, out, extraction, progress=tick)
        else:
            table = embed_run(run, manifest, out, extraction, progress=tick)
    videos, clips, dim = table.pooled.shape
    print(f"{out}: {videos} videos, {clips} views each, {dim} numbers per vector")
    print(f"next: kinema evaluate {out}")


def _extraction(device: torch.device, views: str, workers: int | None, *, skip_broken: bool) -> Extraction:
    reading = default_workers(device) if workers is None else workers
    return Extraction(views=views, workers=reading, device=str(device), skip_broken=skip_broken)


def _threads(run: Run | None, device: torch.device) -> AbstractContextManager[None]:
    return cpu_threads(run.recipe, device) if run else nullcontext()


def _show(results: Results, place: Path) -> None:
    from rich.console import Console

    Console(width=None if _is_terminal() else 140).print(as_rich(results))
    print(f"numbers, protocol cards and predictions: {place}")


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
