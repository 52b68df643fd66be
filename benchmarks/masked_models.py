"""Claim: what masked video models learn from small real clips, beside their untrained networks and pixels.

Run `python benchmarks/masked_models.py --data DIR [options] [key=value …]`; DIR holds folders of real videos, among
them `ut_interaction` with `labels.csv` (file, label, set, sequence).

Pre-training sees every clip of `FOLDERS` but those of the test sequences 8-10 and 18-20 (inductive). Then, on the quick
protocol of UT-Interaction (trained on sequences 1-7 and 11-17, tested on the others, 84 and 36 clips): linear and
attentive probes and nearest neighbours, the linear probe with 5 clips per class, and fine-tuning; each beside the
untrained network, three pixel references and, under fine-tuning, training from scratch. Differences are paired over
sequences and seeds, 95 % bootstrap. Finished runs are used again; `--only pretrain` stops before the evaluation.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from statistics_methods import packed
from ut_interaction import labelled, read_clips, train_part

from kinema import Manifest, load_recipe, pretrain, scan
from kinema.evaluation import EvaluationSettings, Extraction, as_markdown, evaluate
from kinema.evaluation.subsets import Subset
from kinema.training.checkpoint import Run, checkpoints, load_run

FOLDERS = ("weizmann", "ucf101_bits", "av_samples", "grid_av_speech", "gopro_imu", "movi_gifs")
"""What is pre-trained on beside UT-Interaction. Tracks cut out of its test sequences are not."""

METHODS = ("videomae", "child-view", "crossvideomae")
STEPS = {"videomae": 600, "child-view": 300, "crossvideomae": 150}
"""Of recipe `tiny`: about three minutes of one quiet core each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/masked"))
    parser.add_argument("--only", choices=("pretrain", "evaluate"))
    parser.add_argument("--name", default="", help="of this variant of the settings, where there are several")
    parser.add_argument("--steps", type=int, help="in place of those of STEPS")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS)
    parser.add_argument("--protocols", nargs="+", default=["knn", "linear", "attentive", "finetune:quick"])
    options = parser.parse_intermixed_args()
    clips = read_clips(options.data / "ut_interaction")
    material = packed(unlabelled(train_part(clips), options.data), options.out)
    for method in options.methods:
        runs = [train(method, seed, material, options) for seed in options.seeds]
        if options.only != "pretrain":
            judge(method, runs, labelled(clips), material, options)


def unlabelled(clips: Manifest, data: Path) -> Manifest:
    """The clips, and all of the other folders, with absolute paths and nothing but their paths."""
    parts = [clips, *(scan(data / name).manifest for name in FOLDERS)]
    rows = [{"path": str(part.path(i).resolve())} for part in parts for i in range(len(part))]
    return Manifest.from_rows(rows, data)


def train(method: str, seed: int, material: Manifest, options: argparse.Namespace) -> Run:
    """Pre-train one method with one seed, or find it done."""
    folder, began = options.out / f"{method}{options.name}-{seed}", time.monotonic()
    if options.only == "evaluate":
        return load_run(folder)
    fixed = [f"steps={options.steps or STEPS[method]}", "threads=1", "workers=1", "health=0", f"seed={seed}"]
    recipe = load_recipe(method, "tiny", [*fixed, *options.overrides])
    run = pretrain(recipe, material, folder, resume=bool(checkpoints(folder)), quiet=True)
    print(f"{folder}: {run.step} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return run


def judge(method: str, runs: list[Run], clips: Manifest, material: Manifest, options: argparse.Namespace) -> None:
    """One method beside its untrained network, with all training clips and with five per class."""
    arms = {
        method: {run.recipe.seed: load_run(run.folder).encoder() for run in runs},
        "untrained": {run.recipe.seed: run.untrained().products().encoders["video"] for run in runs},
    }
    settings = EvaluationSettings(
        protocols=tuple(options.protocols), extraction=Extraction(workers=1, cache=options.out / "cache")
    )
    few = replace(settings, protocols=("linear",), subset=Subset(shots=5))
    for name, wanted in (("quick", settings), ("5 clips per class", few)):
        began = time.monotonic()
        results = evaluate(arms, clips, wanted, pretraining={method: material})
        results.write(options.out / f"results-{method}{options.name}-{name.replace(' ', '-')}")
        print(f"{method}, {name}: {(time.monotonic() - began) / 60:.1f} minutes\n\n{as_markdown(results)}", flush=True)


if __name__ == "__main__":
    main()
