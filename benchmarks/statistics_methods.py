"""Claim: what STS and MAS learn, and which of their labels teach it.

Run `python benchmarks/statistics_methods.py ut --data DIR [options] [key=value …]` on UT-Interaction (`labels.csv` with
file, label, set, sequence), or `… synthetic` on the calm synthetic world, in which nothing but the motion tells the
class. Every variant gets the same clips and seeds, recipe `tiny`, and the epochs of its method.

* `ut`: pre-training on all clips (transductive); within each set one sequence is left out, 20 folds pooled.
* `quick`: pre-training without the test sequences (inductive); trained on sequences 1-7 and 11-17, tested on 8-10 and
  18-20; `--protocols` may hold fine-tuning.
* `synthetic`: `--train` clips without labels for pre-training, and with labels for the probes; the rest is tested.

Differences are paired over groups and seeds, 95 % bootstrap. `--only pretrain` stops before the evaluation; finished
runs are used again.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from ut_interaction import labelled, read_clips, train_part

from kinema import Manifest, load_recipe, pretrain, scan
from kinema.app.flowing import flow_to_screen
from kinema.app.packing import store_to_screen
from kinema.app.rendering import CALM
from kinema.data.opening import open_manifest
from kinema.data.packed import Settings
from kinema.data.synthetic import render_world
from kinema.data.synthetic.world import AnyWorld
from kinema.evaluation import EvaluationSettings, Extraction, as_markdown, evaluate
from kinema.modules.encoder import Encoder
from kinema.training.checkpoint import Run, checkpoints, load_run

# As in the trials that chose their settings: MAS, which has no normalisation, had twice the epochs of STS.
EPOCHS = {"sts": 3, "mas": 6}
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sts": ("sts", ()),
    "sts-1d": ("sts", ("target=1d",)),
    "sts-motion": ("sts", ("appearance=none",)),
    "sts-appearance": ("sts", ("motion=none",)),
    "sts-pattern1": ("sts", ("motion=1", "appearance=1")),
    "sts-pattern2": ("sts", ("motion=2", "appearance=2")),
    "sts-pattern3": ("sts", ("motion=3", "appearance=3")),
    "sts-global": ("sts", ("motion=global", "appearance=global")),
    "mas": ("mas", ()),
    "mas-motion": ("mas", ("appearance=none",)),
    "mas-appearance": ("mas", ("motion=none",)),
}
SIZE = (72, 96)
PROTOCOLS = ("knn", "linear", "retrieval:vcop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=("ut", "quick", "synthetic"))
    parser.add_argument("--data", type=Path, help="UT-Interaction")
    parser.add_argument("--out", type=Path, default=Path("runs/statistics"))
    parser.add_argument("--name", default="results", help="of the evaluation's folder")
    parser.add_argument("--only", choices=("pretrain",))
    parser.add_argument("--clips", type=int, default=1304, help="of the synthetic world")
    parser.add_argument("--train", type=int, default=304, help="of those, for training")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS], choices=[*VARIANTS])
    parser.add_argument("--protocols", nargs="+", default=[*PROTOCOLS])
    options = parser.parse_intermixed_args()
    clips = render(options, CALM) if options.world == "synthetic" else read_clips(options.data)
    material = stored(clips if options.world == "ut" else train_part(clips), options.out)
    runs = {name: [train(name, seed, material, options) for seed in options.seeds] for name in options.variants}
    if options.only is None:
        judge(runs, clips, material, options)


def render(options: argparse.Namespace, world: AnyWorld) -> Manifest:
    """The rendered world with the first `train` clips for training and the rest for testing."""
    labels = render_world(options.out / "videos", clips=options.clips, seed=0, world=world)
    manifest = scan(labels).manifest
    order = np.argsort(manifest.column("path"))
    splits = {int(row): "train" if place < options.train else "test" for place, row in enumerate(order)}
    return Manifest.from_rows([{**manifest.row(i), "split": splits[i]} for i in range(len(manifest))], manifest.root)


def stored(clips: Manifest, out: Path) -> Manifest:
    """The clips with frames and flow as recipe `tiny` reads them, computed once for all runs."""
    packed(clips, out)
    flow_to_screen(out / "frames", out / "flow", preset="dis-medium", size=SIZE, stride=2, format="raw", bits=16)
    return open_manifest(out / "flow")


def packed(clips: Manifest, out: Path) -> Manifest:
    """The clips with frames as recipes `tiny` read them."""
    out.mkdir(parents=True, exist_ok=True)
    clips.write(out / "clips.parquet")
    store_to_screen(out / "clips.parquet", out / "frames", Settings("frames", "raw", SIZE), workers=1)
    return open_manifest(out / "frames")


def train(name: str, seed: int, material: Manifest, options: argparse.Namespace) -> Run:
    """Pre-train one variant with one seed, or find it done."""
    method, changes = VARIANTS[name]
    folder, began = options.out / f"{name}-{seed}", time.monotonic()
    recipe = load_recipe(method, "tiny", [f"epochs={EPOCHS[method]}", *changes, *options.overrides, f"seed={seed}"])
    run = pretrain(recipe, material, folder, resume=bool(checkpoints(folder)))
    print(f"{folder}: {run.step} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return run


def judge(runs: dict[str, list[Run]], clips: Manifest, material: Manifest, options: argparse.Namespace) -> None:
    """All variants beside the untrained network of the first; so give variants of one method, or two to compare."""
    arms: dict[str, dict[int, Encoder]] = {
        name: {run.recipe.seed: load_run(run.folder).encoder() for run in found} for name, found in runs.items()
    }
    # Variants of one method have one untrained network: they differ in their heads alone.
    first = next(iter(runs.values()))
    arms["untrained"] = {run.recipe.seed: run.untrained().products().encoders["video"] for run in first}
    settings = EvaluationSettings(
        protocols=tuple(options.protocols), extraction=Extraction(workers=1, cache=options.out / "cache")
    )
    if options.world == "ut":
        settings = replace(settings, folds="sequence", within="set")
    began = time.monotonic()
    tested = clips if options.world == "synthetic" else labelled(clips)
    results = evaluate(arms, tested, settings, pretraining=dict.fromkeys(runs, material))
    results.write(options.out / options.name)
    print(f"evaluated in {(time.monotonic() - began) / 60:.1f} minutes\n\n{as_markdown(results)}")


if __name__ == "__main__":
    main()
