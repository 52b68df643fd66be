"""What features are: how they are to be taken, and the tables that hold them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.errors import RecipeError
from kinema.evaluation.reading import RowRead
from kinema.evaluation.store import PRECISIONS

Progress = Callable[[int, int], None]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Extraction:
    """How features are taken.

    Attributes:
        views: name of the view preset.
        taps: stage outputs to keep besides the pooled feature, max-pooled (1, 2, 2) and flattened: "map" is the last
            one, others are among the encoder's `taps`; with ".mean" behind the name, averaged over all
            positions instead, and with ".tokens" all positions [N, D].
        every_view: keep the taps of every view; otherwise only their mean per video, which saves memory.
        batch: clips per forward pass.
        workers: processes that decode; 0 decodes in this one.
        device: where the encoders run.
        cache: folder for features, so that what was taken once is never decoded again; None keeps nothing.
        skip_broken: go on without files that cannot be read instead of refusing them.
        precision: in which features are kept: "float32", or "float16" for half the room.
    """

    views: str = "uniform10"
    taps: tuple[str, ...] = ()
    every_view: bool = False
    batch: int = 16
    workers: int = 0
    device: str = "cpu"
    cache: Path | None = None
    skip_broken: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise RecipeError(f"features cannot be kept as '{self.precision}'; use float32 or float16")


@dataclass(frozen=True)
class FeatureTable:
    """Features of the rows that could be read.

    Attributes:
        rows: int64 [N], their numbers in the manifest.
        pooled: [N, views, D], float32 or float16; large ones are mapped from files, not loaded.
        taps: by name, [N, views or 1, K], tokens [N, views or 1, positions, D].
        skipped: what could not be read.
        joined: the views were averaged into one per video, since videos have different numbers of them.
        stageless: there is one feature only, which stands for every tap.
    """

    rows: npt.NDArray[np.int64]
    pooled: Array
    taps: dict[str, Array] = field(default_factory=dict)
    skipped: tuple[RowRead, ...] = ()
    joined: bool = False
    stageless: bool = False

    def feature(self, tap: str | None) -> Array:
        """The pooled feature, or a tap."""
        return self.pooled if tap is None or self.stageless else self.taps[tap]

    def keep(self, rows: npt.NDArray[np.int64]) -> FeatureTable:
        """The same features of the manifest rows `rows` only."""
        kept = np.isin(self.rows, rows)
        if kept.all():
            return self
        taps = {name: values[kept] for name, values in self.taps.items()}
        return replace(self, rows=self.rows[kept], pooled=self.pooled[kept], taps=taps)


class Taken(NamedTuple):
    """What `extract_all` found: per plan the tables by encoder, and the tables of the readers without a network."""

    plans: list[dict[str, FeatureTable]]
    direct: dict[str, FeatureTable]
