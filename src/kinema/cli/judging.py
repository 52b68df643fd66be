"""Commands that produce evidence."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.cli.commands import Commands


def add_evaluate(commands: Commands) -> None:
    """`kinema evaluate`."""
    parser = commands.add_parser("evaluate", help="measure a trained encoder on labelled videos, beside its baselines")
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run folder written by pretrain")
    parser.add_argument("--data", type=Path, required=True, help="labelled manifest, CSV, or folder per class")
    parser.add_argument("--protocol", default="knn,linear,retrieval", help="comma-separated protocols")
    parser.add_argument("--folds", default=None, metavar="COLUMN", help="leave one value of this column out at a time")
    parser.add_argument("--within", default=None, metavar="COLUMN", help="never mix values of this column in a fold")
    parser.add_argument("--views", default="uniform10", help="clips and crops per video (default: uniform10)")
    parser.add_argument("--name", default=None, help="name of this evaluation (default: the data's)")
    parser.add_argument("--skip-broken", action="store_true", help="evaluate without files that cannot be read")
    parser.add_argument("--method", default=None, help="repeat package.module:Class of a method from outside")
    parser.add_argument("--workers", type=int, default=None, help="processes that read videos")
    parser.epilog = "Further options as key=value: shots=10, fraction=0.1, examples=1000, draws=3, finetune.epochs=5 …"
    parser.set_defaults(run=_evaluate, overrides=[])


def _evaluate(options: argparse.Namespace) -> None:
    from kinema.app.evaluating import evaluate_to_screen

    evaluate_to_screen(
        options.run_folder,
        options.data,
        protocols=tuple(options.protocol.split(",")),
        folds=options.folds,
        within=options.within,
        views=options.views,
        name=options.name,
        skip_broken=options.skip_broken,
        method=options.method,
        workers=options.workers,
        overrides=options.overrides,
    )


def add_report(commands: Commands) -> None:
    """`kinema report`."""
    parser = commands.add_parser("report", help="write one HTML page about a run")
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run folder written by pretrain")
    parser.add_argument("-o", "--out", type=Path, default=None, help="file to write (default: RUN/report.html)")
    parser.add_argument("--redact", action="store_true", help="leave out every picture of the videos (faces)")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from kinema.report import write_report

    print(f"report: {write_report(options.run_folder, options.out, redact=options.redact)}")
