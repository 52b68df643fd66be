"""Claim: LV-MAE tells hidden segments of long videos from others, and what only their order over minutes tells.

Run `python benchmarks/lv_mae.py [long|real] [key=value …] [--out DIR] [--seeds 0 1 2]`, or `… --step` for the cost of a
step at the published size (256 segments, depth 32, width 1024). Finished parts are used again.

* `long`: the synthetic world of that name (`--videos`, 3/8 of them test), segments of 2.5 s, 36 a video. Labels:
  `label` (the order of the steps) and `repeat`, of which a mean over segments knows nothing by construction.
* `real`: UT-Interaction (`--data`, or KINEMA_DATA), segments of 0.25 s, 8 to 24 a clip; sequences 8-10 and 18-20 are
  tested. Short clips: hidden segments only, since one glance tells the class.

Segments are embedded by the pixel references (880 numbers: what a segment shows on average, where it changes, the path
of motion), projected on their principal components over the training videos and scaled to unit variance, as a frozen
encoder that knows nothing. Pre-training sees the training videos only, without labels.

* Hidden segments: half of them, at random, of the test videos; R@k among all segments of the video, beside chance,
  predictors that cost nothing and the untrained network. Mean and every seed.
* Long-range probes: linear on the mean of the tokens, LV-MAE's attentive probe on all of them; the network, the same
  untrained, and the embeddings themselves (`segments`: their mean is mean-pooling).
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from kinema.app.rendering import WORLDS
from kinema.data.manifest import Manifest
from kinema.data.scan import scan
from kinema.data.sequences import read_sequence, sequence_shapes
from kinema.data.synthetic import render_world
from kinema.evaluation import EvaluationSettings, Extraction, as_markdown, evaluate
from kinema.evaluation.masked_segments import Hiding, MaskedRow, masked_retrieval
from kinema.evaluation.runs import RAW
from kinema.evaluation.segments import Cutting, embed_segments, pixel_source
from kinema.methods.lv_mae import LVMAE
from kinema.methods.sequences import RawSequence
from kinema.training.checkpoint import Run, checkpoints
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper

SECONDS = {"long": 2.5, "real": 0.25}
TESTED = {"8", "9", "10", "18", "19", "20"}
GALLERY = "video"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", nargs="?", default="long", choices=[*SECONDS])
    parser.add_argument("--out", type=Path, default=Path("runs/lv-mae-benchmark"))
    parser.add_argument("--data", type=Path, default=None, help="folder of the real sets")
    parser.add_argument("--videos", type=int, default=320, help="of the synthetic world")
    parser.add_argument("--width", type=int, default=64, help="principal components that are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--step", action="store_true", help="measure a step at the published size instead")
    parser.add_argument("--tokens", type=int, default=256, help="with --step")
    parser.add_argument("--batch", type=int, default=1, help="with --step")
    parser.add_argument("--depth", type=int, default=32, help="with --step")
    parser.add_argument("--device", default="cpu", help="with --step")
    parser.add_argument("--steps", type=int, default=5, help="with --step")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    if options.step:
        measure_step(options)
        return
    folder = options.out / options.world
    manifest = projected(segments(options, folder), folder / f"pca{options.width}", options.width)
    train, test = (manifest.select(rows_of(manifest, name)) for name in ("train", "test"))
    runs = [pretrained(seed, train, options, folder) for seed in options.seeds]
    hidden_segments(runs, test)
    if options.world == "long":
        for label in ("label", "repeat"):
            probes(runs, manifest, train, label)


def segments(options: argparse.Namespace, folder: Path) -> Manifest:
    """Embedded segments of the videos of a world."""
    cutting = Cutting(SECONDS[options.world])
    if options.world == "long":
        labels = render_world(folder / "videos", clips=options.videos, seed=0, world=WORLDS["long"])
        videos = scan(labels).manifest
    else:
        videos = real_clips(options.data or Path(os.environ.get("KINEMA_DATA", "../shared/data")))
    return embed_segments(pixel_source("pixels"), videos, folder / "segments", cutting, workers=options.workers)


def real_clips(data: Path) -> Manifest:
    """UT-Interaction without its background clips, whose codec tells them apart."""
    listed = scan(data / "ut_interaction" / "labels.csv").manifest
    rows = [listed.row(row) for row in range(len(listed)) if listed.row(row)["label"] != "background"]
    split = {True: "test", False: "train"}
    return Manifest.from_rows([{**row, "split": split[str(row["sequence"]) in TESTED]} for row in rows], listed.root)


def projected(made: Manifest, folder: Path, width: int) -> Manifest:
    """The vectors on the principal components of those of the training videos, each of unit variance there."""
    place = folder / "manifest.parquet"
    if place.exists():
        return Manifest.read(place, check_files=False)
    arrays = [np.array(read_sequence(made, row), np.float64) for row in range(len(made))]
    train = np.concatenate([arrays[row] for row in rows_of(made, "train")])
    mean, scale = train.mean(0), train.std(0) + 1e-6
    _, strength, axes = np.linalg.svd((train - mean) / scale, full_matrices=False)
    basis = axes[:width].T / (strength[:width] / np.sqrt(len(train)) + 1e-6)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row, array in enumerate(arrays):
        np.save(folder / f"{row:05}.npy", ((array - mean) / scale @ basis).astype(np.float32))
        rows.append({**made.row(row), "path": str(made.path(row)), "features": f"{row:05}.npy", "feature_times": None})
    Manifest.from_rows(rows, folder).write(place)
    return Manifest.read(place, check_files=False)


def rows_of(manifest: Manifest, split: str) -> list[int]:
    return [row for row, name in enumerate(manifest.column("split")) if name == split]


def pretrained(seed: int, train: Manifest, options: argparse.Namespace, folder: Path) -> Run:
    """A run of one seed, or the one that is there."""
    shapes, seconds = sequence_shapes(train), SECONDS[options.world]
    tokens = int(shapes.lengths.max())
    settings = [f"width={shapes.dim}", "heads=4", "decoder_width=32", f"tokens={tokens}", f"segment={seconds}"]
    settings += [f"shortest={max(1, round(2 * seconds))}", "workers=0", "device=cpu", f"seed={seed}"]
    place = folder / f"run-{seed}"
    began = time.monotonic()
    # Small sets make few steps an epoch, and the loss stays near that of the mean for the first hundreds.
    settings += ["steps=3000", "depth=2", "ratio=0.5", "lr=0.003", "schedule.warmup=5", "weight_decay=0.01"]
    recipe = load_recipe("lv-mae", "tiny", [*settings, *options.overrides])
    run = pretrain(recipe, train, place, resume=bool(checkpoints(place)), quiet=True)
    print(f"{place}: {run.step} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return run


def hidden_segments(runs: list[Run], test: Manifest) -> None:
    """R@k of every predictor, mean over seeds of weights and masks."""
    found: dict[str, list[MaskedRow]] = {}
    for run in runs:
        predictors = {name: method.products().predictors["segments"] for name, method in arms(run).items()}
        hiding = Hiding(tokens=run.encoder().input.frames, seed=run.recipe.seed)
        for row in masked_retrieval(predictors, test, hiding):  # type: ignore[arg-type]
            if row.gallery == GALLERY:
                found.setdefault(row.predictor, []).append(row)
    first = next(iter(found.values()))[0]
    print(
        f"\n## Hidden segments: {len(test)} test videos, {first.queries} hidden, R@1 by chance {first.chance:.1f} %\n"
    )
    print("| predictor | R@1 | R@5 | median rank | error | R@1 by seed |\n| --- | --- | --- | --- | --- | --- |")
    for name, rows in found.items():
        if name == "original":
            continue
        each = ", ".join(f"{row.hits['R@1']:.1f}" for row in rows)
        means = [statistics.mean(row.hits[k] for row in rows) for k in ("R@1", "R@5")]
        rank, error = statistics.mean(row.median for row in rows), statistics.mean(row.error or 0.0 for row in rows)
        print(f"| {name} | {means[0]:.1f} | {means[1]:.1f} | {rank:.1f} | {error:.3f} | {each} |")


def probes(runs: list[Run], manifest: Manifest, train: Manifest, label: str) -> None:
    """Linear and attentive probes of what only the order of the segments tells."""
    encoders = {
        name: {run.recipe.seed: arms(run)[name].products().encoders["sequence"] for run in runs}
        for name in ("trained", "untrained")
    }
    encoders[RAW] = {run.recipe.seed: RawSequence(run.encoder().feature_dim) for run in runs}
    settings = EvaluationSettings(("linear", "attentive"), label=label, extraction=Extraction(batch=32))
    results = evaluate(encoders, manifest, settings, pretraining={"trained": train})
    print(f"\n## Long-range probes: {label}\n\n{as_markdown(results)}")


def arms(run: Run) -> dict[str, LVMAE]:
    """The method as trained, and at its first weights."""
    return {"trained": run.method, "untrained": run.untrained()}  # type: ignore[dict-item]


def measure_step(options: argparse.Namespace) -> None:
    """Seconds of a training step and the largest memory, from vectors in memory to moved weights."""
    device = torch.device(options.device)
    changes = [f"tokens={options.tokens}", f"depth={options.depth}", f"batch={options.batch}", *options.overrides]
    precision = "fp16" if device.type == "cuda" else "fp32"
    recipe = load_recipe("lv-mae", "paper", [*changes, f"precision={precision}", f"device={options.device}"])
    method = recipe.build().to(device).train()
    stepper = Stepper(method, recipe, device)
    shape = (options.batch, options.tokens)
    generator = torch.Generator().manual_seed(0)
    read = {
        "segments": torch.randn(*shape, recipe.options.get("width", 1024), generator=generator),
        "order": torch.arange(options.tokens).expand(shape),
        "keep": torch.full((options.batch,), options.tokens // 2),
        "noise": torch.rand(shape, generator=generator),
    }
    batch = {name: value.to(device) for name, value in read.items()}
    seconds = []
    for step in range(options.steps + 1):
        began = time.perf_counter()
        stepper.step([method.prepare(batch, torch.Generator())], step, 1e-5)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    name = torch.cuda.get_device_name() if cuda else f"{platform.machine()}, {torch.get_num_threads()} threads"
    low, middle, high = statistics.quantiles(seconds[1:], n=4)
    print("| device | precision | parameters | segments | batch | s per step (quartiles) | peak GiB |")
    print(f"|{' --- |' * 7}")
    parameters = sum(p.numel() for p in method.parameters())
    quartiles = f"{middle:.3f} ({low:.3f} to {high:.3f})"
    cells = [name, precision, f"{parameters:,}", str(options.tokens), str(options.batch), quartiles]
    print(f"| {' | '.join([*cells, f'{peak / 2**30:.2f}'])} |")


if __name__ == "__main__":
    main()
