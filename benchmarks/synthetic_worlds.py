"""Claim: a thousand clips of any synthetic world, truth included, are rendered in minutes on two cores.

Run `python benchmarks/synthetic_worlds.py [WORLD …] [--clips 16] [--repeats 3] [--json FILE]`.
Renders clips of each world to files in one process: plain, with truth, and with sound, accelerometer and captions.
Prints clips and seconds of video per second (median and quartiles over repeats), the size of a clip on disk, and the
minutes that 1,000 clips take on two cores, should these scale.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import cv2

from kinema.app.rendering import WORLDS
from kinema.data.synthetic import Extras, render_world

KINDS = {
    "plain": Extras(),
    "truth": Extras(truth=True),
    "multimodal": Extras(sound=True, imu=True, captions=True),
}


def measure(name: str, extras: Extras, clips: int, repeats: int) -> dict[str, float]:
    """Rates of one world: the first round warms up and is not counted."""
    world, rates, size = WORLDS[name], [], 0.0
    for turn in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            render_world(folder, clips=clips, seed=turn, world=world, extras=extras, workers=1)
            rates.append(clips / (time.perf_counter() - began))
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / clips
    low, median, high = statistics.quantiles(rates[1:], n=4) if repeats > 1 else [rates[-1]] * 3
    seconds = world.frames / world.fps
    return {
        "clips_per_second": median,
        "low": low,
        "high": high,
        "video_seconds_per_second": median * seconds,
        "megabytes": size / 1e6,
        "minutes_for_1000": 1000 / median / 2 / 60,
    }


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", default=["shapes", "crowd", "persons", "long"], metavar="WORLD")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(
        f"{'world':<9} {'kind':<11} {'clips/s':>8} {'quartiles':>15} {'x real time':>12} {'MB/clip':>8} {'min/1000':>9}"
    )
    rows = []
    for name in options.worlds:
        for kind, extras in KINDS.items():
            row = measure(name, extras, options.clips, options.repeats)
            rows.append({"world": name, "kind": kind, **row})
            quartiles = f"{row['low']:.1f} … {row['high']:.1f}"
            print(f"{name:<9} {kind:<11} {row['clips_per_second']:>8.1f} {quartiles:>15} "
                  f"{row['video_seconds_per_second']:>12.1f} {row['megabytes']:>8.2f} {row['minutes_for_1000']:>9.1f}",
                  flush=True)  # fmt: skip
    if options.json:
        machine = {"opencv": cv2.__version__, "system": platform.platform(), "cores": os.cpu_count()}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
