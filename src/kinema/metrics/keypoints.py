"""Joints of a person: maps on a grid, where a map says a joint is, and the share of joints that are right (PCK)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.floating]

PERSON = 0.6
"""The length that distances are measured by, as a share of the diagonal of the box around the joints."""


def joint_maps(joints: Array, grid: tuple[int, int], *, sigma: float = 0.5) -> npt.NDArray[np.float32]:
    """Joints [J, 2] (x, y in cells of the grid) as float32 maps [1 + J, height, width], the background first.

    A joint is a truncated Gaussian of peak 1, centred on a whole cell: with p the coordinate along an axis, the cells
    from s = trunc(p - 3 sigma) up to, but without, trunc(p + 3 sigma + 1) have exp(-d^2 / (2 sigma^2)) at distance d
    from the cell s + int(6 sigma + 1) // 2 (CropMAE's evaluation, after stacked hourglass networks). Since truncation
    goes towards zero, joints with p < 3 sigma are drawn a cell too far right or down. The background is 1 where no
    joint is drawn. A joint that is not a number, or lies too far outside, has an empty map.
    """
    maps = np.zeros((1 + len(joints), *grid), np.float32)
    for drawn, (x, y) in zip(maps[1:], joints, strict=True):
        if np.isfinite((x, y)).all():
            drawn[:] = np.outer(_bump(float(y), grid[0], sigma), _bump(float(x), grid[1], sigma))
    maps[0] = (maps[1:] == 0).all(0)
    return maps


def read_joints(maps: Array, *, best: int = 5) -> Floats:
    """Where maps [J, height, width] say their joints are: x, y in cells [J, 2], (-1, -1) for a map that sums to 0.

    The mean of the `best` cells with the highest values, weighted by these; of equal cells the first counts.
    """
    height, width = maps.shape[1:]
    flat = np.asarray(maps, np.float64).reshape(len(maps), height * width)
    cells = np.argsort(-flat, axis=1, kind="stable")[:, :best]
    weights = np.take_along_axis(flat, cells, 1)
    total = weights.sum(1, keepdims=True)
    share = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    places = np.stack([(share * (cells % width)).sum(1), (share * (cells // width)).sum(1)], 1)
    places[flat.sum(1) == 0] = -1.0
    return np.asarray(places)


def joint_errors(predicted: Array, truth: Array) -> Floats:
    """Distances [T, J] of predicted joints [T, J, 2] from true ones, over 0.6 of the person's size in the frame.

    Both are (x, y) in pixels from 0. A joint is visible where its predicted x is not negative: the others are not a
    number here and count nowhere. The person's size is the diagonal of the box around the true places of the visible
    joints. A joint alone in its frame has an infinite distance unless it is exact.
    """
    visible = np.asarray(predicted[..., 0] >= 0)
    found = np.full(visible.shape, np.nan)
    for frame in np.flatnonzero(visible.any(1)):
        seen = visible[frame]
        places = np.asarray(truth[frame, seen], np.float64)
        size = PERSON * float(np.linalg.norm(places.max(0) - places.min(0)))
        away = np.linalg.norm(np.asarray(predicted[frame, seen], np.float64) - places, axis=1)
        found[frame, seen] = np.divide(away, size, out=np.where(away > 0, np.inf, 0.0), where=size > 0)
    return found


def pck(errors: Floats, threshold: float) -> float:
    """Percent of errors [T, J] up to `threshold`: the mean over joints of each joint's share of its visible frames.

    A joint that is visible nowhere is left out; not a number where all are.
    """
    counts = (~np.isnan(errors)).sum(0)
    right = (errors <= threshold).sum(0)
    return float(100.0 * (right[counts > 0] / counts[counts > 0]).mean()) if counts.any() else float("nan")


def _bump(place: float, cells: int, sigma: float) -> Floats:
    """One axis of `joint_maps`."""
    start, stop = int(place - 3 * sigma), int(place + 3 * sigma + 1)
    distance = np.arange(cells) - (start + int(6 * sigma + 1) // 2)
    inside = (np.arange(cells) >= start) & (np.arange(cells) < stop)
    return np.where(inside, np.exp(-(distance**2) / (2 * sigma**2)), 0.0)
