"""Numbers read off features: ridge regression of likes, views and the like, as in LVU's regression tasks."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.evaluation.splits import Split, make_split

FloatArray = npt.NDArray[np.floating]
Transform = Literal["none", "log_views", "like_ratio"]
_STRENGTHS = tuple(10.0**power for power in range(-3, 6))


class Regression(NamedTuple):
    """Mean square errors over the tested rows.

    Attributes:
        error: of the regression.
        constant: of always telling the mean of the training rows.
        n_train, n_test: rows, over folds the mean and the sum.
    """

    error: float
    constant: float
    n_train: int
    n_test: int


def view_target(views: float) -> float:
    """ln(views) - 11.76425435683139, as LV-MAE's released code has it."""
    return math.log(views) - 11.76425435683139


def like_target(likes: float, dislikes: float) -> float:
    """10 likes / (likes + dislikes) - 9.138220535629456, as LV-MAE's released code has it."""
    return 10 * likes / (likes + dislikes) - 9.138220535629456


def regression_targets(manifest: Manifest, columns: tuple[str, ...], transform: Transform = "none") -> FloatArray:
    """What is to be told of each row, float64 [N].

    Args:
        manifest: the rows.
        columns: one; two for "like_ratio", likes and dislikes (in LVU's tables `label` and `label_name`).
        transform: "none", "log_views" (`view_target`) or "like_ratio" (`like_target`).

    Raises:
        DataError: a cell holds no number that the transform takes, or there are too few or too many columns.
    """
    if len(columns) != (2 if transform == "like_ratio" else 1):
        raise DataError(f"transform {transform} takes {2 if transform == 'like_ratio' else 1} column(s), got {columns}")
    cells = zip(*(manifest.column(name) for name in columns), strict=True)
    found = []
    for row, values in enumerate(cells):
        try:
            numbers = [float(value) for value in values]
            found.append(_transformed(transform, numbers))
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise DataError(f"row {row}: {dict(zip(columns, values, strict=True))} cannot be told: {error}") from error
    return np.array(found, np.float64)


def regression_split(manifest: Manifest, targets: FloatArray) -> Split:
    """The division of `make_split`; where folds must be drawn, targets above and below the median are balanced."""
    halves = ["above" if target > np.median(targets) else "below" for target in targets]
    rows = [{**manifest.row(row), "half": half} for row, half in enumerate(halves)]
    # Of very few rows a drawn fold may test none, which `restrict` leaves out.
    return make_split(Manifest.from_rows(rows, manifest.root), label="half").restrict(np.arange(len(rows)))


def ridge_regression(features: FloatArray, targets: FloatArray, split: Split) -> Regression:
    """Ridge regression on standardised features [N, D], its strength chosen by leaving one training row out at a time.

    Args:
        features: one vector per row.
        targets: [N].
        split: of the same rows.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    wrong, constant = [], []
    for fold in split.folds:
        model = make_pipeline(StandardScaler(), RidgeCV(_STRENGTHS))
        model.fit(features[fold.train], targets[fold.train])
        wrong.append((model.predict(features[fold.test]) - targets[fold.test]) ** 2)
        constant.append((targets[fold.train].mean() - targets[fold.test]) ** 2)
    trained = round(float(np.mean([len(fold.train) for fold in split.folds])))
    return Regression(
        float(np.concatenate(wrong).mean()), float(np.concatenate(constant).mean()), trained, len(split.test)
    )


def _transformed(transform: Transform, numbers: list[float]) -> float:
    if transform == "like_ratio":
        return like_target(*numbers)
    return view_target(*numbers) if transform == "log_views" else numbers[0]
