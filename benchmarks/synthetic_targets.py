"""Claim: which form of the STS targets teaches most about motion, where the motion is known.

Run `python benchmarks/synthetic_targets.py [key=value …] [--clips 1600] [--train 600] [--seeds 0 1] [--out DIR]`.
Renders the calm synthetic world, in which the class is the motion and nothing else tells it, pre-trains STS (recipe
tiny) with each form of the targets on the training clips without labels, and probes all with the labels of the training
clips on the remaining clips (at least 1,000 for claims of form against form). All forms get the same clips,
epochs and seeds. Differences are paired over test clips and seeds, 95 % bootstrap. `--world` takes another world of
docs/synthetic-worlds.md, `--labels` what to probe: `--world labels --labels label speed_class direction_class`.
"""

from __future__ import annotations

import argparse
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from kinema import Manifest, load_recipe, pretrain, scan
from kinema.app.rendering import WORLDS
from kinema.data.synthetic import render_world
from kinema.evaluation import EvaluationSettings, Extraction, Results, as_markdown, evaluate
from kinema.evaluation.compare import Judged, compare
from kinema.modules.encoder import Encoder
from kinema.training.checkpoint import checkpoints

FORMS = {
    "classification": ["target=classification"],
    "1d": ["target=1d"],
    "2d": ["target=2d"],
    "motion-only": ["target=classification", "appearance=none"],
    "appearance-only": ["target=classification", "motion=none"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1600)
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/synthetic"))
    parser.add_argument("--world", default="calm", choices=sorted(WORLDS))
    parser.add_argument("--labels", nargs="+", default=["label"], metavar="COLUMN", help="what to probe, one by one")
    parser.add_argument("--forms", nargs="+", default=[*FORMS, "curriculum"], choices=[*FORMS, "curriculum"])
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    world = _world(options)
    arms: dict[str, dict[int, Encoder]] = {}
    untrained: dict[int, Encoder] = {}
    train = world.select([row for row, split in enumerate(world.column("split")) if split == "train"])
    for form in options.forms:
        # The curriculum spends the first half of the epochs on the easier half of the clips.
        changes = FORMS.get(form, [*FORMS["classification"], f"curriculum={options.epochs // 2}"])
        for seed in options.seeds:
            settings = [f"epochs={options.epochs}", *changes, *options.overrides, f"seed={seed}"]
            folder, began = options.out / f"{form}-{seed}", time.monotonic()
            run = pretrain(load_recipe("sts", "tiny", settings), train, folder, resume=bool(checkpoints(folder)))
            print(f"{folder}: {run.step} steps, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
            arms.setdefault(form, {})[seed] = run.encoder()
            if form == options.forms[0]:
                untrained[seed] = run.untrained().products().encoders["video"]
    reading = Extraction(views="uniform4", workers=1, cache=options.out / "cache")
    for label in options.labels:
        settings = EvaluationSettings(protocols=("knn", "linear", "retrieval"), extraction=reading, label=label)
        results = evaluate({**arms, "untrained": untrained}, world, settings, pretraining=dict.fromkeys(arms, train))
        results.write(options.out / ("results" if label == "label" else f"results-{label}"))
        print(f"## {label}\n{as_markdown(results)}")
        for protocol in ("knn", "linear"):
            for first, second in combinations(options.forms, 2):
                print(_against(results, protocol, first, second, options.seeds))


def _world(options: argparse.Namespace) -> Manifest:
    """The rendered world with the first `train` clips for training and the rest for testing."""
    labels = render_world(options.out / "videos", clips=options.clips, seed=0, world=WORLDS[options.world])
    manifest = scan(labels).manifest
    order = np.argsort(manifest.column("path"))
    splits = {int(row): "train" if place < options.train else "test" for place, row in enumerate(order)}
    return Manifest.from_rows([{**manifest.row(i), "split": splits[i]} for i in range(len(manifest))], manifest.root)


def _against(results: Results, protocol: str, first: str, second: str, seeds: list[int]) -> str:
    truth = results.predictions["labels"]
    judged = []
    for arm in (first, second):
        scores = {seed: results.predictions[f"{arm}/{protocol}/{seed}"] for seed in seeds}
        judged.append(Judged(arm, protocol, "top1", {s: 100.0 * (v.argmax(1) == truth) for s, v in scores.items()}))
    found = compare(judged[0], judged[1], np.arange(len(truth)))
    return (
        f"{protocol}: {first} minus {second}: {found.difference:+.2f} points "
        f"({found.low:+.2f} to {found.high:+.2f}), {found.verdict}"
    )


if __name__ == "__main__":
    main()
