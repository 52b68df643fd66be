"""Claim: the 27 statistics labels of a clip cost a few milliseconds on one core, far less than region by region.

Run `python benchmarks/statistics_labels.py [--videos FOLDER] [--clips 24] [--repeats 5] [--json OUT]` (two minutes).
One thread, clips of 16 frames at 112 x 112: the centre crop of 16 consecutive frames of each video scaled to 128 x 171,
or synthetic clips (textured squares over a panning background) without `--videos`.

Measured in milliseconds of processor time per clip (one core; other work on the machine counts little), all kinds in
turns, median and inter-quartile range over clips and rounds:
* labels: `motion_labels` and `appearance_labels` on batches of one clip, flow given;
* the same labels by two peers that loop over regions, frames and channels: in NumPy (`np.bincount` under masks made
  beforehand), and in OpenCV at its best (`cv2.calcHist`, `cv2.filter2D`, `cv2.cartToPolar`), both within the bounding
  box of a region; the share of labels on which a peer agrees is printed, so that nobody is fast by being wrong;
* flow and labels together with each DIS preset, as clips per second: flow on the 112 x 112 crop, and on the whole
  128 x 171 frame that a method crops afterwards.
Last: how often the motion labels of the cheaper presets agree with those of dis-medium, and how often labels of
dis-half flow on the whole frame stay what they are when the flow is rounded to half precision or to the 8-bit coding.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from kinema.targets.statistics import appearance_labels, motion_labels, partition
from kinema.video import compute_flow, decode_flow, encode_flow, probe, read_frames

FRAMES, HEIGHT, WIDTH, SIZE = 16, 128, 171, 112
PRESETS = ("dis-medium", "dis-half", "dis-fast", "dis-ultrafast")
MASKS = [partition(pattern, SIZE).numpy() for pattern in (1, 2, 3)]
PREWITT = np.array([[1, 0, -1]] * 3, np.float32)  # OpenCV correlates; the labels are defined by a convolution


class Region(NamedTuple):
    """Bounding box of a region, and its mask within; None where it fills the box."""

    box: tuple[slice, slice]
    mask: np.ndarray | None


def region(mask: np.ndarray) -> Region:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Region(box, None if mask[box].all() else np.ascontiguousarray(mask[box]).view(np.uint8))


REGIONS = [[region(mask) for mask in masks] for masks in MASKS]


def real_clips(folder: Path, wanted: int) -> Iterator[np.ndarray]:
    """uint8 [T, 128, 171, 3] from the middle of evenly chosen videos in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".avi", ".mp4", ".mkv", ".webm"})
    for path in files[:: max(1, len(files) // wanted)][:wanted]:
        info = probe(path)
        if info.frames >= FRAMES:
            yield read_frames(info, info.frames // 2 - FRAMES // 2 + np.arange(FRAMES), (HEIGHT, WIDTH))


def synthetic_clips(wanted: int) -> Iterator[np.ndarray]:
    """uint8 [T, 128, 171, 3]: a textured square that moves over a slowly panning background."""
    for seed in range(wanted):
        random = np.random.default_rng(seed)
        background, patch = (
            cv2.GaussianBlur(random.integers(0, 256, (256, 256, 3), np.uint8), (0, 0), 2) for _ in "ab"
        )
        x, y, dx, dy = random.uniform((20, 20, -4, -4), (110, 80, 4, 4))
        clip = np.stack([background[t : t + HEIGHT, 2 * t : 2 * t + WIDTH] for t in range(FRAMES)])
        for t, frame in enumerate(clip):
            left, top = int(np.clip(x + dx * t, 0, WIDTH - 41)), int(np.clip(y + dy * t, 0, HEIGHT - 41))
            frame[top : top + 40, left : left + 40] = patch[:40, :40]
        yield cv2.convertScaleAbs(clip.reshape(-1, WIDTH, 3), alpha=2, beta=-128).reshape(clip.shape)


def crop(frames: np.ndarray) -> np.ndarray:
    top, left = (HEIGHT - SIZE) // 2, (WIDTH - SIZE) // 2
    return np.ascontiguousarray(frames[:, top : top + SIZE, left : left + SIZE])


def planar(frames: np.ndarray) -> np.ndarray:
    """[T, S, S, C] to [C, T, S, S], contiguous, for pictures and flow."""
    return np.ascontiguousarray(frames.transpose(3, 0, 1, 2))


def ours(clip: np.ndarray, flow: np.ndarray) -> list[int]:
    """The labels of one clip: uint8 [3, T, S, S] and float32 [2, T - 1, S, S]."""
    motion = motion_labels(torch.from_numpy(flow)[None]).labels[0]
    return [*motion.tolist(), *appearance_labels(torch.from_numpy(clip)[None])[0].tolist()]


def loop_numpy(clip: np.ndarray, flow: np.ndarray) -> list[int]:
    def derivative(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = np.pad(w, 1, mode="edge")
        x, rows = p[:, :-2] - p[:, 2:], p[:, :-2] + p[:, 1:-1] + p[:, 2:]
        return x[:-2] + x[1:-1] + x[2:], rows[:-2] - rows[2:]

    def polar(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.hypot(x, y), np.degrees(np.arctan2(y, x)) % 360

    def histogram(plane: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        return np.bincount(plane.ravel() if mask is None else plane[mask.view(bool)], minlength=256)

    return _by_loops(clip, flow, derivative, polar, histogram)


def loop_opencv(clip: np.ndarray, flow: np.ndarray) -> list[int]:
    def derivative(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(cv2.filter2D(w, cv2.CV_32F, k, borderType=cv2.BORDER_REPLICATE) for k in (PREWITT, PREWITT.T))

    def polar(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return cv2.cartToPolar(x, y, angleInDegrees=True)

    def histogram(plane: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        return cv2.calcHist([plane], [0], mask, [256], [0, 256]).ravel()

    return _by_loops(clip, flow, derivative, polar, histogram)


def _by_loops(
    clip: np.ndarray, flow: np.ndarray, derivative: Callable, polar: Callable, histogram: Callable
) -> list[int]:
    """The labels region by region, with the three operations that the peers do differently."""
    local, moments = np.zeros((3, 2, 2), int), []
    for w in (0, 1):
        parts = [derivative(field) for field in flow[w]]
        moments.append(int(np.argmax([polar(x, y)[0].sum() for x, y in parts])) + 1)
        magnitude, angle = polar(sum(x for x, _ in parts), sum(y for _, y in parts))
        for pattern, regions in enumerate(MASKS):
            place = int(np.argmax([magnitude[mask].mean() for mask in regions]))
            bins, weights = angle[regions[place]] / 45, magnitude[regions[place]]
            low = np.floor(bins).astype(int)
            soft = np.bincount(low % 8, weights * (1 - bins + low), 8)
            soft += np.bincount((low + 1) % 8, weights * (bins - low), 8)
            local[pattern, w] = place + 1, int(soft.argmax()) + 1
    red, green, blue = clip >> 7
    octant = ((blue ^ 1) << 2) | (red << 1) | green
    colours = []
    for regions in REGIONS:
        overlap = [np.mean([_iou(channel, place, histogram) for channel in clip]) for place in regions]
        for place in (int(np.argmin(overlap)), int(np.argmax(overlap))):
            box, mask = regions[place]
            votes = sum(histogram(plane[box], mask)[:8] for plane in octant)
            colours += [place + 1, int(votes.argmax()) + 1]
    return [*local.ravel().tolist(), *moments, *colours, int(np.bincount(octant.ravel(), minlength=8).argmax()) + 1]


def _iou(channel: np.ndarray, place: Region, histogram: Callable) -> float:
    counts = np.stack([histogram(plane[place.box], place.mask) for plane in channel])
    return counts.min(0).sum() / counts.max(0).sum()


def flow_and_labels(preset: str, *, whole: bool) -> Callable[[np.ndarray], list[int]]:
    """From the frames of a clip, [T, 128, 171, 3], to its labels, flow on the whole frames or on the crop."""

    def run(frames: np.ndarray) -> list[int]:
        cropped = crop(frames)
        flow = crop(compute_flow(frames, preset)) if whole else compute_flow(cropped, preset)
        return ours(planar(cropped), planar(flow))

    return run


def measure(clips: list[np.ndarray], repeats: int) -> tuple[dict[str, list[float]], dict[str, list[list[int]]]]:
    """Milliseconds and labels of every kind, clip by clip in turns; the first round is not timed."""
    inputs = [(planar(crop(clip)), planar(compute_flow(crop(clip), "dis-medium"))) for clip in clips]
    kinds: dict[str, Callable[[int], list[int]]] = {
        "labels": lambda i: ours(*inputs[i]),
        "labels, NumPy loops": lambda i: loop_numpy(*inputs[i]),
        "labels, OpenCV loops": lambda i: loop_opencv(*inputs[i]),
    }
    for whole in (False, True):
        for preset in PRESETS:
            run = flow_and_labels(preset, whole=whole)
            kinds[f"{preset} on {'128 x 171' if whole else '112 x 112'}, labels"] = lambda i, run=run: run(clips[i])
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    labels: dict[str, list[list[int]]] = {kind: [] for kind in kinds}
    for turn in range(repeats + 1):
        for i in range(len(clips)):
            for kind, run in kinds.items():
                start = time.process_time()
                found = run(i)
                taken = (time.process_time() - start) * 1000
                (times[kind] if turn else labels[kind]).append(taken if turn else found)
    return times, labels


def rounding(clips: list[np.ndarray]) -> dict[str, list[list[int]]]:
    """Motion labels of one flow at three precisions, clip by clip."""
    labels: dict[str, list[list[int]]] = {"single precision": [], "half precision": [], "8-bit coding": []}
    for clip in clips:
        flow = compute_flow(clip, "dis-half")
        forms = flow, flow.astype(np.float16).astype(np.float32), decode_flow(encode_flow(flow))
        for kind, form in zip(labels, forms, strict=True):
            labels[kind].append(motion_labels(torch.from_numpy(planar(crop(form)))[None]).labels[0].tolist())
    return labels


def agreement(labels: dict[str, list[list[int]]]) -> dict[str, dict[str, float]]:
    """Percent of equal labels: peers against ours, cheaper presets against dis-medium; by kind of label."""
    columns = {"places": [0, 2, 4, 6, 8, 10], "directions": [1, 3, 5, 7, 9, 11], "moments": [12, 13]}
    columns |= {"appearance": list(range(14, 27)), "all motion": list(range(14))}
    pairs = dict.fromkeys(("labels, NumPy loops", "labels, OpenCV loops"), "labels")
    for place in ("112 x 112", "128 x 171"):
        pairs |= {f"{preset} on {place}, labels": f"dis-medium on {place}, labels" for preset in PRESETS[1:]}
    pairs |= dict.fromkeys(("half precision", "8-bit coding"), "single precision")
    found = {}
    for kind, against in pairs.items():
        same = np.array(labels[kind]) == np.array(labels[against])
        there = {name: i for name, i in columns.items() if max(i) < same.shape[1]}
        found[f"{kind}, against {against}"] = {name: 100 * float(same[:, i].mean()) for name, i in there.items()}
    return found


def main() -> None:
    """Measure, print the tables, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos; without it, synthetic clips")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    source = real_clips(arguments.videos, arguments.clips) if arguments.videos else synthetic_clips(arguments.clips)
    clips = list(source)
    times, labels = measure(clips, arguments.repeats)
    reference = statistics.median(times["labels"])
    print(f"{len(labels['labels'])} {'real' if arguments.videos else 'synthetic'} clips, {arguments.repeats} rounds")
    print(f"{'':<36} {'ms/clip':>8} {'IQR':>16} {'clips/s':>8} {'times ours':>11}")
    for kind, taken in times.items():
        low, median, high = statistics.quantiles(taken, n=4)
        ratio = f"{median / reference:10.1f}x" if "loops" in kind else ""
        print(f"{kind:<36} {median:8.2f} {low:7.2f} …{high:7.2f} {1000 / median:8.0f} {ratio:>11}")
    same = agreement(labels | rounding(clips))
    for pair, shares in same.items():
        print(f"{pair}: " + ", ".join(f"{name} {share:.1f} %" for name, share in shares.items()))
    if arguments.json:
        machine = {"torch": torch.__version__, "opencv": cv2.__version__, "numpy": np.__version__}
        machine |= {"system": platform.platform(), "cores": os.cpu_count(), "threads": 1}
        record = {"machine": machine, "clips": len(labels["labels"]), "milliseconds": times, "agreement": same}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
