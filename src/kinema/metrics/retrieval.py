"""Nearest-neighbour retrieval by cosine similarity, and hit at k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

Matrix = npt.NDArray[np.floating] | Tensor
NEVER = np.iinfo(np.int64).max


def as_tensor(values: Matrix) -> Tensor:
    """float32 tensor that shares memory where it can; read-only arrays are copied."""
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()
    return torch.as_tensor(values).detach().float()


def similarities(queries: Matrix, gallery: Matrix, *, exclude_self: bool = False, chunk: int = 256) -> Iterator[Tensor]:
    """Cosine similarities [<= chunk, G] of the queries in turn, float32, on the device of the gallery.

    With `exclude_self` (queries and gallery are the same list) the similarity of an item to itself is -infinity.
    """
    known = normalize(as_tensor(gallery), dim=1)
    for start in range(0, len(queries), chunk):
        wanted = normalize(as_tensor(queries[start : start + chunk]).to(known.device), dim=1)
        block = (known @ wanted.T).T.contiguous()  # faster on CPUs than the product the other way round
        if exclude_self:
            block.diagonal(start).fill_(-torch.inf)
        yield block


class Neighbours(NamedTuple):
    """The most similar gallery items of each query, best first: `similarity` float32, `position` int64, both [Q, k]."""

    similarity: Tensor
    position: Tensor


def nearest_neighbours(
    queries: Matrix, gallery: Matrix, k: int, *, exclude_self: bool = False, chunk: int = 256
) -> Neighbours:
    """The `k` nearest by cosine similarity, equal ones in the order of the gallery, on the device of the gallery."""
    found = [top(block, k) for block in similarities(queries, gallery, exclude_self=exclude_self, chunk=chunk)]
    return joined(found)


def joined(parts: Sequence[Neighbours]) -> Neighbours:
    """The neighbours of several lots of queries as one."""
    return Neighbours(*(torch.cat(column) for column in zip(*parts, strict=True)))


def top(similarity: Tensor, k: int) -> Neighbours:
    """The `k` largest of each row [Q, G], best first, equal ones in the order of the columns; all of them if k > G."""
    k = min(k, similarity.shape[1])
    best, index = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    # Where the next one shares the last similarity, topk took any of those that are equal.
    crowded = best[:, k] == best[:, k - 1] if best.shape[1] > k else torch.zeros(len(best), dtype=torch.bool)
    best, index = best[:, :k], index[:, :k]
    if crowded.any():
        best, index = best.clone(), index.clone()
        best[crowded], index[crowded] = (
            part[:, :k] for part in similarity[crowded].sort(dim=1, descending=True, stable=True)
        )
    index, order = index.sort(1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    return Neighbours(best, index.gather(1, order))


def match_ranks(
    similarity: Matrix, query_labels: npt.ArrayLike, gallery_labels: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """1-based rank of the first gallery item with the query's label, for similarities [Q, G].

    Equal similarities rank in the order of the gallery. A query without any partner gets the largest int64; items at
    -infinity are not in the gallery.
    """
    table = as_tensor(similarity)
    wanted = torch.as_tensor(np.asarray(query_labels), device=table.device)
    present = torch.as_tensor(np.asarray(gallery_labels), device=table.device)
    partner = wanted[:, None] == present
    best = table.masked_fill(~partner, -torch.inf).amax(1, keepdim=True)
    first = ((table == best) & partner).int().argmax(1, keepdim=True)
    earlier = torch.arange(table.shape[1], device=table.device) < first
    ranks = 1 + ((table > best) | ((table == best) & earlier)).sum(1)
    return torch.where(best[:, 0].isneginf(), NEVER, ranks).cpu().numpy()


def cosine_match_ranks(
    queries: Matrix,
    gallery: Matrix,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    *,
    exclude_self: bool = False,
    chunk: int = 256,
) -> npt.NDArray[np.int64]:
    """`match_ranks` for features [Q, D] and [G, D] under cosine similarity, `chunk` queries at a time."""
    wanted = np.asarray(query_labels)
    blocks = similarities(queries, gallery, exclude_self=exclude_self, chunk=chunk)
    ranks = [match_ranks(b, wanted[i * chunk : i * chunk + len(b)], gallery_labels) for i, b in enumerate(blocks)]
    return np.concatenate(ranks)


def hit_at_k(ranks: npt.ArrayLike, k: int) -> float:
    """R@k in percent: the share of queries with at least one partner among the `k` nearest (ranks of `match_ranks`)."""
    return float(100.0 * (np.asarray(ranks) <= k).mean())
