"""`kinema demo`: the whole journey on synthetic videos, or on a person's own."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from kinema.app.evaluating import evaluate_to_screen
from kinema.app.rendering import CALM, render_to_screen
from kinema.app.scanning import scan_to_file
from kinema.data.loading import deliver
from kinema.data.manifest import Manifest
from kinema.errors import KinemaError
from kinema.report import write_report
from kinema.training.distributed import choose_device
from kinema.training.loop import Trainer, cpu_threads, pretrain
from kinema.training.recipe import Recipe, load_recipe

SYNTHETIC_CLIPS = 320
DEMO_WORLD = replace(CALM, classes=("translate", "pulse"))
"""The two motions of the calm world that a tiny network tells apart first."""

TRIAL_STEPS = 8
VIEWS = "uniform4"
"""Four clips per video, where the field takes ten: the demo is short."""


def demo(out: Path, *, data: Path | None = None, minutes: float = 2.0) -> Path:
    """Render (or take) videos, scan them, pre-train STS, evaluate beside baselines, write the report.

    Args:
        out: folder for everything the demo makes; what an earlier demo left there is replaced.
        data: a person's own videos; None renders a synthetic world whose classes are motions.
        minutes: time to pre-train; the number of epochs, or of videos, is fitted to it by a short trial.

    Returns:
        Path of report.html.
    """
    began = time.monotonic()
    source = data if data is not None else render_to_screen(out / "videos", clips=SYNTHETIC_CLIPS, world=DEMO_WORLD)
    _head(1, "scan")
    manifest = scan_to_file(source, out / "videos.parquet").manifest
    manifest, labelled = _training_rows(manifest), "label" in manifest.columns
    _head(2, "pre-train, without labels")
    recipe, rows = fit_to_time(load_recipe("sts", "tiny"), manifest, seconds=60 * minutes)
    run = out / "run"
    shutil.rmtree(run, ignore_errors=True)
    pretrain(recipe, manifest.select(rows), run)
    _head(3, "evaluate, beside the same network untrained")
    if labelled:
        _evaluate(run, out / "videos.parquet")
    else:
        print("no labels: put the videos into one folder per class, or write a CSV path,label, then: kinema evaluate")
    _head(4, "report")
    page = write_report(run)
    print(f"report: {page.resolve()}\n\nthe whole demo took {(time.monotonic() - began) / 60:.1f} minutes. Next:")
    print(f"  kinema pretrain sts --data {out / 'videos.parquet'} --recipe tiny epochs=100")
    print(f"  kinema evaluate {run} --data labelled.csv --protocol knn,linear,retrieval")
    print("  kinema methods sts")
    return page


def _evaluate(run: Path, videos: Path) -> None:
    """Evaluate; labels that allow no evaluation (a class with one video …) must not cost the report."""
    try:
        evaluate_to_screen(run, videos, name="demo", views=VIEWS)
    except KinemaError as error:
        print(f"not evaluated: {error}")


def fit_to_time(
    recipe: Recipe, manifest: Manifest, *, seconds: float
) -> tuple[Recipe, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The recipe with as many epochs as fit into `seconds`, and the rows to train on."""
    pace, steps = _trial(recipe, manifest)
    affordable = max(1, int(seconds / pace))
    rows = np.arange(len(manifest), dtype=np.int64)
    if affordable < steps:
        kept = max(1, len(manifest) * affordable // steps)
        rows = np.unique(np.linspace(0, len(manifest) - 1, kept).round().astype(np.int64))
        print(f"one epoch would take {pace * steps / 60:.0f} minutes: training on {kept:,} of {len(manifest):,} videos")
        steps = affordable
    epochs = max(1, math.floor(affordable / steps))
    return load_recipe(recipe.method, "tiny", {"epochs": epochs}), rows


def _trial(recipe: Recipe, manifest: Manifest) -> tuple[float, int]:
    """Seconds per step, reading included, and steps per epoch."""
    device = choose_device(recipe.device)
    with tempfile.TemporaryDirectory() as folder, cpu_threads(recipe, device):
        trainer = Trainer(recipe, manifest, Path(folder), device)
        requests = list(islice(trainer.timeline.requests(0, 0, 1), TRIAL_STEPS + 1))
        deliveries = deliver(
            trainer.method,
            trainer.index,
            requests,
            seed=recipe.seed,
            workers=trainer.workers,
            prepare=trainer.prepare_in_workers,
        )
        ends: list[float] = []
        for delivery in deliveries:
            if delivery.batch is not None:
                trainer.stepper.step([trainer.on_device(delivery)], len(ends), 0.0)
            ends.append(time.monotonic())
        # The first step pays for starting the workers.
        return (ends[-1] - ends[0]) / max(1, len(ends) - 1), trainer.timeline.epoch_steps[0]


def _training_rows(manifest: Manifest) -> Manifest:
    """The training split where there is one, so that the evaluation is inductive."""
    if "split" not in manifest.columns:
        return manifest
    chosen = [row for row, split in enumerate(manifest.column("split")) if split in ("train", "training", None)]
    return manifest.select(chosen) if chosen else manifest


def _head(number: int, title: str) -> None:
    print(f"\n── {number}/4 {title} ──", flush=True)
