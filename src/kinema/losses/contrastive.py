"""Contrastive losses: softmax cross-entropies that pick the positive among negatives (InfoNCE)."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


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


class PairContrast(NamedTuple):
    """Scalars: the loss; of the first views' anchors among the second views alone, accuracy and entropy in nats.

    As in `Contrast`, an entry that scores as high as the own one makes the answer wrong.
    """

    loss: Tensor
    accuracy: Tensor
    entropy: Tensor


def in_batch_info_nce(
    first: Tensor,
    second: Tensor,
    *,
    joined: tuple[Tensor, Tensor] | None = None,
    place: int = 0,
    groups: Tensor | None = None,
    same: Literal["exclude", "positive"] = "exclude",
    temperature: float = 0.1,
) -> PairContrast:
    """InfoNCE of two views of each sample with all other views of the batch as negatives (SimCLR, CVRL).

    With embeddings scaled to length 1, an anchor of the first view has the logits [z1 . Z2 | z1 . Z1] / temperature
    without its similarity to itself, and its own second view is right: one positive, 2 G - 2 negatives. Anchors of the
    second view likewise. The loss is the sum, not the mean, of both directions' means over this process's rows. In
    single precision also under autocast.

    Args:
        first: [B, D], of any length above 0.
        second: [B, D], the other view of each.
        joined: both views of all processes' samples, [G, D] each; None: `first` and `second`.
        place: row of `joined` at which this process's own samples begin.
        groups: int64 [G], equal numbers for samples that are no negatives of each other, such as clips of one video;
            None: all are.
        same: what other samples of the own group are: left out ("exclude"), or right answers, too ("positive"), over
            which the loss is a mean.
        temperature: tau.

    Example:
        >>> import torch
        >>> round(float(in_batch_info_nce(torch.ones(2, 4), torch.ones(2, 4)).loss), 4)  # 2 log 3
        2.1972
    """
    with torch.autocast(first.device.type, enabled=False):
        anchors = [normalize(_wide(view), dim=1) for view in (first, second)]
        others = anchors if joined is None else [normalize(_wide(view), dim=1) for view in joined]
        own = place + torch.arange(len(first), device=first.device)
        itself = own[:, None] == torch.arange(len(others[0]), device=first.device)
        across = [anchors[view] @ others[1 - view].t() / temperature for view in (0, 1)]
        within = [anchors[view] @ others[view].t() / temperature for view in (0, 1)]
        related = itself if groups is None else groups[own][:, None] == groups
        if same == "positive":
            right = torch.cat([related, related & ~itself], 1)
            out = torch.cat([torch.zeros_like(itself), itself], 1)
        else:
            right = torch.cat([itself, torch.zeros_like(itself)], 1)
            out = torch.cat([related & ~itself, related], 1)
        logits = [torch.cat(parts, 1).masked_fill(out, -torch.inf) for parts in zip(across, within, strict=True)]
        loss = torch.stack([_mean_of_right(direction, right) for direction in logits]).sum()
    with torch.no_grad():
        share = across[0].log_softmax(1)
        better = (across[0] >= across[0].gather(1, own[:, None])).sum(1)
        return PairContrast(loss, (better == 1).float().mean(), -(share.exp() * share).sum(1).mean())


def nt_xent(first: Tensor, second: Tensor, **options: Any) -> PairContrast:
    """NT-Xent of two views of B samples: over all 2 B rows, the mean of -log(exp(s_pos) / sum_(j != i) exp(s_ij)).

    `in_batch_info_nce`, whose sum of both directions is halved (SimCLR, CrossPoint; CrossVideoMAE).

    Args:
        first: [B, D], of any length above 0.
        second: [B, D].
        options: as of `in_batch_info_nce`.

    Example:
        >>> import torch
        >>> round(float(nt_xent(torch.ones(8, 4), torch.ones(8, 4)).loss), 4)  # log 15
        2.7081
    """
    found = in_batch_info_nce(first, second, **options)
    return found._replace(loss=found.loss / 2)


def _mean_of_right(logits: Tensor, right: Tensor) -> Tensor:
    """-log softmax of the right columns, bool [B, N]: the mean over those of a row, then over rows."""
    found = logits.log_softmax(1).masked_fill(~right, 0.0)
    return -(found.sum(1) / right.sum(1)).mean()


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
