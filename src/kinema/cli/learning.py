"""Commands about methods and training."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.cli.commands import Commands


def add_pretrain(commands: Commands) -> None:
    """`kinema pretrain`."""
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


def add_labels(commands: Commands) -> None:
    """`kinema labels`."""
    parser = commands.add_parser(
        "labels",
        help="write the motion and appearance labels of every clip (sts, mas)",
        usage="kinema labels METHOD --data DATA -o OUT [options] [key=value …]",
    )
    parser.add_argument("method", choices=("sts", "mas"), help="whose clips and options")
    parser.add_argument("--data", type=Path, required=True, help="manifest from scan, or a folder of videos")
    parser.add_argument("--recipe", default=None, help="'tiny', 'paper' or a YAML file (default: tiny)")
    parser.add_argument("-o", "--out", type=Path, required=True, help="table to write: .parquet, or .csv")
    parser.set_defaults(run=_labels, overrides=[])


def _labels(options: argparse.Namespace) -> None:
    from kinema.app.labelling import labels_to_file
    from kinema.data.opening import open_manifest
    from kinema.training.recipe import load_recipe

    recipe = load_recipe(options.method, options.recipe, options.overrides)
    labels_to_file(recipe, open_manifest(options.data), options.out)


def add_import(commands: Commands) -> None:
    """`kinema import`."""
    parser = commands.add_parser(
        "import",
        help="make a run folder of published weights, to be evaluated",
        usage="kinema import WEIGHTS -o RUN [--layout NAME] [key=value …]",
        epilog="key=value changes what the network is fed: frames=32 size=224 mean=[0,0,0] … (docs/backbones.md)",
    )
    parser.add_argument(
        "weights", type=Path, help=".pth, .pt, .tar, .safetensors or .npz file, or a folder of transformers"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="run folder to make")
    parser.add_argument("--layout", default="auto", help="whose keys the file has (default: recognised)")
    parser.set_defaults(run=_import, overrides=[])


def _import(options: argparse.Namespace) -> None:
    from kinema.app.importing import import_to_screen

    import_to_screen(options.weights, options.out, layout=options.layout, overrides=options.overrides)


def add_export(commands: Commands) -> None:
    """`kinema export`."""
    parser = commands.add_parser("export", help="write a run's encoder to a folder that others can load")
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run folder of pretrain or import")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--format",
        choices=("transformers", "safetensors"),
        default="transformers",
        help="for from_pretrained (default), or plain weights with the recipe that builds the network",
    )
    parser.add_argument("--method", default=None, help="repeat package.module:Class of a method from outside")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from kinema.app.exporting import export_to_screen

    export_to_screen(options.run_folder, options.out, format=options.format, method=options.method)


def add_methods(commands: Commands) -> None:
    """`kinema methods`."""
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


def add_demo(commands: Commands) -> None:
    """`kinema demo`."""
    parser = commands.add_parser("demo", help="the whole journey: videos, pre-training, evidence, report")
    parser.add_argument("--data", type=Path, default=None, help="folder of your own videos (default: synthetic ones)")
    parser.add_argument("-o", "--out", type=Path, default=Path("demo"), help="folder to work in (default: demo)")
    parser.add_argument("--minutes", type=float, default=2.0, help="time to pre-train (default: 2)")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from kinema.app.demo import demo

    demo(options.out, data=options.data, minutes=options.minutes)
