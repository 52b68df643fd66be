"""A step of RSPNet: two raw clips, three speed views, C3D with two heads, its moving average, a queue of keys."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from peers.step import Batch, PlainStep, Queue
from peers.trunks import c3d
from peers.views import Drawn, all_drawn, colour_map, coloured, look

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SHAPE = (3, 1, 1, 1)
VIEWS = ("query", "positive", "negative")


class TwoHeads(nn.Module):
    """Trunk and two linear heads of unit length."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.trunk = c3d(width)
        self.appearance, self.motion = nn.Linear(8 * width, dim), nn.Linear(8 * width, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, T, S, S] to two embeddings [B, dim]."""
        pooled = self.trunk(x).mean((2, 3, 4))
        return normalize(self.appearance(pooled), dim=1), normalize(self.motion(pooled), dim=1)


class Peer(PlainStep):
    """Query network, key network, queue."""

    def __init__(self, *, width: int, size: int, dim: int, queue: int, momentum: float) -> None:
        super().__init__()
        self.size, self.momentum = size, momentum
        self.network = TwoHeads(width, dim)
        self.keys = copy.deepcopy(self.network).requires_grad_(False)
        self.queue = Queue(queue, dim)

    @torch.no_grad()
    def prepare(self, read: Batch) -> Batch:
        """Colours are worked out from whole raw clips, and given to the frames that are shown."""
        fast = read["fast"][0]
        count, frames = len(read["query"]), len(fast)
        slow = torch.randperm(count, generator=self.generator) < count // 2
        ready = {name: torch.empty(count, 3, frames, self.size, self.size) for name in VIEWS}
        normal = torch.arange(frames)
        drawn = zip(all_drawn(read, "query_"), all_drawn(read, "key_"), slow.tolist(), strict=True)
        for i, (of_query, of_key, is_slow) in enumerate(drawn):
            own, other = (normal, fast) if is_slow else (fast, normal)
            query, key = self.raw(read["query"][i], of_query), self.raw(read["key"][i], of_key)
            for name, raw, places in (("query", query, own), ("positive", key, own), ("negative", key, other)):
                ready[name][i] = shown(*raw, places)
        return ready

    def raw(self, clip: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor, Tensor]:
        """A raw clip's pixels and the map of its colours."""
        pixels = look(clip, drawn, self.size)
        return pixels, *colour_map(drawn, pixels.mean((1, 2, 3)).numpy(), grey_first=True, per_channel=False)

    def before(self) -> None:
        """The key network moves first."""
        torch._foreach_lerp_(list(self.keys.parameters()), list(self.network.parameters()), 1 - self.momentum)

    def loss(self, ready: Batch) -> Tensor:
        """Two cross-entropies of appearance, one ranking of motion."""
        with torch.no_grad():
            other, other_motion = self.keys(ready["negative"])
            same, same_motion = self.keys(ready["positive"])
        appearance, motion = self.network(ready["query"])
        self.fresh = other
        negatives = appearance @ self.queue.rows.t()
        right = torch.zeros(len(other), dtype=torch.int64)
        positives = ((appearance * key).sum(1, keepdim=True) for key in (same, other))
        told = [cross_entropy(torch.cat([positive, negatives], 1) / 0.07, right) for positive in positives]
        ranking = (2 - (motion * (same_motion - other_motion)).sum(1) / 0.07).relu().mean()
        return told[0] + told[1] + ranking

    def after(self) -> None:
        """Keys at the other speed enter the queue."""
        self.queue.push(self.fresh)


def shown(pixels: Tensor, matrix: Tensor, offset: Tensor, places: Tensor) -> Tensor:
    """Some frames of a raw clip, coloured and normalised."""
    clip = coloured(pixels.index_select(1, places), matrix, offset)
    return clip.sub_(MEAN.view(SHAPE)).div_(STD.view(SHAPE))
