"""Collects what the arms score under the protocols and writes it up: rows with cards, comparisons, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.evaluation.arms import CALIBRATED, SCRATCH, UNTRAINED, Arm
from kinema.evaluation.compare import Judged, compare, compare_with_references
from kinema.evaluation.episodes import Accuracy
from kinema.evaluation.exposure import Exposure, exposure
from kinema.evaluation.measure import Measured, Metric, group_means, interval, metrics
from kinema.evaluation.pixels import PIXEL_ARMS
from kinema.evaluation.rows import Comparison, ResultRow, Results, plain
from kinema.evaluation.splits import Split, division_digest, row_names

PIXEL_PROTOCOL = "linear"


class Recorder:
    """Rows, headline hits and predictions of one evaluation.

    Args:
        manifest: the rows that are divided by `split`.
        split: the division.
        pretraining: by arm, what it was pre-trained on.
        card: facts that hold for every row.
        known: by arm, exposure that was established elsewhere.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: Split,
        pretraining: Mapping[str, Manifest],
        card: dict[str, Any],
        *,
        known: Mapping[str, Exposure] | None = None,
    ) -> None:
        self.manifest, self.split, self.pretraining = manifest, split, pretraining
        self.tested = np.sort(split.test)
        self.groups, self.member = np.unique(np.array(split.groups)[self.tested], return_inverse=True)
        facts = {"folds": len(split.folds), "classes": len(split.classes), "groups": len(self.groups)}
        self.card = card | {"split": split.description} | facts
        self.division = division_digest(split, self.names())
        self.draw = 0
        self.subsets: list[dict[str, Any]] = []
        self.rows: list[ResultRow] = []
        self.predictions: dict[str, npt.NDArray[np.generic]] = {}
        self._judged: dict[tuple[str, str], Judged] = {}
        self._exposures = dict(known or {})

    def use(self, split: Split, draw: int, subset: str) -> None:
        """Go on with other training rows for the same test rows, and keep the list of them."""
        self.split, self.draw = split, draw
        self.card |= {"split": split.description, "training subset": subset, "draw": draw}
        names = self.names()
        chosen = {fold.name: [names[row] for row in fold.train] for fold in split.folds}
        self.subsets.append({"draw": draw, "subset": subset, "training videos": chosen})

    def record(self, arm: Arm, protocol: str, measured: Measured, card: dict[str, Any], *, retrieves: bool) -> None:
        """Rows, headline and predictions of one arm under one protocol; `card` holds what is special to them."""
        gallery = min(len(fold.train) for fold in self.split.folds)
        labels = self.split.labels[self.tested]
        found = metrics(measured.scores, labels, retrieves=retrieves, gallery=gallery)
        seen = self._exposure(arm)
        card = self.card | card | _merged(measured.choices)
        card |= {"overlap": seen.overlap, "near-identical": seen.near, "overlap compared by": seen.compared}
        if arm.encoder is not None:
            card["input"] = plain(arm.encoder.input)
        self.rows += [self._row(arm, protocol, metric, seen, card) for metric in found]
        before = self._judged.get((arm.name, protocol))
        hits = {**(before.hits if before else {}), (arm.seed, self.draw): found[0].hits}
        self._judged[arm.name, protocol] = Judged(arm.name, protocol, found[0].name, hits)
        scores = (measured.scores.video or measured.scores.clip)[""]
        name = f"{arm.name}/{protocol}/{arm.seed}" + (f"/{self.draw}" if self.draw else "")
        self.predictions[name] = scores.astype(np.int64 if retrieves else np.float32)

    def record_episodes(self, arm: Arm, protocol: str, accuracy: Accuracy, card: dict[str, Any]) -> None:
        """One row whose value is a mean over episodes, without groups."""
        seen = self._exposure(arm)
        card = self.card | card | {"interval": list(accuracy.interval), "overlap": seen.overlap}
        row = self._row(arm, protocol, Metric("top1", "video", np.zeros(len(self.tested))), seen, card)
        self.rows.append(replace(row, value=accuracy.mean, card=card, per_group={}, n_train=0))

    def results(self, info: dict[str, Any]) -> Results:
        """Everything collected, with the comparisons."""
        labels = self.split.labels[self.tested]
        common: dict[str, npt.NDArray[np.generic]] = {
            "ids": np.array(self.names())[self.tested],
            "labels": labels,
            "classes": np.array(self.split.classes),
            "groups": self.groups[self.member],
        }
        info = info | {"division": self.division}
        info = info | {"largest class": 100.0 * float(np.bincount(labels).max() / len(labels))}
        if self.subsets:
            info = info | {"training subsets": self.subsets}
        return Results(tuple(self.rows), tuple(self._comparisons()), info, common | self.predictions)

    def _row(self, arm: Arm, protocol: str, metric: Metric, seen: Exposure, card: dict[str, Any]) -> ResultRow:
        by_group = group_means(metric.hits, self.member)
        return ResultRow(
            arm=arm.name,
            protocol=protocol,
            metric=metric.name,
            level=metric.level,
            value=float(metric.hits.mean()),
            n_train=round(float(np.mean([len(fold.train) for fold in self.split.folds]))),
            n_test=len(self.tested),
            split=self.split.name,
            seed=arm.seed,
            exposure=seen.mark,
            card=card | {"interval": list(interval(metric.hits, self.member))},
            per_group=dict(zip(self.groups.tolist(), by_group.tolist(), strict=True)),
        )

    def _exposure(self, arm: Arm) -> Exposure:
        if arm.name not in self._exposures:
            self._exposures[arm.name] = self._look_up(arm)
        return self._exposures[arm.name]

    def _look_up(self, arm: Arm) -> Exposure:
        if arm.name == CALIBRATED and not self.split.single:
            return Exposure("transductive", len(self.tested), "BatchNorm statistics, without labels, are of all rows")
        if arm.is_baseline:
            return Exposure("none", 0, "no pre-training")
        return exposure(self.manifest, self.shown(), self.pretraining.get(arm.name))

    def shown(self) -> list[int]:
        """Rows of the manifest that the tests show."""
        return [int(row) for row in self.tested]

    def _comparisons(self) -> Iterator[Comparison]:
        names = list(dict.fromkeys(name for name, _ in self._judged))
        baselines = [name for name in names if name in (UNTRAINED, CALIBRATED, SCRATCH)]
        arms = [name for name in names if name not in (*baselines, *PIXEL_ARMS)]
        for (name, protocol), judged in self._judged.items():
            if name in arms:
                others = [*arms[arms.index(name) + 1 :], *baselines]
                yield from (compare(judged, other, self.member) for other in self._under(protocol, others))
                pixels = self._under(protocol, PIXEL_ARMS)
                yield from compare_with_references(judged, pixels, self.member)

    def _under(self, protocol: str, names: Sequence[str]) -> list[Judged]:
        """Opponents: a classifier meets the pixel references' logistic regression, which defines them."""
        found = []
        for name in names:
            kind = protocol
            if not protocol.startswith("retrieval"):
                defined = name in PIXEL_ARMS and (name, PIXEL_PROTOCOL) in self._judged
                kind = PIXEL_PROTOCOL if defined else protocol
                if name == SCRATCH and (name, kind) not in self._judged:
                    # Under protocols that do not fine-tune, what the labels alone give is the first that does.
                    kind = next(other for arm, other in self._judged if arm == SCRATCH)
            found += [self._judged[name, kind]] if (name, kind) in self._judged else []
        return found

    def names(self) -> list[str]:
        """Unique names of all samples."""
        return row_names(self.manifest)


def _merged(choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One value where all folds agree, else the list."""
    merged = {}
    for name in choices[0]:
        values = [choice.get(name) for choice in choices]
        merged[name] = values[0] if all(value == values[0] for value in values) else values
    return merged
