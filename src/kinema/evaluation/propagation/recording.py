"""What propagation found, written up: rows, comparisons over sequences and seeds, single numbers, masks to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.evaluation.arms import CALIBRATED, UNTRAINED, Arm
from kinema.evaluation.compare import Judged, compare, compare_with_references
from kinema.evaluation.exposure import Exposure, exposure
from kinema.evaluation.measure import group_means
from kinema.evaluation.pixels import PROPAGATION_ARMS
from kinema.evaluation.propagation.presets import Propagation, PropagationPreset
from kinema.evaluation.propagation.running import Carried
from kinema.evaluation.propagation.scoring import Metric, metrics_of, sample_names
from kinema.evaluation.rows import Comparison, ResultRow, Results, plain
from kinema.evaluation.splits import row_names
from kinema.metrics import paired_bootstrap

SEQUENCES = 4
"""Sequences whose masks are kept to be looked at."""


class PropagationRecorder:
    """Rows, comparisons and predictions of one evaluation; a sample is an object, or else a sequence.

    Args:
        manifest: the sequences.
        preset: task and split.
        pretraining: by arm, what it was pre-trained on.
        card: facts that hold for every row.
        group: column of what belongs together; without it every video is its own group.
    """

    def __init__(
        self,
        manifest: Manifest,
        preset: PropagationPreset,
        pretraining: Mapping[str, Manifest],
        card: dict[str, Any],
        group: str,
    ) -> None:
        self.manifest, self.preset, self.pretraining = manifest, preset, pretraining
        self.names = row_names(manifest)
        column = manifest.column(group if group in manifest.columns else "path")
        paths = manifest.column("path")
        self.groups = [str(paths[row] if value in (None, "") else value) for row, value in enumerate(column)]
        self.split = preset.split if "split" in manifest.columns else "all"
        chosen = f"rows of split '{self.split}'" if self.split != "all" else "all annotated rows"
        told = f"{chosen}; labels of the first frame are carried on, nothing is trained"
        self.card = card | {"split": told, "task": preset.task}
        self.rows: list[ResultRow] = []
        self.predictions: dict[str, npt.NDArray[np.generic]] = {}
        self._judged: dict[tuple[str, str], Judged] = {}
        self._exposures: dict[str, Exposure] = {}
        self._member = np.empty(0, np.int64)
        self._group_names: list[str] = []

    def record(self, arms: Sequence[Arm], wanted: Propagation, carried: Sequence[Carried]) -> None:
        """Everything of one protocol; `carried` has one entry for each sequence."""
        self._number([one.values[arms[0].key] for one in carried])
        for arm in arms:
            found = metrics_of(self.preset.task, [one.values[arm.key] for one in carried])
            card = self._card(arm, wanted)
            self.rows += [self._row(arm, wanted.name, metric, card) for metric in found]
            before = self._judged.get((arm.name, wanted.name))
            hits = {**(before.hits if before else {}), (arm.seed, 0): found[0].samples}
            self._judged[arm.name, wanted.name] = Judged(arm.name, wanted.name, found[0].name, hits)
            self.predictions[f"{arm.name}/{wanted.name}/{arm.seed}"] = found[0].samples
            for metric in found[1:]:
                if len(metric.samples):
                    self.predictions[f"{metric.name}/{arm.name}/{wanted.name}/{arm.seed}"] = metric.samples
        if not any(name.startswith("shown/") for name in self.predictions):
            self._keep_shown(arms, carried)

    def results(self, info: dict[str, Any]) -> Results:
        """Everything collected, with the comparisons."""
        return Results(tuple(self.rows), tuple(self._comparisons()), info, self.predictions)

    def _number(self, values: Sequence[npt.NDArray[np.float64]]) -> None:
        """Name the samples and their groups, the same for every protocol."""
        samples, sequences = sample_names(self.preset.task, self.names, values)
        named, self._member = np.unique([self.groups[row] for row in sequences], return_inverse=True)
        self._group_names = named.tolist()
        self.predictions |= {
            "ids": np.array(samples),
            "labels": np.zeros(len(samples), np.int64),
            "classes": np.array([""]),
            "groups": named[self._member],
        }

    def _card(self, arm: Arm, wanted: Propagation) -> dict[str, Any]:
        seen = self._exposure(arm)
        card = self.card | {"groups": len(self._group_names), "propagation": plain(wanted.preset)}
        card |= {"overlap": seen.overlap, "near-identical": seen.near, "overlap compared by": seen.compared}
        if arm.encoder is not None:
            card |= {"stage": wanted.tap or "map", "input": plain(arm.encoder.input)}
        return card

    def _row(self, arm: Arm, protocol: str, metric: Metric, card: dict[str, Any]) -> ResultRow:
        by_group: dict[str, float] = {}
        if len(metric.samples):
            means = group_means(metric.samples, self._member)
            by_group = dict(zip(self._group_names, means.tolist(), strict=True))
            drawn = paired_bootstrap(means, weights=np.bincount(self._member), draws=2000)
            card = card | {"interval": [drawn.low, drawn.high]}
        return ResultRow(
            arm=arm.name,
            protocol=protocol,
            metric=metric.name,
            level="video",
            value=metric.value,
            n_train=0,
            n_test=len(self._member),
            split=self.split,
            seed=arm.seed,
            exposure=self._exposure(arm).mark,
            card=card,
            per_group=by_group,
        )

    def _exposure(self, arm: Arm) -> Exposure:
        if arm.name not in self._exposures:
            every = range(len(self.manifest))
            self._exposures[arm.name] = (
                Exposure("none", 0, "no pre-training")
                if arm.is_baseline
                else exposure(self.manifest, every, self.pretraining.get(arm.name))
            )
        return self._exposures[arm.name]

    def _comparisons(self) -> Iterator[Comparison]:
        names = list(dict.fromkeys(name for name, _ in self._judged))
        baselines = [name for name in names if name in (UNTRAINED, CALIBRATED)]
        arms = [name for name in names if name not in (*baselines, *PROPAGATION_ARMS)]
        for (name, protocol), judged in self._judged.items():
            if name in arms:
                others = [*arms[arms.index(name) + 1 :], *baselines]
                yield from (compare(judged, self._judged[other, protocol], self._member) for other in others)
                references = [self._judged[other, protocol] for other in PROPAGATION_ARMS if other in names]
                yield from compare_with_references(judged, references, self._member)

    def _keep_shown(self, arms: Sequence[Arm], carried: Sequence[Carried]) -> None:
        """Small masks, or joints, of a few sequences, evenly spaced over all, not chosen by how well they do."""
        first = {arm.name: arm for arm in reversed(arms) if arm.encoder is not None}
        for row in np.unique(np.linspace(0, len(carried) - 1, min(SEQUENCES, len(carried))).astype(int)).tolist():
            place = f"shown/{self.names[row]}"
            self.predictions[f"{place}/frames"] = carried[row].frames
            self.predictions[f"{place}/truth"] = carried[row].kept[""]
            for name, arm in reversed(first.items()):
                self.predictions[f"{place}/arm {name}"] = carried[row].kept[arm.key]
