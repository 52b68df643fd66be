"""Classification: nearest-neighbour votes, accuracy, confusion, and the two ways of joining the views of one video."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.metrics.retrieval import Matrix, Neighbours, nearest_neighbours


def knn_scores(
    train: Matrix,
    labels: npt.ArrayLike | Tensor,
    queries: Matrix,
    *,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
    exclude_self: bool = False,
    chunk: int = 256,
) -> npt.NDArray[np.float32]:
    """Weighted nearest-neighbour votes, the rule of DINO (Caron et al., 2021, section 4.1).

    With s the cosine similarity, each of the `k` most similar training points votes for its class with exp(s / 0.07).
    Equal similarities are taken in the order of the training set.

    Args:
        train: float [N, D]. Compared where it lies, so that tensors on an accelerator stay there.
        labels: int [N], 0 to `classes` - 1.
        queries: float [M, D].
        classes: number of columns of the result.
        k: neighbours; at most N of them count.
        temperature: tau of the votes.
        exclude_self: for `queries` that are `train`: a point does not vote on itself.
        chunk: queries compared at a time; bounds the memory to chunk x N.

    Returns:
        float32 [M, classes], the votes of each class; rows are not normalised.
    """
    k = min(k, len(train) - exclude_self)
    if k < 1:
        raise ValueError(f"nearest neighbours need at least one training point and k >= 1, got {len(train)} and {k}")
    found = nearest_neighbours(queries, train, k, exclude_self=exclude_self, chunk=chunk)
    return neighbour_votes(found, labels, classes=classes, temperature=temperature)


def neighbour_votes(
    neighbours: Neighbours, labels: npt.ArrayLike | Tensor, *, classes: int, temperature: float = 0.07
) -> npt.NDArray[np.float32]:
    """The votes of `knn_scores` from neighbours that are known already; `labels` are those of the training set."""
    similarity, position = neighbours
    voted = torch.as_tensor(labels, dtype=torch.int64, device=position.device)[position]
    empty = torch.zeros(len(position), classes, device=position.device)
    return empty.scatter_add(1, voted, (similarity / temperature).exp()).cpu().numpy()


def ranks_of(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """1-based rank of the true class among the scores [N, C] of each sample; ties go to the lower class index.

    A sample with a score that is not a number has the last rank: a classifier that broke down is never right.
    """
    table, truth = np.asarray(scores), np.asarray(labels, np.int64)
    own = table[np.arange(len(truth)), truth][:, None]
    before = np.arange(table.shape[1]) < truth[:, None]
    ranks = 1 + ((table > own) | ((table == own) & before)).sum(1)
    return np.asarray(np.where(np.isnan(table).any(1), table.shape[1], ranks), np.int64)


def topk_accuracy(scores: npt.ArrayLike, labels: npt.ArrayLike, k: int = 1) -> float:
    """Percent of samples whose true class is among the `k` highest of the scores [N, C]."""
    return float(100.0 * (ranks_of(scores, labels) <= k).mean())


def roc_auc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Area under the ROC curve in percent: how often a positive [N] outscores a negative; ties count half."""
    from scipy.stats import rankdata

    is_positive = np.asarray(positive, bool)
    found, ranks = int(is_positive.sum()), rankdata(np.asarray(scores, np.float64))
    if found in (0, len(ranks)):
        raise ValueError("a ROC curve needs positives and negatives")
    wins = ranks[is_positive].sum() - found * (found + 1) / 2
    return float(100.0 * wins / (found * (len(ranks) - found)))


def confusion_matrix(predicted: npt.ArrayLike, labels: npt.ArrayLike, *, classes: int) -> npt.NDArray[np.int64]:
    """Counts [classes, classes]: row = true class, column = predicted class."""
    cell = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Softmax over the last axis."""
    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def mean_logits(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Views joined as VCOP and PRP do: logits [N, views, C] to their mean [N, C]."""
    return np.asarray(np.asarray(logits, np.float64).mean(1))


def mean_softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Views joined as VideoMAE, CoCLR and V-JEPA do: logits [N, views, C] to the mean of their softmax [N, C]."""
    return np.asarray(softmax(logits).mean(1))
