"""Commands that lead from videos to a manifest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.cli.commands import Commands


def add_scan(commands: Commands) -> None:
    """`kinema scan`."""
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


def add_synth(commands: Commands) -> None:
    """`kinema synth`."""
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
