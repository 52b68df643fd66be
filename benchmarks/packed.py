"""Claim: packed raw frames are read at least 50 times faster than from mp4, at over 1,000 clips per second and core.

Run `python benchmarks/packed.py [--videos FOLDER] [--count 12] [--clips 16] [--rounds 15] [--json OUT]` (minutes; one
core). The frames of up to `--count` videos in FOLDER, or of rendered ones (a textured square over a panning ground, 300
frames of 240 x 320), are written as H.264 with a keyframe every 250 and every 12 frames, scanned, and packed at
128 x 171 as raw and as intra-coded frames; flow (dis-half) is stored as raw and deflated fields.

Measured are batches of random 16-frame clips at 128 x 171 as a loader's worker makes them (plan read, samples joined
to one batch), in one thread, in processor time, so that other work on the machine counts little. The kinds take turns
in every round, all on the same clips; the first round warms the file cache and is not counted. Printed: clips per
second and core, median and inter-quartile range over rounds, and the ratio of medians to the slower mp4. Then the same
for flow: computed while reading against stored. Last: bytes and processor seconds per stored frame, for estimates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from kinema.data.manifest import Manifest
from kinema.data.packed import Job, Settings, claim, finish, plan_store, write_files
from kinema.data.reading import execute
from kinema.data.sample import Flow, Frames, Sample, collate
from kinema.data.scan import VIDEO_SUFFIXES, scan
from kinema.errors import VideoError
from kinema.video import probe, read_frames

FRAMES, SIZE, LONGEST = 16, (128, 171), 300
GOPS = (250, 12)
PRESET = "dis-half"


def real_videos(folder: Path, count: int) -> Iterator[np.ndarray]:
    """The frames of evenly chosen videos, at most 300 each."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    for path in paths[:: max(1, len(paths) // count)][:count]:
        try:
            info = probe(path)
            frames = read_frames(info, np.arange(min(info.frames, LONGEST)))
        except VideoError as error:
            print(f"left out: {error}")
            continue
        if len(frames) > FRAMES:
            yield frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]


def rendered_videos(count: int) -> Iterator[np.ndarray]:
    """A textured square that moves over a slowly panning ground."""
    for seed in range(count):
        random = np.random.default_rng(seed)
        noise = random.integers(0, 256, (2, 600, 960, 3), np.uint8)
        ground, patch = (cv2.convertScaleAbs(cv2.GaussianBlur(n, (0, 0), 3), alpha=4, beta=-380) for n in noise)
        path = np.cumsum(random.normal(0, 2, (LONGEST, 2)), 0)
        clip = np.stack([ground[t : t + 240, 2 * t : 2 * t + 320] for t in range(LONGEST)])
        for frame, (x, y) in zip(clip, path, strict=True):
            left, top = int(x) % 240, int(y) % 160
            frame[top : top + 80, left : left + 80] = patch[:80, :80]
        yield clip


def write_video(path: Path, frames: np.ndarray, gop: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": str(gop), "crf": "23"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def store(manifest: Manifest, folder: Path, settings: Settings) -> tuple[Manifest, dict[str, float]]:
    """A finished store, and what a picture of it cost."""
    plan, layout = plan_store(manifest, settings)
    job = Job(folder, manifest, *claim(folder, plan, layout))
    start = time.process_time()
    write_files(job)
    seconds = time.process_time() - start
    size = sum(file.stat().st_size for file in folder.iterdir())
    return finish(job).manifest, {"bytes": size / layout.pictures, "seconds": seconds / layout.pictures}


def make_sets(videos: Iterator[np.ndarray], folder: Path) -> tuple[dict[str, Manifest], dict[str, dict[str, float]]]:
    """Every kind of data set with the same frames, and the cost of the stored ones per picture."""
    for number, frames in enumerate(videos):
        for gop in GOPS:
            (folder / f"gop{gop}").mkdir(exist_ok=True)
            write_video(folder / f"gop{gop}" / f"{number:03d}.mp4", frames, gop)
    sets = {f"mp4, keyframe every {gop}": scan(folder / f"gop{gop}", workers=1).manifest for gop in GOPS}
    base, cost = sets[f"mp4, keyframe every {GOPS[0]}"], {}
    for kind, format in (("frames", "raw"), ("frames", "intra"), ("flow", "raw"), ("flow", "intra")):
        name = f"{'packed' if kind == 'frames' else 'flow,'} {format}"
        source = base if kind == "frames" else sets["packed raw"]
        settings = Settings(kind, format, SIZE, preset=PRESET if kind == "flow" else "")
        sets[name], cost[name] = store(source, folder / f"{kind}-{format}", settings)
    sets["flow, computed"] = sets["packed raw"]
    return sets, cost


def draw_clips(manifest: Manifest, count: int, random: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    rows = random.integers(0, len(manifest), count).tolist()
    starts = [int(random.integers(manifest.video(row).frames - FRAMES + 1)) for row in rows]
    return [(row, start + np.arange(FRAMES)) for row, start in zip(rows, starts, strict=True)]


def batch(manifest: Manifest, clips: list[tuple[int, np.ndarray]], *, flow: bool) -> None:
    """What a worker does for one batch."""
    extra = {"flow": Flow("video", PRESET)} if flow else {}
    samples = [Sample({"video": Frames(row, frames, SIZE), **extra}, {}) for row, frames in clips]
    collate([execute(sample, manifest) for sample in samples])


def measure(sets: dict[str, Manifest], clips: int, rounds: int) -> dict[str, list[float]]:
    """Clips per second of processor time, by kind, a value per round."""
    random = np.random.default_rng(0)
    work: dict[str, Callable] = {name: lambda c, name=name: batch(sets[name], c, flow="flow" in name) for name in sets}
    rates: dict[str, list[float]] = {name: [] for name in sets}
    for turn in range(rounds + 1):
        drawn = draw_clips(next(iter(sets.values())), clips, random)
        for name, run in work.items():
            start = time.process_time()
            run(drawn)
            if turn:
                rates[name].append(clips / (time.process_time() - start))
    return rates


def main() -> None:
    """Measure, print the tables, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos; without it, rendered ones")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--clips", type=int, default=16, help="of a batch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = (
            real_videos(arguments.videos, arguments.count) if arguments.videos else rendered_videos(arguments.count)
        )
        sets, cost = make_sets(source, Path(folder))
        rates = measure(sets, arguments.clips, arguments.rounds)
    print(
        f"batches of {arguments.clips} random clips, {FRAMES} frames of {SIZE[0]}x{SIZE[1]}; {arguments.rounds} rounds"
    )
    print(f"{'':<26} {'clips/s/core':>12} {'IQR':>17} {'ratio':>8}")
    for base, names in (
        ("mp4", [n for n in rates if "flow" not in n]),
        ("flow, computed", [n for n in rates if "flow" in n]),
    ):
        slowest = min(statistics.median(rates[name]) for name in names if name.startswith(base))
        for name in names:
            low, median, high = statistics.quantiles(rates[name], n=4)
            print(f"{name:<26} {median:12.1f} {low:8.1f} …{high:7.1f} {median / slowest:7.1f}x")
    for name, values in cost.items():
        print(f"{name:<26} {values['bytes']:9.0f} bytes and {values['seconds'] * 1e3:7.3f} ms per picture")
    if arguments.json:
        machine = {"torch": torch.__version__, "av": av.__version__, "opencv": cv2.__version__, "numpy": np.__version__}
        machine |= {"system": platform.platform(), "processor": platform.processor(), "cores": os.cpu_count()}
        record = {"machine": machine, "videos": str(arguments.videos), "clips_per_second": rates, "per_picture": cost}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
