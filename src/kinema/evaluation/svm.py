"""Linear support vector machines on averaged, L2-normalised features: dynamic scenes (STS, TPAMI 2021, section 6)."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from kinema.evaluation.tasks import FloatArray, IntArray, Protocol, Scores, Task

STRENGTH = 1.0
_CARD = {
    "classifier": "linear SVM, one against the rest, squared hinge",
    "C": STRENGTH,
    "C stated by": "ours: the papers do not state it",
}


def svm_scores(
    train: FloatArray, labels: IntArray, test: FloatArray, *, classes: int, strength: float = STRENGTH
) -> npt.NDArray[np.float64]:
    """Distances from the planes of a linear SVM, float64 [M, classes]; a class without training samples has -infinity.

    Where D > N the problem is solved in the span of the training samples, which holds the optimum. The same arguments
    give the same scores.

    Args:
        train: [N, D].
        labels: int64 [N], at least two classes.
        test: [M, D].
        classes: number of columns.
        strength: C.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
    if train.shape[1] > len(train):
        train, test = _in_span(train, test)
    model = LinearSVC(C=strength, dual=False, max_iter=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = model.fit(train, labels).decision_function(test)
    scores = np.full((len(test), classes), -np.inf)
    scores[:, model.classes_] = np.stack([-found, found], 1) if found.ndim == 1 else found
    return scores


def run_svm(task: Task) -> Scores:
    """A linear SVM on the L2-normalised averages of the videos."""
    train, test = (unit(part.averaged) for part in (task.train, task.test))
    return Scores({"": svm_scores(train, task.train.labels, test, classes=task.classes)}, {}, {})


def unit(features: FloatArray) -> npt.NDArray[np.float64]:
    """Each vector [..., D] divided by its length; a vector of zeros stays."""
    values = np.asarray(features, np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12))


def _in_span(train: FloatArray, test: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coordinates in an orthonormal basis of the training samples: inner products with them are kept."""
    lengths, axes = np.linalg.eigh(train @ train.T)
    kept = lengths > 1e-12 * lengths[-1]
    axes = axes[:, kept] / np.sqrt(lengths[kept])
    return train @ train.T @ axes, test @ train.T @ axes


SVM = (
    Protocol(
        "svm", run_svm, card=_CARD | {"aggregation": "mean over views", "normalisation": "L2", "feature": "pooled"}
    ),
    Protocol(
        "scenes",
        run_svm,
        card=_CARD
        | {
            "aggregation": "mean over clips",
            "normalisation": "L2",
            "feature": "p4, max pool (1, 2, 2), flattened",
            "pooled by": "ours: the paper does not say how the map is pooled; scenes@p4.mean averages it",
        },
        tap="p4",
        views="sliding",
        folds="path",
    ),
)
