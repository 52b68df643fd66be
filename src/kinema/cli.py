"""The command line: each command is a few lines over the functions of the library."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinema import __version__
from kinema.errors import KinemaError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        "kinema", description="Learn from unlabelled video: train an encoder, prove how good it is, use it."
    )
    parser.add_argument("--version", action="version", version=f"kinema {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_scan(commands)
    _add_pretrain(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_methods(commands)
    _add_synth(commands)
    _add_demo(commands)
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; `key=value` may stand anywhere among the options of a command that takes them."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    wrong = [text for text in rest if text.startswith("-") or "=" not in text or not hasattr(options, "overrides")]
    if wrong:
        parser.error(f"{options.command} does not take: {' '.join(wrong)} (see: kinema {options.command} --help)")
    if hasattr(options, "overrides"):
        options.overrides = rest
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 an error that was explained, 2 wrong usage, 130 stopped."""
    options = parse(arguments)
    try:
        status: int = options.run(options) or 0
    except KinemaError as error:
        print(f"kinema {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nkinema {options.command}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone (`kinema methods | head`): not an error, but Python would print one at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _add_scan(commands: Commands) -> None:
    parser = commands.add_parser("scan", help="look at every video once and list it in a manifest")
    parser.add_argument("source", type=Path, help="folder of videos, one video, or a CSV/Parquet list")
    parser.add_argument("-o", "--out", type=Path, required=True, help="manifest to write: .parquet, or .csv")
    parser.add_argument(
        "--labels", choices=("auto", "folder", "none"), default="auto", help="whether first-level folders are classes"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.set_defaults(run=_scan)


def _scan(options: argparse.Namespace) -> None:
    from kinema.app.scanning import scan_to_file

    scan_to_file(options.source, options.out, labels=options.labels, workers=options.workers)


def _add_pretrain(commands: Commands) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="train a method on videos, without labels",
        usage="kinema pretrain METHOD --data DATA [options] [key=value …]",
        epilog="key=value changes the recipe: epochs=20 lr=1e-3 backbone=r3d … (all: kinema methods NAME)",
    )
    parser.add_argument("method", help="name of a method (see: kinema methods), or package.module:Class")
    parser.add_argument("--data", type=Path, required=True, help="manifest from scan, or a folder of videos")
    parser.add_argument("--recipe", default=None, help="'tiny', 'paper' or a YAML file (default: tiny)")
    parser.add_argument("-o", "--out", type=Path, default=None, help="run folder (default: runs/METHOD-DATA)")
    parser.add_argument("--resume", action="store_true", help="go on where the run in that folder stopped")
    parser.add_argument("--dry-run", action="store_true", help="print recipe, samples, steps, memory; train nothing")
    parser.set_defaults(run=_pretrain, overrides=[])


def _pretrain(options: argparse.Namespace) -> None:
    from kinema.app.pretraining import default_run_folder, dry_run
    from kinema.data.opening import open_manifest
    from kinema.training.loop import pretrain
    from kinema.training.recipe import load_recipe

    recipe = load_recipe(options.method, options.recipe, options.overrides)
    manifest = open_manifest(options.data)
    if options.dry_run:
        dry_run(recipe, manifest)
        return
    out = options.out or default_run_folder(options.method, options.data)
    try:
        pretrain(recipe, manifest, out, resume=options.resume)
    except KeyboardInterrupt:
        print(f"\n{out} keeps its last checkpoint: go on with the same command and --resume", file=sys.stderr)
        raise
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"run folder: {out}\nnext: kinema evaluate {out} --data labelled.csv · kinema report {out}")


def _add_evaluate(commands: Commands) -> None:
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
    parser.set_defaults(run=_evaluate)


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
    )


def _add_report(commands: Commands) -> None:
    parser = commands.add_parser("report", help="write one HTML page about a run")
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run folder written by pretrain")
    parser.add_argument("-o", "--out", type=Path, default=None, help="file to write (default: RUN/report.html)")
    parser.add_argument("--redact", action="store_true", help="leave out every picture of the videos (faces)")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from kinema.report import write_report

    print(f"report: {write_report(options.run_folder, options.out, redact=options.redact)}")


def _add_methods(commands: Commands) -> None:
    parser = commands.add_parser("methods", help="list the methods, or explain one")
    parser.add_argument("name", nargs="?", default=None, help="name of a method")
    parser.add_argument("--template", type=Path, default=None, metavar="CSV", help="write an empty manifest for it")
    parser.set_defaults(run=_methods)


def _methods(options: argparse.Namespace) -> None:
    from kinema.app.catalogue import explain_method, list_methods, write_template

    if options.name is None:
        list_methods()
    elif options.template is not None:
        write_template(options.name, options.template)
    else:
        explain_method(options.name)


def _add_synth(commands: Commands) -> None:
    parser = commands.add_parser("synth", help="render a labelled synthetic video set: the class is the motion")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--clips", type=int, default=320, help="number of videos (default: 320)")
    parser.add_argument("--calm", action="store_true", help="four motions over quiet backgrounds")
    parser.add_argument("--seed", type=int, default=0, help="of every random number")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.set_defaults(run=_synth)


def _synth(options: argparse.Namespace) -> None:
    from kinema.app.rendering import CALM, render_to_screen

    world = CALM if options.calm else None
    labels = render_to_screen(options.out, clips=options.clips, seed=options.seed, world=world, workers=options.workers)
    print(f"next: kinema scan {labels} -o {options.out.with_suffix('.parquet')}")


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="the whole journey: videos, pre-training, evidence, report")
    parser.add_argument("--data", type=Path, default=None, help="folder of your own videos (default: synthetic ones)")
    parser.add_argument("-o", "--out", type=Path, default=Path("demo"), help="folder to work in (default: demo)")
    parser.add_argument("--minutes", type=float, default=2.0, help="time to pre-train (default: 2)")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from kinema.app.demo import demo

    demo(options.out, data=options.data, minutes=options.minutes)


if __name__ == "__main__":
    sys.exit(main())
