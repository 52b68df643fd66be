"""Claim: a method learns from real video what an untrained network does not have.

Run `python benchmarks/ut_interaction.py DATA [key=value …] [--seeds 0 1 2] [--out DIR]`. DATA holds
`labels.csv` with the columns file, label, set, sequence (UT-Interaction: 120 clips of six two-person actions; further
clips labelled "background" are used for nothing but pre-training).

Measured, for every seed:
* main protocol: pre-training on all clips (transductive); within each set one sequence is left out, 20 folds pooled;
* quick protocol: pre-training without the test sequences (inductive), trained on sequences 1-7 and 11-17, tested on
  8-10 and 18-20, with the same network trained from scratch on the labels beside it.
Beside the trained encoder stand the same network untrained, untrained with BatchNorm statistics from training clips,
and three pixel references. Differences are paired; intervals are 95 % bootstraps over sequences and seeds.
`--trials` compares settings on the training sequences alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from kinema import Manifest, load_recipe, pretrain, scan
from kinema.evaluation import EvaluationSettings, Extraction, Results, as_markdown, evaluate
from kinema.modules.encoder import Encoder
from kinema.training.checkpoint import Run, checkpoints, load_run

HELD_OUT = {"8", "9", "10", "18", "19", "20"}
PROTOCOLS = ("knn", "linear", "linear:coclr_features", "retrieval:vcop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/ut"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--method", default="sts")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--trials", action="store_true", help="only the training sequences: for choosing settings")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    clips = read_clips(options.data)
    if options.trials:
        _trial(clips, options)
        return
    _main_protocol(clips, options)
    _quick_protocol(clips, options)


def read_clips(data: Path) -> Manifest:
    """All clips, scanned, with `split` by sequence."""
    manifest = scan(data / "labels.csv").manifest
    splits = ["test" if str(sequence) in HELD_OUT else "train" for sequence in manifest.column("sequence")]
    rows = [
        {**manifest.row(i), "split": split, "group": str(manifest.row(i)["sequence"])} for i, split in enumerate(splits)
    ]
    return Manifest.from_rows(rows, manifest.root)


def labelled(clips: Manifest) -> Manifest:
    return clips.select([i for i, label in enumerate(clips.column("label")) if label != "background"])


def train_part(clips: Manifest) -> Manifest:
    return clips.select([i for i, split in enumerate(clips.column("split")) if split == "train"])


def _runs(clips: Manifest, name: str, options: argparse.Namespace) -> list[Run]:
    """Pre-train once per seed; finished runs are used again, interrupted ones go on."""
    runs = []
    for seed in options.seeds:
        recipe = load_recipe(options.method, options.recipe, [*options.overrides, f"seed={seed}"])
        folder = options.out / f"{name}-{seed}"
        began = time.monotonic()
        runs.append(pretrain(recipe, clips, folder, resume=bool(checkpoints(folder))))
        print(f"{folder}: {runs[-1].step} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return runs


def _evaluate(runs: list[Run], clips: Manifest, settings: EvaluationSettings, out: Path) -> Results:
    trained: dict[int, Encoder] = {run.recipe.seed: load_run(run.folder).encoder() for run in runs}
    untrained = {run.recipe.seed: run.untrained().products().encoders["video"] for run in runs}
    began = time.monotonic()
    results = evaluate(
        {"trained": trained, "untrained": untrained}, clips, settings, pretraining={"trained": runs[0].manifest}
    )
    results.write(out)
    print(
        f"{out.name}: evaluated in {(time.monotonic() - began) / 60:.1f} minutes\n\n{as_markdown(results)}", flush=True
    )
    return results


def _settings(options: argparse.Namespace) -> EvaluationSettings:
    return EvaluationSettings(protocols=PROTOCOLS, extraction=Extraction(workers=1, cache=options.out / "cache"))


def _main_protocol(clips: Manifest, options: argparse.Namespace) -> None:
    settings = replace(_settings(options), folds="sequence", within="set")
    _evaluate(_runs(clips, "all", options), labelled(clips), settings, options.out / "main")


def _quick_protocol(clips: Manifest, options: argparse.Namespace) -> None:
    settings = replace(_settings(options), protocols=(*PROTOCOLS, "finetune:quick"))
    _evaluate(_runs(train_part(clips), "train", options), labelled(clips), settings, options.out / "quick")


def _trial(clips: Manifest, options: argparse.Namespace) -> None:
    part = train_part(clips)
    settings = replace(_settings(options), protocols=("knn", "linear"), folds="sequence", within="set")
    _evaluate(_runs(part, "trial", options), labelled(part), settings, options.out / "trial")


if __name__ == "__main__":
    main()
