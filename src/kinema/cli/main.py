"""All commands joined: parsing, and errors turned into one line and a status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from kinema import __version__
from kinema.cli.judging import add_compare, add_embed, add_evaluate, add_report, add_segments
from kinema.cli.learning import add_demo, add_export, add_import, add_labels, add_methods, add_pretrain
from kinema.cli.storing import add_flow, add_pack, add_verify
from kinema.cli.videos import add_scan, add_synth
from kinema.errors import KinemaError

_COMMANDS = (
    add_scan,
    add_pretrain,
    add_evaluate,
    add_compare,
    add_embed,
    add_segments,
    add_report,
    add_import,
    add_export,
    add_methods,
    add_synth,
    add_demo,
    add_pack,
    add_flow,
    add_verify,
    add_labels,
)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        "kinema", description="Learn from unlabelled video: train an encoder, prove how good it is, use it."
    )
    parser.add_argument("--version", action="version", version=f"kinema {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
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
    except OSError as error:
        # A folder that cannot be written, a full disk: of the system's making, and said in its words.
        if error.errno is None:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"kinema {options.command}: {where}{error.strerror}", file=sys.stderr)
        return 1
    return status
