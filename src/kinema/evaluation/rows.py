"""What an evaluation leaves behind: one row per number, what each comparison is worth, and the single predictions."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.errors import DataError
from kinema.training.files import read_json, write_atomic

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ResultRow:
    """One number.

    Attributes:
        arm: what was measured: "trained", "untrained", "untrained-calibrated", "scratch", "pixels-mean-frame" …
        protocol: "knn", "linear", "linear:severe", "finetune:vcop", "retrieval:vcop" …
        metric: "top1", "top5", "R@5" …
        level: "clip" (each view counted by itself) or "video" (views joined).
        value: percent.
        n_train, n_test: videos; over folds the mean and the sum.
        split: name of the split.
        seed: seed of the arm.
        exposure: "transductive" (pre-training saw a test file), "inductive", "none" (no pre-training) or "unknown".
        card: everything needed to repeat the number: views, aggregation, normalisation, k, C, counts, versions …
        per_group: group of test samples to percent.
    """

    arm: str
    protocol: str
    metric: str
    level: str
    value: float
    n_train: int
    n_test: int
    split: str
    seed: int
    exposure: str
    card: dict[str, Any] = field(default_factory=dict)
    per_group: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A paired difference on the same test samples, in percentage points, `arm` minus `against`.

    Attributes:
        arm, against: names of the two arms.
        protocol, metric: of `arm`.
        difference, low, high: estimate and 95 % interval (bootstrap over groups x seeds).
        p_value: sign-flip test over groups.
        groups: number of groups.
        verdict: "useful" (above the best pixel reference), "beats", "loses" - these only where the interval excludes
            0 and p is at most 0.05 -, "not distinguishable" or "too few groups".
        against_protocol: where `against` was measured under another protocol, its name.
    """

    arm: str
    against: str
    protocol: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    groups: int
    verdict: str
    against_protocol: str = ""


@dataclass(frozen=True)
class Results:
    """All rows and comparisons of one evaluation.

    Attributes:
        rows, comparisons: in the order of arms and protocols.
        info: settings, data ("root" is the folder that the ids start from) and versions that all rows share.
        predictions: "ids", "labels", "classes", "groups", the first arm's "features" [test samples, D], and
            "<arm>/<protocol>/<seed>" with float32 scores [test samples, classes] of each classifier or int64 ranks
            [test samples] of each retrieval.
    """

    rows: tuple[ResultRow, ...]
    comparisons: tuple[Comparison, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, Array] = field(default_factory=dict)

    def find(self, **wanted: Any) -> tuple[ResultRow, ...]:
        """The rows whose attributes equal `wanted`, for example `find(arm="trained", protocol="knn")`."""
        return tuple(row for row in self.rows if all(getattr(row, key) == value for key, value in wanted.items()))

    def write(self, folder: Path) -> None:
        """Write `results.json` and `predictions.npz`; the same results give the same bytes."""
        stored = {
            "info": self.info,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "comparisons": [dataclasses.asdict(comparison) for comparison in self.comparisons],
        }
        write_atomic(folder / "predictions.npz", pack(self.predictions))
        write_atomic(folder / "results.json", json.dumps(stored, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read what `write` wrote.

        Raises:
            KinemaError: a file is absent or damaged.
        """
        stored = read_json(folder / "results.json")
        try:
            rows = tuple(ResultRow(**row) for row in stored["rows"])
            comparisons = tuple(Comparison(**comparison) for comparison in stored["comparisons"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{folder / 'results.json'} does not hold evaluation results: {error}") from error
        return cls(rows, comparisons, stored.get("info", {}), unpack(folder / "predictions.npz"))


def plain(settings: Any) -> dict[str, Any]:
    """A dataclass as JSON has it: dictionaries, lists, texts and numbers."""
    value: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    return value


def pack(arrays: dict[str, Array]) -> bytes:
    """The arrays as an uncompressed .npz, byte for byte a function of names and values."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file.

    Raises:
        DataError: the file is absent or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}; delete it and evaluate again") from error
