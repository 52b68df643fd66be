"""What an evaluation measures, and on which division of the data."""

from __future__ import annotations

from dataclasses import dataclass, field

from kinema.evaluation.extract import Extraction
from kinema.evaluation.supervised import Supervised


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything that decides the numbers, besides encoders and videos.

    Attributes:
        protocols: names known to `kinema.evaluation.protocols`.
        label: column of the classes.
        group: column of what belongs together (scene, person, source video); absent, each file is its own group.
        folds: leave one value of this column out at a time, instead of the column `split`.
        within: with `folds`: column whose values are never mixed.
        pixels: add the three pixel references.
        calibrated: add the untrained network with BatchNorm statistics from training clips.
        supervised: add the untrained network trained with labels, where its `epochs` > 0 (single splits only).
        seed: key of drawn folds, held-out parts, orders and initial heads.
        extraction: views, batch, device, workers, cache, skip_broken.
    """

    protocols: tuple[str, ...] = ("knn", "linear", "retrieval")
    label: str = "label"
    group: str = "group"
    folds: str | None = None
    within: str | None = None
    pixels: bool = True
    calibrated: bool = True
    supervised: Supervised = field(default_factory=Supervised)
    seed: int = 0
    extraction: Extraction = field(default_factory=Extraction)
