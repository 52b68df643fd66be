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
    parser.add_argument(
        "source", type=Path, help="folder of videos, frames or tar files; one video; a CSV/Parquet list"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="manifest to write: .parquet, or .csv")
    parser.add_argument(
        "--layout",
        default="auto",
        help="auto, folders, frames, webdataset, lists, ucf101, hmdb51, kinetics, ssv2, diving48, davis2016, "
        "davis2017, vip or jhmdb (default: auto, which says what it recognised)",
    )
    parser.add_argument("--split", type=int, default=None, help="official split 1, 2 or 3 (default: 1)")
    parser.add_argument("--lists", type=Path, default=None, help="folder of the set's lists, if it lies elsewhere")
    parser.add_argument("--fps", type=float, default=None, help="rate of folders of images (default: the set's, or 25)")
    parser.add_argument(
        "--labels", choices=("auto", "folder", "none"), default="auto", help="whether first-level folders are classes"
    )
    parser.add_argument("--against", type=Path, default=None, metavar="MANIFEST", help="print what is in it, too")
    parser.add_argument("--afresh", action="store_true", help="read again what has not changed since the last scan")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.set_defaults(run=_scan)


def _scan(options: argparse.Namespace) -> None:
    from kinema.app.scanning import scan_to_file

    scan_to_file(
        options.source,
        options.out,
        labels=options.labels,
        against=options.against,
        afresh=options.afresh,
        layout=options.layout,
        split=options.split,
        lists=options.lists,
        fps=options.fps,
        workers=options.workers,
    )


def add_synth(commands: Commands) -> None:
    """`kinema synth`."""
    parser = commands.add_parser(
        "synth",
        help="render a labelled synthetic video set, with the truth about it",
        usage="kinema synth OUT [options] [key=value …]",
        epilog="key=value changes the world: frames=32 size=[64,64] speeds=[0.2,0.4] … (all: docs/synthetic-worlds.md)",
    )
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument(
        "--world", default="shapes", help="shapes, calm, labels, order, crowd, persons or long (default: shapes)"
    )
    parser.add_argument("--clips", type=int, default=320, help="number of videos (default: 320)")
    parser.add_argument("--truth", action="store_true", help="masks, hidden parts, boxes, flow and joints per frame")
    parser.add_argument("--sound", action="store_true", help="a sound track of what happens")
    parser.add_argument("--imu", action="store_true", help="an accelerometer on the camera, which then moves more")
    parser.add_argument("--captions", action="store_true", help="a sentence about each clip, in the column text")
    parser.add_argument("--seed", type=int, default=0, help="of every random number")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.set_defaults(run=_synth, overrides=[])


def _synth(options: argparse.Namespace) -> None:
    from kinema.app.rendering import choose_world, render_to_screen
    from kinema.data.synthetic import Extras

    world = choose_world(options.world, options.overrides, imu=options.imu)
    extras = Extras(truth=options.truth, sound=options.sound, imu=options.imu, captions=options.captions)
    labels = render_to_screen(
        options.out, clips=options.clips, seed=options.seed, world=world, extras=extras, workers=options.workers
    )
    print(f"next: kinema scan {labels} -o {options.out.with_suffix('.parquet')}")
