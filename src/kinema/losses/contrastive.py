"""Contrastive losses: softmax cross-entropies that pick the positive among negatives (InfoNCE)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Contrast(NamedTuple):
    """Scalars: mean cross-entropy, and the shares of rows whose positive is the best, or among the best five.

    An entry that scores as high as the positive counts as better, so that equal embeddings are not right by chance.
    """

    loss: Tensor
    top1: Tensor
    top5: Tensor


def queue_logits(
    query: Tensor,
    positive: Tensor,
    queue: Tensor,
    *,
    negatives: Tensor | None = None,
    negatives_valid: Tensor | None = None,
    temperature: float = 0.07,
) -> Tensor:
    """Similarities [q . k+ | q . Q_1 ... q . Q_K | q . n_1 ... q . n_M] / temperature, [B, 1 + K + M].

    In single precision also under autocast.

    Args:
        query: [B, D], of norm 1 as all others.
        positive: [B, D].
        queue: [K, D], shared by all rows; no gradient flows to it.
        negatives: [B, M, D], each row's own; they take part in gradients.
        negatives_valid: bool [B, M], False for negatives to leave out (their logit is minus infinity).
        temperature: tau.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, positive, keys = _wide(query), _wide(positive), _wide(queue.detach())
        parts = [(query * positive).sum(1, keepdim=True), query @ keys.to(query.dtype).t()]
        if negatives is not None:
            own = torch.einsum("bd,bmd->bm", query, _wide(negatives))
            parts.append(own if negatives_valid is None else own.masked_fill(~negatives_valid, -torch.inf))
        return torch.cat(parts, 1) / temperature


def first_is_best(logits: Tensor) -> Contrast:
    """Cross-entropy of logits [B, N] whose column 0 is the right one: -log(exp(l_0) / sum_j exp(l_j)), a batch mean."""
    right = logits[:, :1]
    loss = (logits.logsumexp(1) - right.squeeze(1)).mean()
    with torch.no_grad():
        better = (logits[:, 1:] >= right).sum(1)
        return Contrast(loss, (better < 1).float().mean(), (better < 5).float().mean())


def queue_info_nce(
    query: Tensor,
    positive: Tensor,
    queue: Tensor,
    *,
    negatives: Tensor | None = None,
    negatives_valid: Tensor | None = None,
    temperature: float = 0.07,
) -> Contrast:
    """InfoNCE with a queue of negatives (MoCo), and optionally each row's own: `first_is_best` of `queue_logits`.

    The mean runs over this process's rows. With the same queue in every process, the mean over processes weighted by
    rows equals one process on the joined batch.

    Example:
        >>> import torch
        >>> one = torch.nn.functional.normalize(torch.ones(1, 4), dim=1)
        >>> round(float(queue_info_nce(one, one, -one, temperature=1.0).loss), 4)  # log(1 + exp(-2))
        0.1269
    """
    logits = queue_logits(
        query, positive, queue, negatives=negatives, negatives_valid=negatives_valid, temperature=temperature
    )
    return first_is_best(logits)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
