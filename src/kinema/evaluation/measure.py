"""Runs a protocol over the folds of a split, and turns its scores into metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.evaluation.extract import FeatureTable
from kinema.evaluation.retrieving import HIT_K
from kinema.evaluation.splits import Fold, Split
from kinema.evaluation.tasks import Part, Protocol, Scores, Task
from kinema.metrics import paired_bootstrap, ranks_of, wilson_interval
from kinema.randomness import key_entropy

Array = npt.NDArray[np.generic]
FloatArray = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """Scores of all tested videos, ordered by row, and what was chosen in each fold."""

    scores: Scores
    choices: tuple[dict[str, Any], ...]


class Metric(NamedTuple):
    """One metric at one level: `hits` [test videos] in percent, so that its mean is the value."""

    name: str
    level: str
    hits: FloatArray


def run_protocol(protocol: Protocol, table: FeatureTable, split: Split, seed: int, *, device: str = "cpu") -> Measured:
    """Scores of a protocol on the features of all rows of `split`, in their order."""
    parts = [protocol.run(_task(protocol, table, split, fold, seed)._replace(device=device)) for fold in split.folds]
    order = np.argsort(split.test, kind="stable")
    video, clip = ([getattr(part, level) for part in parts] for level in ("video", "clip"))
    if table.joined:  # one average per video stands for its clips
        clip = [{} for _ in parts]
    scores = Scores(_joined(video, order), _joined(clip, order), {})
    return Measured(scores, tuple(part.card for part in parts))


def metrics(scores: Scores, labels: npt.NDArray[np.int64], *, retrieves: bool, gallery: int = 0) -> list[Metric]:
    """All metrics of the scores; the headline comes first: video level where there is one, else clip level.

    Args:
        scores: of videos with these labels.
        labels: int64 [N].
        retrieves: the scores are ranks.
        gallery: size of the smallest gallery; R@k is left out where k reaches it.
    """
    found = []
    for level, families in (("video", scores.video), ("clip", scores.clip)):
        for family, values in families.items():
            table = np.asarray(values)
            ranks = table if retrieves else _class_ranks(table, labels)
            for name, k in _cuts(retrieves, gallery, 0 if retrieves else table.shape[-1]):
                if not family or name == "top1":
                    hits = 100.0 * (ranks <= k).reshape(len(labels), -1).mean(1)
                    found.append(Metric(f"{name} {family}".strip(), level, hits))
    return found


def group_means(hits: FloatArray, member: npt.NDArray[np.int64]) -> FloatArray:
    """Mean of the hits of each group; `member` numbers the groups from 0."""
    return np.asarray(np.bincount(member, weights=hits) / np.bincount(member))


def interval(hits: FloatArray, member: npt.NDArray[np.int64]) -> tuple[float, float]:
    """95 % interval of the mean of `hits`: bootstrap over groups, or Wilson where every sample is its own group."""
    counts = np.bincount(member)
    if len(counts) == len(hits) and np.isin(hits, (0.0, 100.0)).all():
        found = wilson_interval(round(hits.sum() / 100), len(hits))
        return 100 * found.low, 100 * found.high
    drawn = paired_bootstrap(group_means(hits, member), weights=counts, draws=2000)
    return drawn.low, drawn.high


def _task(protocol: Protocol, table: FeatureTable, split: Split, fold: Fold, seed: int) -> Task:
    def part(rows: npt.NDArray[np.int64]) -> Part:
        taps = {name: _float32(table.taps[name], rows) for name in protocol.taps}
        features = _float32(table.feature(protocol.tap), rows)
        return Part(features, split.labels[rows], tuple(split.groups[i] for i in rows), taps)

    # The fold's name is part of the key: else the same place in the list would be held out in every fold.
    key = key_entropy("fold", seed, fold.name) % 2**31
    return Task(part(fold.train), part(fold.test), part(fold.validation), len(split.classes), key)


def _float32(features: Array, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return np.asarray(features[rows], np.float32)


def _joined(parts: Sequence[dict[str, Array]], order: npt.NDArray[np.int64]) -> dict[str, Array]:
    """The families that every fold has."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts])[order] for name in names}


def _class_ranks(scores: Array, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    views = scores.shape[1] if scores.ndim == 3 else 1
    return ranks_of(scores.reshape(-1, scores.shape[-1]), labels.repeat(views)).reshape(scores.shape[:-1])


def _cuts(retrieves: bool, gallery: int, classes: int) -> Iterator[tuple[str, int]]:
    if retrieves:
        yield from ((f"R@{k}", k) for k in HIT_K if k == 1 or k < gallery)
    else:
        yield from ((f"top{k}", k) for k in (1, 5) if k == 1 or k < classes)
