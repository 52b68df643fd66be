"""From what was found in single frames to the metrics of a task, and to one number for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.metrics import course, mean_iou, pck

Floats = npt.NDArray[np.float64]
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


class Metric(NamedTuple):
    """One metric of an arm in percent.

    Attributes:
        name: "J&F", "mIoU", "PCK@0.1" …
        value: over all sequences, as the set defines it.
        samples: [samples], where the value is their mean; else empty.
    """

    name: str
    value: float
    samples: Floats


def sample_names(task: str, names: Sequence[str], values: Sequence[Floats]) -> tuple[list[str], list[int]]:
    """Names of the samples, and the sequence of each: objects are samples of their own, else sequences are."""
    if task != "objects":
        return list(names), list(range(len(names)))
    counted = [(number, k) for number, table in enumerate(values) for k in range(table.shape[2])]
    return [f"{names[number]} {k + 1}" for number, k in counted], [number for number, _ in counted]


def metrics_of(task: str, values: Sequence[Floats]) -> list[Metric]:
    """All metrics of the judged frames of each sequence; the first one is a mean over samples, and compared."""
    kinds = {"objects": _objects, "classes": _classes, "joints": _joints}
    return kinds[task](values)


def _objects(values: Sequence[Floats]) -> list[Metric]:
    """Of J and F [frames, 2, objects] of each sequence: the mean over all objects of all sequences."""
    courses = np.array(
        [[course(table[:, side, k]) for side in (0, 1)] for table in values for k in range(table.shape[2])]
    )
    both = 100.0 * courses.transpose(2, 1, 0)  # mean, recall, decay x J, F x objects
    found = {"J&F": both[0].mean(0), "J": both[0, 0], "F": both[0, 1]}
    found |= {
        f"{side} {name}": both[row, k] for k, side in enumerate("JF") for row, name in ((1, "recall"), (2, "decay"))
    }
    return [Metric(name, float(samples.mean()), samples) for name, samples in found.items()]


def _classes(values: Sequence[Floats]) -> list[Metric]:
    """Of counts [frames, classes, classes]: one IoU per class over everything, and over each sequence."""
    counts = [table.sum(0).astype(np.int64) for table in values]
    single = np.array([mean_iou(count) for count in counts])
    return [
        Metric("mIoU by sequence", float(single.mean()), single),
        Metric("mIoU", mean_iou(np.sum(counts, 0)), np.empty(0)),
    ]


def _joints(values: Sequence[Floats]) -> list[Metric]:
    """Of distances [frames, joints]: PCK over all frames of all sequences, and over each sequence; unseen is wrong."""
    joined = np.concatenate(values)
    single = np.nan_to_num([pck(table, THRESHOLDS[0]) for table in values])
    pooled = [Metric(f"PCK@{a:g}", float(np.nan_to_num(pck(joined, a))), np.empty(0)) for a in THRESHOLDS]
    return [Metric("PCK@0.1 by sequence", float(single.mean()), single), *pooled]
