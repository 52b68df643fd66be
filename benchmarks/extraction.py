"""Claim: an evaluation under several protocols decodes every video once; one that follows decodes nothing.

Run `python benchmarks/extraction.py [DATA] [--clips 48] [--repeats 3] [--json OUT]` with a labelled manifest, or
without one for videos rendered on the spot (`kinema synth`). An untrained R3D of width 8 and its calibrated twin are
judged by kNN, logistic regression, a linear layer, and retrieval on pooled features, on the last map and on sliding
windows. Measured: seconds of `evaluate` with an empty cache, of `evaluate` again with the cache it left, and of a plain
loop that for each protocol and each encoder decodes the videos, encodes them and runs the protocol, with the same
reader and batches. They take turns. Printed: medians with their range, how often a video was decoded, and the ratio to
the plain loop. All must give the same numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import torch

from kinema.app.rendering import render_to_screen
from kinema.backbones import build_backbone
from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.evaluation import EvaluationSettings, Extraction, evaluate, reading
from kinema.evaluation.baselines import calibrated
from kinema.evaluation.judging import Wanted
from kinema.evaluation.splits import labelled, make_split
from kinema.methods.encoders import ConvEncoder
from kinema.modules.encoder import Encoder, EncoderInput

PROTOCOLS = ("knn", "linear", "linear:severe", "retrieval:benchmark", "retrieval:vcop", "retrieval:coclr")
INPUT = EncoderInput(frames=8, stride=2, resize=(64, 86), size=(64, 64))


def encoders_of(manifest: Manifest) -> dict[str, Encoder]:
    """An untrained network, and the same with statistics of its own."""
    torch.manual_seed(0)
    plain = ConvEncoder(build_backbone("r3d", width=8), INPUT).eval()
    usable = labelled(manifest)
    twin = calibrated(plain, usable, make_split(usable).folds[0].train)
    assert twin is not None
    return {"first": plain, "second": twin}


def together(encoders: dict[str, Encoder], manifest: Manifest, cache: Path) -> dict[str, float]:
    """One call for everything."""
    settings = EvaluationSettings(PROTOCOLS, calibrated=False, pixels=False, extraction=Extraction(cache=cache))
    return values(evaluate(encoders, manifest, settings).rows)


def apart(encoders: dict[str, Encoder], manifest: Manifest) -> dict[str, float]:
    """A decode for each protocol and encoder."""
    found: dict[str, float] = {}
    for protocol in PROTOCOLS:
        settings = EvaluationSettings((protocol,), calibrated=False, pixels=False)
        views = Wanted(settings).views[-1]  # the views that the protocol judges, and no others
        settings = replace(settings, extraction=Extraction(views=views))
        for name, encoder in encoders.items():
            found |= values(evaluate({name: encoder}, manifest, settings).rows)
    return found


def values(rows: tuple) -> dict[str, float]:
    """Every number by its name."""
    return {f"{row.arm} {row.protocol} {row.metric} {row.level}": row.value for row in rows}


def counted(run: Callable[[], dict[str, float]]) -> tuple[float, int, dict[str, float]]:
    """Seconds, decodes and numbers of one run."""
    decodes = 0
    real = reading.read_sizes

    def counting(*arguments):
        nonlocal decodes
        decodes += 1
        return real(*arguments)

    reading.read_sizes = counting
    try:
        start = time.perf_counter()
        found = run()
        return time.perf_counter() - start, decodes, found
    finally:
        reading.read_sizes = real


def measure(manifest: Manifest, repeats: int) -> dict[str, list[tuple[float, int]]]:
    """Seconds and decodes of each way, in turns."""
    encoders = encoders_of(manifest)
    times: dict[str, list[tuple[float, int]]] = {"plain loop": [], "evaluate": [], "evaluate again": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            ways = {
                "plain loop": lambda: apart(encoders, manifest),
                "evaluate": lambda place=Path(cache): together(encoders, manifest, place),
                "evaluate again": lambda place=Path(cache): together(encoders, manifest, place),
            }
            numbers = []
            for name, way in ways.items():
                seconds, decodes, found = counted(way)
                times[name].append((seconds, decodes))
                numbers.append(found)
        assert all(numbers[0].keys() == other.keys() for other in numbers[1:])
        assert all(abs(numbers[0][key] - other[key]) < 5 for other in numbers[1:] for key in other)
    return times


def main() -> None:
    """Measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="labelled manifest")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or render_to_screen(Path(folder) / "videos", clips=arguments.clips)
        manifest = open_manifest(data)
        times = measure(manifest, arguments.repeats)
    plain = statistics.median(seconds for seconds, _ in times["plain loop"])
    print(f"{len(manifest)} videos, {len(PROTOCOLS)} protocols, 2 encoders")
    print(f"{'way':<16} {'median s':>9} {'range s':>17} {'decodes per video':>18} {'faster':>8}")
    for name, taken in times.items():
        seconds = [second for second, _ in taken]
        median = statistics.median(seconds)
        print(
            f"{name:<16} {median:9.2f}   {min(seconds):6.2f} … {max(seconds):6.2f} {taken[0][1] / len(manifest):18.1f}"
            f" {plain / median:8.1f}"
        )
    if arguments.json:
        machine = {"torch": torch.__version__, "av": av.__version__, "system": platform.platform()}
        machine |= {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
        record = {"machine": machine, "videos": len(manifest), "protocols": PROTOCOLS, "times": times}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
