"""Claim: how what child-view learns grows with the recordings it saw.

Run `python benchmarks/data_fractions.py --data DIR --labelled LABELS.csv [options] [key=value …]` on recordings of your
own, or without `--data` on a synthetic world of `--clips` clips. Every fraction is the first part of the files by
`--by`, so that smaller ones lie in larger ones; all runs take as many optimiser steps, and are measured on the same
held-out files. Finished runs are used again, stopped ones go on.

Written to `--out`: `curve.json` and `curve.html`, the curves over hours of video: the loss of held-out clips, the error
of their interpolated middles beside copying and blending, and kNN and linear accuracy on the labelled videos (split
`test`), each with the untrained network beside it.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from kinema import Manifest, load_recipe, pretrain, scan
from kinema.data.opening import open_manifest
from kinema.data.synthetic import World, render_world
from kinema.evaluation import EvaluationSettings, Extraction, evaluate
from kinema.report.charts import Series, line_chart
from kinema.report.markup import table, tag
from kinema.report.page import document
from kinema.training.checkpoint import Run, checkpoints, load_run
from kinema.training.files import write_atomic
from kinema.training.journal import read_journal
from kinema.training.rows import chosen_rows

PROTOCOLS = ("knn", "linear")
HELD_OUT = ("loss", "interpolation_network", "interpolation_nearest", "interpolation_blend", "interpolation_mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="recordings: a folder or a manifest")
    parser.add_argument(
        "--labelled", type=Path, help="labelled videos with a split; the synthetic world brings its own"
    )
    parser.add_argument("--clips", type=int, default=1200, help="of the synthetic world; a third is for testing")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--by", choices=("name", "time", "random"), default="name")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/fractions"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    material, labelled = world(options) if options.data is None else own(options)
    rows = [
        one(fraction, seed, material, labelled, options) for fraction in options.fractions for seed in options.seeds
    ]
    write(rows, options.out)


def world(options: argparse.Namespace) -> tuple[Manifest, Manifest]:
    """Clips of shapes; the first two thirds are the recordings, and train the probes."""
    labels = render_world(options.out / "videos", clips=options.clips, seed=0, world=World())
    manifest = scan(labels).manifest
    order = np.argsort(manifest.column("path"), kind="stable")
    first = set(order[: 2 * len(order) // 3].tolist())
    rows = [{**manifest.row(i), "split": "train" if i in first else "test"} for i in range(len(manifest))]
    return manifest.select(sorted(first)), Manifest.from_rows(rows, manifest.root)


def own(options: argparse.Namespace) -> tuple[Manifest, Manifest | None]:
    return open_manifest(options.data), open_manifest(options.labelled) if options.labelled else None


def one(
    fraction: float, seed: int, material: Manifest, labelled: Manifest | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Train on a fraction, or find it done, and measure it."""
    folder = options.out / f"{fraction:g}-{options.by}-{seed}"
    settings = [f"steps={options.steps}", f"fraction={fraction}", f"fraction_by={options.by}", f"seed={seed}"]
    recipe = load_recipe("child-view", "tiny", ["validation=0.1", *settings, "health=0", *options.overrides])
    run = pretrain(recipe, material, folder, resume=bool(checkpoints(folder)), quiet=True)
    train = chosen_rows(material, recipe).train
    hours = sum(end - start for start, end in map(train.bounds, range(len(train)))) / 3600
    found: dict[str, Any] = {
        "fraction": fraction,
        "seed": seed,
        "files": len(set(train.column("path"))),
        "hours": hours,
    }
    last = [event for event in read_journal(folder / "metrics.jsonl") if event["event"] == "validation"][-1]
    found |= {"loss": last["loss"], **last["parts"]}
    if labelled is not None:
        found |= judged(run, labelled, train, options.out)
    print(json.dumps(found), flush=True)
    return found


def judged(run: Run, labelled: Manifest, train: Manifest, out: Path) -> dict[str, float]:
    """Top-1 of the run and of the untrained network under each protocol."""
    arms = {"trained": load_run(run.folder).encoder(), "untrained": run.untrained().products().encoders["video"]}
    settings = EvaluationSettings(
        protocols=PROTOCOLS,
        pixels=False,
        calibrated=False,
        extraction=Extraction("single_center", workers=1, cache=out / "cache"),
    )
    results = evaluate(arms, labelled, settings, pretraining={"trained": train})
    found = [row for row in results.rows if row.arm in arms and (row.metric, row.level) == ("top1", "video")]
    return {f"{row.protocol}, {row.arm}": row.value for row in found}


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """The numbers as JSON, the curves as a page."""
    write_atomic(out / "curve.json", json.dumps(rows, indent=1))
    measures = [name for name in rows[0] if name not in ("fraction", "seed", "files", "hours")]
    means = [
        {name: float(np.mean([row[name] for row in rows if row["fraction"] == share])) for name in ("hours", *measures)}
        for share in dict.fromkeys(row["fraction"] for row in rows)
    ]
    groups = {
        "on held-out clips: mean square error": [name for name in measures if name in HELD_OUT],
        "on labelled videos: top-1 in percent": [name for name in measures if name not in HELD_OUT],
    }
    hours = [math.log10(mean["hours"]) for mean in means]
    charts = [
        line_chart(
            [Series(name, hours, [mean[name] for mean in means]) for name in names],
            title=title,
            x_label="log10 of hours of video",
            noisy=False,
        )
        for title, names in groups.items()
        if names
    ]
    head = ["fraction", "seed", "files", "hours", *measures]
    lines = [[f"{row[name]:.4g}" for name in head] for row in rows]
    body = tag("main", tag("div", *charts, class_="grid2"), table(head, lines, caption="Every run"))
    write_atomic(
        out / "curve.html", document("Fractions of the data", tag("header", tag("h1", "Fractions of the data")), body)
    )
    print(f"{out / 'curve.html'}")


if __name__ == "__main__":
    main()
