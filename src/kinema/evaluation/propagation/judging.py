"""Label propagation of encoders and their references on annotated sequences: rows, comparisons, masks to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError, VideoError
from kinema.evaluation.arms import Arm, Encoders, all_arms
from kinema.evaluation.extract import Progress, frozen
from kinema.evaluation.pixels import PROPAGATION_ARMS
from kinema.evaluation.propagation.features import FrameFeatures, PixelFeatures
from kinema.evaluation.propagation.presets import Propagation, PropagationPreset
from kinema.evaluation.propagation.recording import PropagationRecorder
from kinema.evaluation.propagation.running import Carried, Seer, carry_sequence
from kinema.evaluation.propagation.truths import truth_of
from kinema.evaluation.reading import RowRead, refuse
from kinema.evaluation.rows import Results
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.splits import every_row
from kinema.training.checkpoint import versions


def evaluate_propagation(
    encoders: Encoders,
    manifest: Manifest,
    wanted: Sequence[Propagation],
    settings: EvaluationSettings,
    *,
    pretraining: Mapping[str, Manifest] | None = None,
    progress: Progress | None = None,
) -> Results:
    """Carry the labels of first frames through sequences with every encoder, and judge what arrives.

    In the same tables stand bare pixels as features ("pixels-rgb", "pixels-grey"), on the grid of the first encoder's
    map, and the labels of the first frame as they are ("pixels-identity").

    Args:
        encoders: by arm, as for `evaluate`.
        manifest: sequences with the column `masks` or `joints`.
        wanted: protocols of one task and one split.
        settings: baselines, seed, group column, device, skip_broken.
        pretraining: by arm, the manifest it was pre-trained on.
        progress: called with (sequences done, sequences).

    Raises:
        DataError: labels are missing or cannot be read, or a video cannot be read.
        RecipeError: an encoder yields no map, or the protocols want different labels.
    """
    preset, reading = _same(wanted), settings.extraction
    usable = annotated(manifest, preset)
    if not reading.skip_broken:  # known at once, not after hours
        refuse(list(_without_truth(usable, preset)), len(usable))
    arms = _arms(encoders, usable, settings)
    carried: dict[int, list[Carried]] = {}
    skipped: list[RowRead] = []
    with frozen(*(arm.encoder for arm in arms if arm.encoder is not None)):
        for row in range(len(usable)):
            found = _one_row(arms, usable, row, wanted, reading.device)
            if isinstance(found, RowRead):
                skipped.append(found)
            else:
                carried[row] = found
            if progress is not None:
                progress(row + 1, len(usable))
    if not (reading.skip_broken and carried):
        refuse(skipped, len(usable))
    left_out = {"skipped": len(skipped), "not used": len(manifest) - len(usable)}
    card = left_out | {"set aside by the scan": len(manifest.set_aside), "seed": settings.seed, "versions": versions()}
    recorder = PropagationRecorder(usable.select(list(carried)), preset, pretraining or {}, card, settings.group)
    for number, protocol in enumerate(wanted):
        recorder.record(arms, protocol, [every[number] for every in carried.values()])
    about = {"manifest": manifest.digest(), "root": str(manifest.root.resolve())}
    return recorder.results(card | about)


def annotated(manifest: Manifest, preset: PropagationPreset) -> Manifest:
    """The rows to judge: those with labels and, where there is a column `split`, of the preset's split.

    Raises:
        DataError: there is none.
    """
    column = "joints" if preset.task == "joints" else "masks"
    manifest.require([column], f"label propagation of {preset.task}")
    kept = np.array([value not in (None, "") for value in manifest.column(column)])
    if "split" in manifest.columns:
        parts = np.array([str(value) for value in manifest.column("split")])
        if not (kept & (parts == preset.split)).any():
            offered = ", ".join(np.unique(parts[kept])) or "none"
            raise DataError(
                f"no row of the split '{preset.split}' has {column}; those with {column} are of: {offered}. Choose one "
                "with propagation.split=NAME"
            )
        kept &= parts == preset.split
    if not kept.any():
        raise DataError(f"no row of the manifest in {manifest.root} has {column}")
    return manifest.select(np.flatnonzero(kept))


def seers_of(arms: Sequence[Arm], wanted: Propagation) -> dict[str, Seer]:
    """What each arm sees frames with, by its key.

    Raises:
        RecipeError: an encoder has no such stage, or takes no frames.
    """
    found: dict[str, Seer] = {}
    for arm in arms:
        if arm.encoder is None:
            found[arm.key] = None if arm.name == PROPAGATION_ARMS[2] else PixelFeatures(_colour(arm))
        else:
            preset = wanted.preset
            found[arm.key] = FrameFeatures(arm.encoder, tap=wanted.tap, std=preset.std, batch=preset.batch)
    return found


def _arms(encoders: Encoders, manifest: Manifest, settings: EvaluationSettings) -> list[Arm]:
    """Encoders on their device, their baselines, and the references."""
    arms = all_arms(encoders, manifest, every_row(len(manifest)), replace(settings, pixels=False))
    for arm in arms:
        if arm.encoder is not None:
            arm.encoder.to(settings.extraction.device)
    return arms + [Arm(name, settings.seed) for name in PROPAGATION_ARMS if settings.pixels]


def _colour(arm: Arm) -> Any:
    return arm.name.removeprefix("pixels-")


def _without_truth(manifest: Manifest, preset: PropagationPreset) -> Iterator[RowRead]:
    """Rows whose first labels cannot be used."""
    for row in range(len(manifest)):
        try:
            truth_of(manifest, row, preset)
        except (DataError, VideoError) as error:
            yield RowRead(row, None, str(error))


def _one_row(
    arms: Sequence[Arm], manifest: Manifest, row: int, wanted: Sequence[Propagation], device: str
) -> list[Carried] | RowRead:
    """A row under every protocol, or why it cannot be read."""
    try:
        return [carry_sequence(seers_of(arms, one), manifest, row, one.preset, device=device) for one in wanted]
    except (DataError, VideoError) as error:
        return RowRead(row, None, str(error))


def _same(wanted: Sequence[Propagation]) -> PropagationPreset:
    """The first preset, after a look whether the others judge the same samples."""
    first = wanted[0]
    for other in wanted[1:]:
        if (other.preset.task, other.preset.split) != (first.preset.task, first.preset.split):
            raise RecipeError(f"'{first.name}' and '{other.name}' judge other labels or splits: evaluate them apart")
    return first.preset
