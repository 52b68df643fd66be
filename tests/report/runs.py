"""A run folder as training and evaluation leave it, made up but with the proportions of a real one."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.evaluation.rows import Comparison, ResultRow, Results
from kinema.report.clips import encode_clip

CLASSES = ("hand_shaking", "hugging", "kicking", "pointing", "punching", "pushing")
STEPS = 600
RECIPE = """method: sts
options:
  backbone: r3d
  width: 16
  size: 64
epochs: 20
batch: 30
optimiser:
  name: sgd
  lr: 0.0005
  weight_decay: 0.005
schedule:
  name: step
  every: 6.0
seed: 0
"""


def moving_square(frames: int = 12, height: int = 48, width: int = 64, *, seed: int = 0) -> np.ndarray:
    """uint8 RGB [T, H, W, 3]: a square that moves over noise, so that no two frames are equal."""
    rng = np.random.default_rng(seed)
    clip = np.repeat(rng.integers(0, 90, (1, height, width, 3), np.uint8), frames, 0)
    colour = rng.integers(120, 255, 3)
    for t in range(frames):
        left = (3 * t + 5 * seed) % (width - 14)
        clip[t, 14:28, left : left + 14] = colour
    return clip


def write_video(path: Path, frames: np.ndarray, rate: int = 25) -> None:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_lines(path: Path, events: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def step_event(step: int) -> dict[str, object]:
    noise = 0.06 * math.sin(12.9898 * step) + 0.04 * math.sin(78.233 * step)
    motion = 1.1 + 1.4 * math.exp(-step / 180) + noise
    appearance = 2.0 + 0.6 * math.exp(-step / 120) - noise
    return {
        "event": "step",
        "step": step,
        "epoch": step // 30,
        "loss": motion + 0.1 * appearance,
        "parts": {"motion": motion, "appearance": appearance},
        "lr": 5e-4 * 0.1 ** (step // 180),
        "grad_norm": 2 + 30 * math.exp(-step / 40) + 4 * abs(noise),
        "clips_per_second": 82 + 60 * noise,
        "wait_share": 0.08 + abs(noise),
        "seconds": 0.37 * (step + 1),
    }


def health_event(step: int) -> dict[str, object]:
    return {
        "event": "health",
        "step": step,
        "feature_std": 0.2 + 0.3 * (1 - math.exp(-step / 200)),
        "effective_rank": 12 + 30 * (1 - math.exp(-step / 150)),
        "dimension": 128,
        "knn": 20 + 22 * (1 - math.exp(-step / 250)),
        "verdict": "The features are spread out and use many dimensions (spread 0.49 of 1, effective rank 41 of 128).",
        "level": "good",
    }


def write_metrics(folder: Path, steps: int = STEPS) -> None:
    events: list[dict[str, object]] = [
        {
            "event": "start",
            "method": "sts",
            "samples": 1043,
            "videos": 218,
            "steps": STEPS,
            "epochs": 20,
            "batch": 30,
            "parameters": 902_043,
        }
    ]
    for step in range(steps):
        events.append(step_event(step))
        if (step + 1) % 60 == 0:
            events.append(health_event(step + 1))
            events.append({"event": "validation", "step": step + 1, "loss": 1.5 + math.exp(-step / 150), "parts": {}})
    if steps == STEPS:
        events.append({"event": "end", "step": steps, "steps": steps, "seconds": 0.37 * steps})
    write_lines(folder / "metrics.jsonl", events)


def write_pictures(folder: Path, count: int = 3) -> None:
    (folder / "pictures").mkdir()
    listed = []
    for number in range(count):
        name = f"{number:02d}.webp"
        (folder / "pictures" / name).write_bytes(encode_clip(moving_square(seed=number), rate=12).data)
        caption = "Where is the largest motion, and which way does it point? Block 7 of 16; to the left."
        listed.append({"title": f"Sample {number + 1}", "caption": caption, "file": name, "kind": "clip"})
    (folder / "pictures.json").write_text(json.dumps(listed))


def make_results(
    ids: Sequence[str], labels: Sequence[int], features: np.ndarray, root: Path, classes: Sequence[str] = CLASSES
) -> Results:
    """Rows, comparisons and predictions in the manner of a small set: better than untrained, worse than pixels."""
    means = {"trained": 41.2, "untrained": 20.4, "untrained-calibrated": 24.1, "scratch": 38.3}
    means |= {"pixels-mean-frame": 44.0, "pixels-mean-difference": 63.1}
    groups = [f"set {k // 10 + 1}/{k % 10 + 1}" for k in range(20)]
    rows, comparisons = [], []
    for protocol, metric, shift in (("knn", "top1", 0.0), ("linear", "top1", 6.4), ("retrieval:vcop", "R@1", -2.0)):
        for arm, mean in means.items():
            for seed in (0, 1) if arm == "trained" else (0,):
                spread = {g: mean + shift + 19 * math.sin(7 * k + len(arm) + seed) for k, g in enumerate(groups)}
                rows.append(make_row(arm, protocol, metric, mean + shift + seed, seed=seed, per_group=spread))
                rows.append(make_row(arm, protocol, metric, mean + shift - 6, seed=seed, level="clip"))
        comparisons += [
            compare(against, means["trained"] - means[against], protocol=protocol, metric=metric)
            for against in ("untrained", "untrained-calibrated", "pixels-mean-frame", "pixels-mean-difference")
        ]
    rng = np.random.default_rng(0)
    scores = rng.random((len(ids), len(CLASSES)), np.float32)
    scores[np.arange(len(ids)), list(labels)] += 0.45
    predictions = {
        "ids": np.array(ids),
        "labels": np.array(labels, np.int64),
        "classes": np.array(classes),
        "groups": np.array([f"group {k}" for k in range(len(ids))]),
        "features": features.astype(np.float32),
        "trained/knn/0": scores,
    }
    info = {"root": str(root), "kinema": "0.1.0"}
    return Results(tuple(rows), tuple(comparisons), info, predictions)


def make_row(arm: str, protocol: str, metric: str, value: float, **changes: object) -> ResultRow:
    fields: dict[str, object] = {
        "level": "video",
        "n_train": 114,
        "n_test": 120,
        "split": "leave-one-sequence-out",
        "seed": 0,
        "exposure": "transductive" if arm == "trained" else "none",
        "card": {"views": "uniform10", "aggregation": "mean of features", "k": 20, "temperature": 0.07},
    }
    return ResultRow(arm, protocol, metric, value=value, **(fields | changes))


def compare(against: str, difference: float, *, half: float = 8.5, **changes: object) -> Comparison:
    low, high = difference - half, difference + half
    verdict = "beats" if low > 0 else "loses" if high < 0 else "not distinguishable"
    fields: dict[str, object] = {
        "protocol": "knn",
        "metric": "top1",
        "p_value": 0.0004,
        "groups": 20,
        "verdict": verdict,
    }
    return Comparison("trained", against, difference=difference, low=low, high=high, **fields | changes)


def write_run(folder: Path) -> Path:
    """A finished run without evaluation."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    write_metrics(folder)
    write_pictures(folder)
    checkpoint = folder / "checkpoints" / "step-00000600"
    checkpoint.mkdir(parents=True)
    versions = {"kinema": "0.1.0", "python": "3.11.9", "torch": "2.13.0"}
    (checkpoint / "state.json").write_text(json.dumps({"step": 600, "epoch": 19, "versions": versions}))
    lost = {"event": "quarantine", "step": 3, "path": "clips/seq9.avi", "reason": "ends in the middle of a frame"}
    write_lines(folder / "quarantine.jsonl", [lost])
    return folder


def write_evaluation(
    folder: Path, *, videos: int = 12, classes: Sequence[str] = CLASSES, folders: Sequence[str] = CLASSES
) -> None:
    """Six classes, two tiny videos each; features of one class are near each other."""
    rng = np.random.default_rng(1)
    labels = [k % len(CLASSES) for k in range(videos)]
    rows = [{"path": f"{folders[label]}/{k:02d}.mp4", "label": classes[label]} for k, label in enumerate(labels)]
    root = folder.parent / "videos"
    for k, row in enumerate(rows):
        write_video(root / row["path"], moving_square(seed=k))
    features = rng.normal(size=(len(CLASSES), 16))[labels] + 0.6 * rng.normal(size=(videos, 16))
    make_results([row["path"] for row in rows], labels, features, root, classes).write(folder / "evaluation" / "clips")
