"""Claim: `import kinema` takes under one second beyond `import torch`.

Run `python benchmarks/import_time.py [--repeats 15] [--json OUT]`. Every measurement is a fresh interpreter; the kinds
take turns, so that a slow moment of the machine falls on all of them; one round each warms the file cache and is not
counted. Printed: median and inter-quartile range in seconds, and the difference of each median from torch's alone.
`kinema.cli` is what a command loads before it does anything.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

KINDS = {
    "torch": "import torch",
    "kinema": "import torch, kinema",
    "kinema.cli": "import torch, kinema.cli",
}


def seconds(code: str) -> float:
    """Wall-clock seconds of a fresh interpreter that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def measure(repeats: int) -> dict[str, list[float]]:
    """`repeats` measurements of each kind, taken in turns after one uncounted round."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(repeats + 1):
        for kind, code in KINDS.items():
            taken = seconds(code)
            if turn:
                times[kind].append(taken)
    return times


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    times = measure(arguments.repeats)
    torch_alone = statistics.median(times["torch"])
    print(f"{'import':<12} {'median s':>9} {'IQR s':>15} {'beyond torch s':>15}")
    for kind, taken in times.items():
        low, median, high = statistics.quantiles(taken, n=4)
        print(f"{kind:<12} {median:9.3f}   {low:5.3f} … {high:5.3f} {median - torch_alone:15.3f}")
    if arguments.json:
        machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
        arguments.json.write_text(json.dumps({"machine": machine, "seconds": times}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
