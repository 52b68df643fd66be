"""(Dis)similarities of two feature vectors, the features of pair classification (action similarity labelling).

Kliper-Gross, Hassner and Wolf, "The Action Similarity Labeling Challenge", IEEE TPAMI 2012, Table 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from kinema.errors import DataError

FloatArray = npt.NDArray[np.floating]
MEASURES = 12
EPSILON = 1e-12
"""Added to denominators and to both terms of each ratio inside a logarithm; measure 10 depends on it at zeros."""


def pair_measures(x: FloatArray, y: FloatArray, *, normalise: Literal["l2", "l1"] = "l2") -> npt.NDArray[np.float64]:
    """The 12 measures of non-negative vectors x, y [..., D], float64 [..., 12], symmetric in x and y.

    Sums run over D. On the vectors as they are: 1 Σxy; 2 √Σxy; 3 √Σ√x√y; 4 √Σ xy/(x+y); 5 cosine;
    6 √Σ (x−y)²/(x+y); 7 Σ|x−y|; 8 √Σ(√x−√y)². On normalised vectors: 9 √Σ(x−y)²; 10 (Σ x log(x/y) + Σ y log(y/x)) / 2;
    11 Σ √(max(x,y)/(x+y)); 12 Σ min(x,y) / (Σx Σy). The table does not say which norm: "l2" is ours, "l1" the option.

    Raises:
        DataError: shapes differ or a value is negative (take features after a ReLU).
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape:
        raise DataError(f"the two features of a pair differ in shape: {x.shape} and {y.shape}")
    if min(x.min(), y.min()) < 0:
        raise DataError("pair measures need non-negative features: take them after a ReLU")
    product, total = x * y, x + y
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    plain = [
        product.sum(-1),
        np.sqrt(product.sum(-1)),
        np.sqrt(np.sqrt(product).sum(-1)),
        np.sqrt((product / (total + EPSILON)).sum(-1)),
        product.sum(-1) / (lengths + EPSILON),
        np.sqrt(((x - y) ** 2 / (total + EPSILON)).sum(-1)),
        np.abs(x - y).sum(-1),
        np.sqrt(((np.sqrt(x) - np.sqrt(y)) ** 2).sum(-1)),
    ]
    return np.stack([*plain, *_normalised_measures(_unit(x, normalise), _unit(y, normalise))], -1)


def pair_features(
    taps: Sequence[tuple[FloatArray, FloatArray]], *, normalise: Literal["l2", "l1"] = "l2"
) -> npt.NDArray[np.float64]:
    """The measures of several feature types side by side: three taps give the 36 numbers of the protocol.

    Args:
        taps: per feature type the features [..., D] of the first and of the second video.
        normalise: norm for measures 9 to 12.
    """
    return np.concatenate([pair_measures(x, y, normalise=normalise) for x, y in taps], -1)


def _normalised_measures(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    log_ratio = np.log((x + EPSILON) / (y + EPSILON))
    return [
        np.sqrt(((x - y) ** 2).sum(-1)),
        ((x - y) * log_ratio).sum(-1) / 2,
        np.sqrt(np.maximum(x, y) / (x + y + EPSILON)).sum(-1),
        np.minimum(x, y).sum(-1) / (x.sum(-1) * y.sum(-1) + EPSILON),
    ]


def _unit(x: FloatArray, norm: Literal["l2", "l1"]) -> npt.NDArray[np.float64]:
    length = np.linalg.norm(x, ord=2 if norm == "l2" else 1, axis=-1, keepdims=True)
    return np.asarray(x / (length + EPSILON), np.float64)
