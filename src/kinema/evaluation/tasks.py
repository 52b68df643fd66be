"""What a protocol is: features of training and test videos in, scores of the test videos out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


class Part(NamedTuple):
    """Videos of one side of a fold.

    Attributes:
        features: float32 [N, views, D], the pooled feature or the protocol's one tap.
        labels: int64 [N].
        groups: [N].
        taps: by name, the taps that the protocol asked for, float32 [N, views or 1, K].
    """

    features: npt.NDArray[np.float32]
    labels: IntArray
    groups: tuple[str, ...]
    taps: Mapping[str, npt.NDArray[np.float32]] = MappingProxyType({})

    @property
    def averaged(self) -> npt.NDArray[np.float32]:
        """[N, D], the mean over views."""
        return np.asarray(self.features.mean(1))

    def keep(self, kept: npt.NDArray[np.bool_]) -> Part:
        """The videos where `kept` [N] is true."""
        groups = tuple(group for group, is_kept in zip(self.groups, kept, strict=True) if is_kept)
        taps = {name: values[kept] for name, values in self.taps.items()}
        return Part(self.features[kept], self.labels[kept], groups, taps)


class Task(NamedTuple):
    """One fold: `validation` may be empty; `seed` keys what is drawn; similarities are computed on `device`."""

    train: Part
    test: Part
    validation: Part
    classes: int
    seed: int
    device: str = "cpu"


class Scores(NamedTuple):
    """What a protocol says of the test videos.

    Attributes:
        video: by metric family ("" is the headline): scores [N, classes] of a classifier, or int64 ranks [N].
        clip: the same for single views, [N, views, classes] or [N, views].
        card: what was chosen in this fold.
    """

    video: dict[str, npt.NDArray[np.generic]]
    clip: dict[str, npt.NDArray[np.generic]]
    card: dict[str, Any]


@dataclass(frozen=True)
class Protocol:
    """A named way of judging features.

    Attributes:
        name: as in result rows.
        run: from a fold to scores.
        retrieves: scores are ranks, metrics R@k; else class scores and top-k.
        card: facts that hold for every fold.
        tap: stage output to judge instead of the pooled feature; "map" is the last one.
        every_view: taps are needed of every view, not only their mean.
        taps: stage outputs that are handed over beside it.
        views: the view preset that the protocol defines; None leaves it to the settings.
        folds: the column whose values are left out in turn, where the protocol defines it.
    """

    name: str
    run: Callable[[Task], Scores]
    retrieves: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    tap: str | None = None
    every_view: bool = False
    taps: tuple[str, ...] = ()
    views: str | None = None
    folds: str | None = None
