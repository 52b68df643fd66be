"""How well masks agree: region similarity J, contour accuracy F (DAVIS), and the mean IoU of classes (VIP)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.metrics.classification import confusion_matrix

Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

TOLERANCE = 0.008
"""Within which boundaries match, as a share of the diagonal (Perazzi et al., CVPR 2016)."""


class Agreement(NamedTuple):
    """J and F of N objects in T frames.

    Attributes:
        objects: [N], their ids.
        region: J in [0, 1], float64 [N, T].
        boundary: F in [0, 1], float64 [N, T].
    """

    objects: tuple[int, ...]
    region: Floats
    boundary: Floats


class Course(NamedTuple):
    """A measure of one object over time: its mean, the share of frames above 0.5, and how much it falls."""

    mean: float
    recall: float
    decay: float


def region_similarity(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> Floats:
    """J, the intersection over union of masks [..., H, W], in [0, 1]; 1 where both are empty."""
    own, other = np.asarray(predicted, bool), np.asarray(truth, bool)
    common = np.asarray((own & other).sum((-2, -1)), np.float64)
    union = np.asarray((own | other).sum((-2, -1)), np.float64)
    return np.asarray(np.divide(common, union, out=np.ones_like(union), where=union > 0))


def boundary_map(mask: npt.ArrayLike) -> Bools:
    """The pixels [H, W] that differ from their right, lower or lower right neighbour.

    In the last row the right neighbour alone counts, in the last column the lower one; the last pixel is never one.
    """
    inside = np.asarray(mask, bool)
    found = np.zeros(inside.shape, bool)
    found[:, :-1] |= inside[:, :-1] != inside[:, 1:]
    found[:-1] |= inside[:-1] != inside[1:]
    found[:-1, :-1] |= inside[:-1, :-1] != inside[1:, 1:]
    return found


def boundary_radius(height: int, width: int, tolerance: float = TOLERANCE) -> int:
    """Pixels within which boundaries match: 8 at 480 x 854."""
    return math.ceil(tolerance * math.hypot(height, width))


def boundary_accuracy(predicted: npt.ArrayLike, truth: npt.ArrayLike, *, radius: int | None = None) -> float:
    """F, the harmonic mean of precision and recall of the boundary pixels of masks [H, W], in [0, 1].

    A boundary pixel is matched where the other boundary comes within a disc of `radius` pixels around it (default:
    `boundary_radius`). Two masks without boundaries: 1; one without: 0.
    """
    own, other = boundary_map(predicted), boundary_map(truth)
    reach = boundary_radius(*own.shape) if radius is None else radius
    counts = int(own.sum()), int(other.sum())
    if not all(counts):
        return float(not any(counts))
    precision = int((own & _dilated(other, reach)).sum()) / counts[0]
    recall = int((other & _dilated(own, reach)).sum()) / counts[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def frame_agreement(predicted: Ids, truth: Ids, objects: Sequence[int]) -> tuple[list[float], list[float]]:
    """J and F of every object in one frame of ids [H, W]; an id that a side lacks is an empty mask there."""
    pairs = [(predicted == number, truth == number) for number in objects]
    return [float(region_similarity(*pair)) for pair in pairs], [boundary_accuracy(*pair) for pair in pairs]


def agreement(predicted: Ids, truth: Ids) -> Agreement:
    """J and F of a sequence of ids [T, H, W] (0 is the background), without its first and its last frame.

    The objects are those of the first true frame. An object that is never predicted has empty masks.

    Raises:
        ValueError: shapes differ, fewer than three frames, or an id that is predicted and higher than any true one.
    """
    if predicted.shape != truth.shape or len(truth) < 3:
        raise ValueError(f"ids of the same shape [T, H, W], T >= 3, are needed: got {predicted.shape}, {truth.shape}")
    objects = object_ids(truth[0])
    if predicted.max() > max(objects, default=0):
        raise ValueError(f"object {predicted.max()} was predicted, but there are only {', '.join(map(str, objects))}")
    frames = [frame_agreement(*pair, objects) for pair in zip(predicted[1:-1], truth[1:-1], strict=True)]
    table = np.array(frames, np.float64).reshape(len(frames), 2, len(objects))
    return Agreement(objects, table[:, 0].T, table[:, 1].T)


def object_ids(ids: Ids) -> tuple[int, ...]:
    """The objects of a frame: its ids above 0."""
    return tuple(int(number) for number in np.unique(ids) if number > 0)


def course(values: npt.ArrayLike) -> Course:
    """Mean, recall and decay of J or F over frames [T].

    Decay is the mean of the first quarter minus that of the last; quarters end at linspace(1, T, 5), halves rounded
    upwards, and both have their end frames, so that neighbours share one.
    """
    series = np.asarray(values, np.float64)
    edges = np.floor(np.linspace(1, len(series), 5) + 0.5).astype(int) - 1
    first, last = series[edges[0] : edges[1] + 1], series[edges[3] : edges[4] + 1]
    return Course(float(series.mean()), float((series > 0.5).mean()), float(first.mean() - last.mean()))


def class_confusion(pairs: Iterable[tuple[Ids, Ids]], *, classes: int) -> npt.NDArray[np.int64]:
    """Counts [classes, classes] of pixels over (predicted, true) frames: row = true class, column = predicted class.

    Raises:
        ValueError: an id outside 0 … classes - 1.
    """
    total = np.zeros((classes, classes), np.int64)
    for predicted, truth in pairs:
        if min(predicted.min(), truth.min()) < 0 or max(predicted.max(), truth.max()) >= classes:
            raise ValueError(f"ids 0 to {classes - 1} are needed, got {predicted.max()} predicted, {truth.max()} true")
        total += confusion_matrix(predicted.ravel(), truth.ravel(), classes=classes)
    return total


def mean_iou(confusion: npt.NDArray[np.int64]) -> float:
    """Mean over classes of intersection over union in percent; classes that nobody has are left out."""
    common = np.diagonal(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - common
    return float(100.0 * (common[union > 0] / union[union > 0]).mean())


def _dilated(mask: Bools, radius: int) -> Bools:
    """The pixels within a disc around any of the mask's: painted around each, since boundaries have few."""
    padded = np.zeros((mask.shape[0] + 2 * radius, mask.shape[1] + 2 * radius), bool)
    rows, columns = mask.nonzero()
    places = (rows + radius) * padded.shape[1] + columns + radius
    flat = padded.reshape(-1)
    for down, right in _disc(radius):
        flat[places + (down * padded.shape[1] + right)] = True
    return padded[radius : radius + mask.shape[0], radius : radius + mask.shape[1]]


@lru_cache(16)
def _disc(radius: int) -> tuple[tuple[int, int], ...]:
    reach = range(-radius, radius + 1)
    return tuple((down, right) for down in reach for right in reach if down**2 + right**2 <= radius**2)
