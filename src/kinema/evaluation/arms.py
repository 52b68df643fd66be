"""What is compared: the encoders that were given, the baselines made of them, and the pixel references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.baselines import calibrated
from kinema.evaluation.extract import Extraction, FeatureTable, Progress, extract_all
from kinema.evaluation.pixels import PIXEL_ARMS, PIXELS, PixelReader, split_references
from kinema.evaluation.sequences import sequence_tables, takes_sequences
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.splits import Split
from kinema.modules.encoder import Encoder

UNTRAINED, CALIBRATED, SCRATCH = "untrained", "untrained-calibrated", "scratch"
Encoders = Mapping[str, Encoder | Mapping[int, Encoder]]


class Arm(NamedTuple):
    """One encoder with one seed, or a pixel reference (no encoder)."""

    name: str
    seed: int
    encoder: Encoder | None = None

    @property
    def key(self) -> str:
        """Unique name."""
        return f"{self.name}/{self.seed}"

    @property
    def is_baseline(self) -> bool:
        """True for what no method was pre-trained for."""
        return self.encoder is None or self.name in (UNTRAINED, CALIBRATED, SCRATCH)


def all_arms(encoders: Encoders, manifest: Manifest, split: Split, settings: EvaluationSettings) -> list[Arm]:
    """The given encoders, then the baselines that `settings` asks for, but "scratch".

    Raises:
        RecipeError: an encoder has the name of a baseline that is made here.
    """
    arms = []
    for name, given in encoders.items():
        if name in (CALIBRATED, SCRATCH, *PIXEL_ARMS):
            raise RecipeError(f"'{name}' is the name of a baseline that evaluation makes itself; rename the encoder")
        seeds = {settings.seed: given} if isinstance(given, Encoder) else given
        arms += [Arm(name, seed, encoder) for seed, encoder in seeds.items()]
    if settings.calibrated:
        arms += _calibrated(arms, manifest, split, settings)
    return arms + ([Arm(name, settings.seed) for name in PIXEL_ARMS] if settings.pixels else [])


def planned_tables(
    arms: Sequence[Arm], manifest: Manifest, plans: Sequence[Extraction], progress: Progress | None
) -> list[dict[str, FeatureTable]]:
    """For every plan the features of every arm, by its key, of the rows that all arms could read.

    Raises:
        DataError: rows cannot be read and may not be skipped, or none can be read.
    """
    encoders = {arm.key: arm.encoder for arm in arms if arm.encoder is not None}
    if takes_sequences(list(encoders.values())):
        return [sequence_tables(encoders, manifest, plan, progress) for plan in plans]
    pixels = [arm for arm in arms if arm.encoder is None]
    direct = {PIXELS: PixelReader()} if pixels else {}
    taken = extract_all(encoders, manifest, plans, direct=direct, progress=progress)
    references = split_references(taken.direct[PIXELS]) if pixels else {}
    found = [tables | {arm.key: references[arm.name] for arm in pixels} for tables in taken.plans]
    common = np.arange(len(manifest))
    for table in (table for tables in found for table in tables.values()):
        common = np.intersect1d(common, table.rows)
    if not len(common):
        raise DataError(f"none of {len(manifest)} videos can be read")
    return [{key: table.keep(common) for key, table in tables.items()} for tables in found]


def calibration_rows(split: Split) -> npt.NDArray[np.int64]:
    """Training rows of a single split; over folds all rows, since every one trains somewhere."""
    return split.folds[0].train if split.single else np.arange(len(split.groups))


def _calibrated(arms: Sequence[Arm], manifest: Manifest, split: Split, settings: EvaluationSettings) -> list[Arm]:
    found = []
    for arm in arms:
        if arm.name == UNTRAINED and arm.encoder is not None:
            rows = calibration_rows(split)
            twin = calibrated(arm.encoder, manifest, rows, settings.extraction, seed=settings.seed)
            found += [] if twin is None else [Arm(CALIBRATED, arm.seed, twin)]
    return found
