"""Refuse files that must not enter the repository: large ones, keys, and paths of somebody's machine.

Run `python tools/guard.py FILE …`: one line per finding, exit code 1 when there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

LARGEST = 1_000_000
FORBIDDEN = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an access token": re.compile(rb"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z]{34})\b"),
    "a path of one machine": re.compile(rb"(?<![\w.~<})-])/(?:work|root|home|Users)\b"),
}


def findings(path: Path) -> list[str]:
    """What forbids `path`, one sentence each; binary files are only asked for their size."""
    content = path.read_bytes()
    found = [f"{path}: {len(content)} bytes, at most {LARGEST} are allowed"] if len(content) > LARGEST else []
    if b"\0" in content:
        return found
    for what, pattern in FORBIDDEN.items():
        for match in pattern.finditer(content):
            line = content.count(b"\n", 0, match.start()) + 1
            found.append(f"{path}:{line}: {what}")
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the findings in the named files; 1 when there are any."""
    found = [finding for argument in arguments for finding in findings(Path(argument))]
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
