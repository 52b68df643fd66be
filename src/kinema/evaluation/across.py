"""Several runs that were evaluated on the same videos: how they stand, and what their differences are worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.errors import DataError
from kinema.evaluation.arms import CALIBRATED, SCRATCH, UNTRAINED
from kinema.evaluation.compare import Judged, compare
from kinema.evaluation.evaluated import Evaluated, group_names
from kinema.evaluation.measure import group_means
from kinema.evaluation.pixels import REFERENCE_ARMS
from kinema.evaluation.rows import Comparison, ResultRow
from kinema.metrics import holm, paired_bootstrap, ranks_of

FloatArray = npt.NDArray[np.float64]
Draw = tuple[int, int]
_BASELINES = (UNTRAINED, CALIBRATED, SCRATCH, *REFERENCE_ARMS)
_STATED = ("views", "aggregation", "preset", "normalisation", "distance", "feature", "training subset")


class Standing(NamedTuple):
    """One method under one protocol: the mean of its runs in percent with its interval, and every seed's own value."""

    arm: str
    protocol: str
    metric: str
    value: float
    low: float
    high: float
    by_seed: dict[str, float]
    exposure: str


@dataclass(frozen=True)
class Across:
    """What `compare_across` found.

    Attributes:
        standings: by protocol, best first, pixel references among them.
        comparisons: of every two methods under each protocol.
        adjusted: p of each comparison after Holm's correction for the number of comparisons.
        notes: what a reader must know before trusting a difference.
        facts: "test videos", "groups", "classes", "split", "largest class".
    """

    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    adjusted: tuple[float, ...]
    notes: tuple[str, ...]
    facts: dict[str, Any]


def compare_across(evaluated: Sequence[Evaluated], protocols: Sequence[str] = ()) -> Across:
    """Compare evaluations of several runs; runs of one method and recipe are its seeds.

    Args:
        evaluated: at least two.
        protocols: those to compare; by default all that every run was evaluated under.

    Raises:
        DataError: other videos, labels, groups or folds, no common protocol, or one run given twice.
    """
    if len(evaluated) < 2:
        raise DataError("give two evaluations or more to compare")
    _refuse_other_data(evaluated)
    found = {(judged.arm, judged.protocol): judged for judged in _judged(evaluated)}
    chosen = _protocols(found, protocols)
    member = np.unique(evaluated[0].results.predictions["groups"], return_inverse=True)[1]
    references = {(one.arm, one.protocol): one for one in _references(evaluated[0])}
    marks = _marks(evaluated)
    single = dict.fromkeys(arm for (arm, _), judged in found.items() if len({seed for seed, _ in judged.hits}) == 1)
    standings: list[Standing] = []
    comparisons: list[Comparison] = []
    for protocol in chosen:
        own = [judged for (_, name), judged in found.items() if name == protocol]
        own.sort(key=lambda judged: -judged.value)
        shown = [*own, *(judged for (_, name), judged in references.items() if name == protocol)]
        standings += [_standing(judged, member, marks) for judged in sorted(shown, key=lambda judged: -judged.value)]
        comparisons += [compare(first, second, member) for first, second in combinations(own, 2)]
    adjusted = holm([found.p_value for found in comparisons])
    return Across(
        tuple(standings),
        tuple(comparisons),
        tuple(adjusted),
        (*_notes(evaluated, chosen, marks), *_single(single)),
        _facts(evaluated),
    )


def _refuse_other_data(evaluated: Sequence[Evaluated]) -> None:
    first = evaluated[0]
    for other in evaluated[1:]:
        for name, what in (("ids", "test videos"), ("labels", "labels"), ("classes", "classes"), ("groups", "groups")):
            if not np.array_equal(first.results.predictions[name], other.results.predictions[name]):
                raise DataError(
                    f"{first.folder} and {other.folder} were evaluated on different {what}: differences between them "
                    "would not be paired. Evaluate both on the same manifest, with the same split or folds"
                )
        if first.results.info.get("division") != other.results.info.get("division"):
            raise DataError(
                f"{first.folder} and {other.folder} divide the same videos differently into training and test "
                f"({_split(first)}; {_split(other)}). Evaluate both with the same split, folds and seed"
            )


def _judged(evaluated: Sequence[Evaluated]) -> Iterator[Judged]:
    """The headline hits of every method under every protocol, its runs as seeds."""
    joined: dict[tuple[str, str], Judged] = {}
    for one, group in zip(evaluated, group_names(evaluated), strict=True):
        own = list(dict.fromkeys(row.arm for row in one.results.rows if row.arm not in _BASELINES))
        for arm in own:
            named = group if arm == own[0] else arm
            for judged in _hits(one, arm):
                before = joined.get((named, judged.protocol))
                twice = judged.hits.keys() & before.hits.keys() if before and named == group else ()
                if twice:
                    seed = min(twice)[0]
                    raise DataError(f"{one.folder}: seed {seed} of '{group}' was given before; give each run once")
                hits = {**(before.hits if before else {}), **judged.hits}
                joined[named, judged.protocol] = judged._replace(arm=named, hits=hits)
    return iter(joined.values())


def _references(evaluated: Evaluated) -> Iterator[Judged]:
    """The pixel references, which are the same for all runs."""
    for arm in REFERENCE_ARMS:
        yield from _hits(evaluated, arm)


def _hits(evaluated: Evaluated, arm: str) -> Iterator[Judged]:
    """What one arm scored, out of its stored predictions."""
    results = evaluated.results
    for protocol in dict.fromkeys(row.protocol for row in results.rows if row.arm == arm):
        prefix = f"{arm}/{protocol}/"
        hits: dict[Draw, FloatArray] = {}
        for name, values in results.predictions.items():
            if name.startswith(prefix):
                seed, _, draw = name.removeprefix(prefix).partition("/")
                hits[int(seed), int(draw or 0)] = hits_of(values, results.predictions["labels"])
        if hits:
            metric = results.find(arm=arm, protocol=protocol)[0].metric
            yield Judged(arm, protocol, metric, hits)


def hits_of(predicted: npt.NDArray[Any], labels: npt.NDArray[Any]) -> FloatArray:
    """Percent right [N] of class scores [N, C], of int64 ranks [N], or of the ranks of single views [N, views].

    Floats [N] are percent already.
    """
    if predicted.ndim == 1 and predicted.dtype.kind == "f":
        return np.asarray(predicted, np.float64)
    ranks = predicted if predicted.dtype.kind in "iu" else ranks_of(predicted, labels)
    return np.asarray(100.0 * (ranks == 1).reshape(len(labels), -1).mean(1), np.float64)


def _protocols(found: Mapping[tuple[str, str], Judged], wanted: Sequence[str]) -> list[str]:
    arms = {arm for arm, _ in found}
    common = [name for name in dict.fromkeys(name for _, name in found) if all((arm, name) in found for arm in arms)]
    absent = [name for name in wanted if name not in common]
    if absent or not common:
        raise DataError(
            f"not every run was evaluated under {absent[0] if absent else 'a common protocol'}; "
            f"all have: {', '.join(common) or 'none'}. Evaluate the others with --protocol"
        )
    return list(wanted) or common


def _standing(judged: Judged, member: npt.NDArray[np.int64], marks: Mapping[str, str]) -> Standing:
    table = np.stack([group_means(hits, member) for hits in judged.hits.values()])
    found = paired_bootstrap(table, weights=np.bincount(member), draws=2000)
    named = {
        str(seed) if not draw else f"{seed}/{draw}": float(hits.mean()) for (seed, draw), hits in judged.hits.items()
    }
    mark = marks.get(judged.arm, "none")
    return Standing(judged.arm, judged.protocol, judged.metric, judged.value, found.low, found.high, named, mark)


def _marks(evaluated: Sequence[Evaluated]) -> dict[str, str]:
    """The exposure of each method; "mixed" where its runs differ."""
    found: dict[str, str] = {}
    for one, group in zip(evaluated, group_names(evaluated), strict=True):
        own = list(dict.fromkeys(row.arm for row in one.results.rows if row.arm not in _BASELINES))
        for arm in own:
            mark, named = one.results.find(arm=arm)[0].exposure, group if arm == own[0] else arm
            found[named] = mark if found.get(named, mark) == mark else "mixed"
    return found


def _notes(evaluated: Sequence[Evaluated], protocols: Sequence[str], marks: Mapping[str, str]) -> Iterator[str]:
    if len(set(marks.values())) > 1:
        told = ", ".join(f"{arm} {mark}" for arm, mark in marks.items())
        yield f"Not all saw equally much of the test videos in pre-training: {told}."
    for protocol in protocols:
        rows = [_own_row(one, protocol) for one in evaluated]
        for name in _STATED:
            values = dict.fromkeys(str(row.card.get(name)) for row in rows if row is not None)
            if len(values) > 1:
                yield f"Under {protocol}, {name} differ: {' against '.join(values)}."
    skipped = {str(one.folder): one.results.info.get("skipped", 0) for one in evaluated}
    if any(skipped.values()):
        yield f"Videos that could not be read were left out: {max(skipped.values())}."


def _single(arms: Iterable[str]) -> Iterator[str]:
    if named := ", ".join(arms):
        yield f"Of {named} there is one seed only: whether another seed would do as well is not known."


def _own_row(evaluated: Evaluated, protocol: str) -> ResultRow | None:
    rows = [row for row in evaluated.results.find(protocol=protocol) if row.arm not in _BASELINES]
    return rows[0] if rows else None


def _facts(evaluated: Sequence[Evaluated]) -> dict[str, Any]:
    first = evaluated[0].results
    return {
        "test videos": len(first.predictions["ids"]),
        "groups": len(np.unique(first.predictions["groups"])),
        "classes": len(first.predictions["classes"]),
        "split": _split(evaluated[0]),
        "largest class": first.info.get("largest class"),
    }


def _split(evaluated: Evaluated) -> str:
    return str(evaluated.results.rows[0].card.get("split"))
