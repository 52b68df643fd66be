"""Commands that compute once what training would compute again and again."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.cli.commands import Commands


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "128x171"."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no HEIGHTxWIDTH, for example 128x171")
    return int(match[1]), int(match[2])


def parse_bytes(text: str) -> int:
    """A number of bytes: "20GB", "500 MB", "1.5TiB", "1000"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write for example 20GB or 500MiB")
    power = " KMGT".index(match[2].upper() or " ")
    return round(float(match[1]) * float(1024 if match[3] else 1000) ** power)


def parse_count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1")
    return int(text)


def parse_workers(text: str) -> int:
    """A number of processes; 0 works in this one."""
    return 0 if text == "0" else parse_count(text)


def parse_rate(text: str) -> float:
    """Frames per second, above 0."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no rate in frames per second")
    return rate


def parse_part(text: str) -> tuple[int, int]:
    """(k, n) of "k/n"."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is no part: write for example 2/4 for the second of four machines")
    return int(match[1]), int(match[2])


def add_pack(commands: Commands) -> None:
    """`kinema pack`."""
    parser = commands.add_parser("pack", help="store frames at the training size, to be read many times faster")
    _add_common(parser, "frames")
    parser.add_argument("--format", choices=("raw", "intra"), default="raw", help="memory-mapped, or JPEG each")
    parser.add_argument("--quality", type=int, default=95, choices=range(1, 101), metavar="N", help="of JPEG (95)")
    parser.add_argument("--every", type=parse_count, default=1, metavar="N", help="keep every N-th frame")
    parser.set_defaults(run=_pack)


def _pack(options: argparse.Namespace) -> None:
    from kinema.app.packing import store_to_screen
    from kinema.data.packed import Settings

    settings = Settings(
        "frames", options.format, options.size, step=options.every, rate=options.rate, quality=options.quality
    )
    store = store_to_screen(options.source, options.out, settings, **_running(options))
    if store is not None:
        print(f"next: kinema pretrain sts --data {options.out}")


def add_flow(commands: Commands) -> None:
    """`kinema flow`."""
    parser = commands.add_parser("flow", help="compute the optical flow of every video once and store it")
    _add_common(parser, "flow")
    parser.add_argument("--format", choices=("raw", "intra"), default="intra", help="memory-mapped, or deflated each")
    parser.add_argument("--preset", default="dis-half", help="algorithm and effort (default: dis-half)")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8, help="16: half precision, twice as large")
    parser.add_argument(
        "--stride", type=parse_count, default=1, metavar="N", help="from each frame to the N-th after it"
    )
    parser.set_defaults(run=_flow)


def _flow(options: argparse.Namespace) -> None:
    from kinema.app.flowing import flow_to_screen

    store = flow_to_screen(
        options.source,
        options.out,
        preset=options.preset,
        size=options.size,
        stride=options.stride,
        rate=options.rate,
        format=options.format,
        bits=options.bits,
        **_running(options),
    )
    if store is not None:
        rate = f" rate={options.rate:g}" if options.rate else ""
        print(f"next: kinema pretrain sts --data {options.out} stride={options.stride}{rate}")


def add_verify(commands: Commands) -> None:
    """`kinema verify`."""
    parser = commands.add_parser("verify", help="compare every picture of a store with its checksum")
    parser.add_argument("store", type=Path, help="folder written by pack or flow")
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from kinema.app.packing import verify_on_screen

    return verify_on_screen(options.store)


def _add_common(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("source", metavar="DATA", type=Path, help="manifest from scan, folder of videos, or a store")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the store; one that was begun goes on")
    parser.add_argument("--size", type=parse_size, default=(128, 171), metavar="HxW", help=f"of the {what} (128x171)")
    parser.add_argument(
        "--rate", type=parse_rate, default=None, metavar="FPS", help="sampled rate (default: each video's)"
    )
    parser.add_argument("--budget", type=parse_bytes, default=None, metavar="BYTES", help="for example 20GB")
    parser.add_argument("--workers", type=parse_workers, default=None, help="processes (default: one per core)")
    parser.add_argument("--part", type=parse_part, default=(1, 1), metavar="K/N", help="share of one of N machines")
    parser.add_argument("--dry-run", action="store_true", help="print size and time only")


def _running(options: argparse.Namespace) -> dict[str, Any]:
    """How to work, as `store_to_screen` takes it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = cores if options.workers is None else options.workers
    return {"workers": workers, "budget": options.budget, "part": options.part, "dry_run": options.dry_run}
