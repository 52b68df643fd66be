"""Claim: what each optical-flow preset costs, and how far the fast ones stray from the careful one.

Run `python benchmarks/flow_presets.py [FOLDER] [--clips 12] [--repeats 5] [--json OUT]` (under a minute on one core).
FOLDER is searched for videos, of which evenly spread ones are used; without it a textured square moves over a moving
textured ground. Measured at 112 x 112 and 128 x 171 in one thread, on 16 consecutive frames of each clip: milliseconds
per field (grey conversion included; median and inter-quartile range over repeats, in which the presets take turns), and
against dis-medium the mean endpoint error in pixels per frame and the correlation of all (u, v) values. For scale, the
mean length of dis-medium's own vectors is printed as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from kinema.data.scan import VIDEO_SUFFIXES
from kinema.errors import VideoError
from kinema.video import PRESETS, compute_flow, probe, read_frames

SIZES = ((112, 112), (128, 171))
FRAMES = 16
REFERENCE = "dis-medium"

Clip = npt.NDArray[np.uint8]


class Row(NamedTuple):
    """One line of the table."""

    size: str
    preset: str
    milliseconds: float
    low: float
    high: float
    endpoint: float
    correlation: float


def real_clips(folder: Path, count: int, size: tuple[int, int]) -> list[Clip]:
    """The middle 16 frames of `count` videos, evenly spread over the folder's list."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    clips: list[Clip] = []
    for path in (paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)):
        try:
            info = probe(path)
            if info.frames >= FRAMES:
                start = (info.frames - FRAMES) // 2
                clips.append(read_frames(info, np.arange(start, start + FRAMES), size))
        except VideoError as error:
            print(f"left out: {error}")
    return clips


def synthetic_clips(count: int, size: tuple[int, int]) -> list[Clip]:
    """A textured square that moves over a textured ground which moves otherwise, by up to three pixels per frame."""
    rng = np.random.default_rng(0)
    height, width = size
    clips = []
    for _ in range(count):
        noise = rng.integers(0, 256, (2, height, width, 3)).astype(np.float32)
        ground, square = (cv2.normalize(cv2.GaussianBlur(n, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX) for n in noise)
        drift, speed = rng.integers(-3, 4, (2, 2))
        clip = np.stack([np.roll(ground, drift * t, (0, 1)) for t in range(FRAMES)])
        for t, frame in enumerate(clip):
            top, left = np.array(size) // 3 + speed * t // 2
            frame[top : top + height // 3, left : left + width // 3] = square[: height // 3, : width // 3]
        clips.append(clip.astype(np.uint8))
    return clips


def compare(clips: list[Clip], repeats: int) -> tuple[list[Row], float]:
    """One row per preset, and the mean length of the reference's vectors."""
    times: dict[str, list[float]] = {preset: [] for preset in PRESETS}
    flows = {}
    for turn in range(repeats + 1):
        for preset in PRESETS:
            start = time.perf_counter()
            flows[preset] = np.stack([compute_flow(clip, preset) for clip in clips])
            if turn:  # the first round warms up
                times[preset].append((time.perf_counter() - start) * 1000 / (len(clips) * (FRAMES - 1)))
    reference = flows[REFERENCE]
    size = f"{clips[0].shape[1]}x{clips[0].shape[2]}"
    rows = []
    for preset in PRESETS:
        low, median, high = statistics.quantiles(times[preset], n=4)
        endpoint = float(np.linalg.norm(flows[preset] - reference, axis=-1).mean())
        correlation = float(np.corrcoef(flows[preset].ravel(), reference.ravel())[0, 1])
        rows.append(Row(size, preset, median, low, high, endpoint, correlation))
    return rows, float(np.linalg.norm(reference, axis=-1).mean())


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"{'size':<8} {'preset':<14} {'ms per field':>12} {'quartiles':>15} {'endpoint px':>12} {'correlation':>12}")
    table = []
    for size in SIZES:
        make = synthetic_clips if arguments.folder is None else partial(real_clips, arguments.folder)
        rows, length = compare(make(arguments.clips, size), arguments.repeats)
        for row in rows:
            quartiles = f"{row.low:.2f} … {row.high:.2f}"
            print(f"{row.size:<8} {row.preset:<14} {row.milliseconds:>12.2f} {quartiles:>15} "
                  f"{row.endpoint:>12.3f} {row.correlation:>12.3f}")  # fmt: skip
        print(f"{'':<8} mean length of {REFERENCE}'s vectors: {length:.3f} px")
        table += [row._asdict() for row in rows]
    if arguments.json:
        machine = {"opencv": cv2.__version__, "system": platform.platform(), "cores": os.cpu_count()}
        source = str(arguments.folder.name) if arguments.folder else "synthetic"
        record = {"machine": machine, "source": source, "rows": table}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
