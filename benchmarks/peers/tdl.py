"""A step of TDL: three views, a frame mixed into the anchor, C3D, its moving average, a queue and an own negative."""

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
CLIPS = ("anchor", "positive", "negative")


class Embedding(nn.Module):
    """Trunk and a linear head of unit length."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.trunk = c3d(width)
        self.head = nn.Linear(8 * width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, T, S, S] to [B, dim]."""
        return normalize(self.head(self.trunk(x).mean((2, 3, 4))), dim=1)


class Peer(PlainStep):
    """Query network, key network, queue."""

    def __init__(self, *, width: int, size: int, dim: int, queue: int, momentum: float) -> None:
        super().__init__()
        self.size, self.momentum = size, momentum
        self.network = Embedding(width, dim)
        self.keys = copy.deepcopy(self.network).requires_grad_(False)
        self.queue = Queue(queue, dim)

    @torch.no_grad()
    def prepare(self, read: Batch) -> Batch:
        """Three views; one frame mixed into the anchor."""
        count, frames = len(read["frame"]), read["anchor"].shape[2]
        ready = {name: torch.empty(count, 3, frames, self.size, self.size) for name in CLIPS}
        for name, views in ready.items():
            for i, drawn in enumerate(all_drawn(read, f"{name}_")):
                views[i] = self.view(read[name][i], drawn)
        mixed = zip(ready["anchor"], read["frame"].tolist(), read["amount"].tolist(), strict=True)
        for clip, frame, amount in mixed:
            # Normalising keeps mixtures: the weights of both add up to 1.
            clip.lerp_(clip[:, frame, None].clone(), amount)
        return {**ready, "distinct": read["distinct"]}

    def view(self, clip: Tensor, drawn: Drawn) -> Tensor:
        """One view, normalised."""
        pixels = look(clip, drawn, self.size)
        maps = colour_map(drawn, pixels.mean((1, 2, 3)).numpy(), grey_first=True, per_channel=False)
        return coloured(pixels, *maps).sub_(MEAN.view(SHAPE)).div_(STD.view(SHAPE))

    def loss(self, ready: Batch) -> Tensor:
        """Cross-entropy of the positive among queue and own negative."""
        query = self.network(ready["anchor"])
        negative = self.network(ready["negative"])
        with torch.no_grad():
            self.fresh = self.keys(ready["positive"])
        own = (query * negative).sum(1, keepdim=True).masked_fill(~ready["distinct"][:, None], -torch.inf)
        positive = (query * self.fresh).sum(1, keepdim=True)
        logits = torch.cat([positive, query @ self.queue.rows.t(), own], 1) / 0.07
        return cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))

    def after(self) -> None:
        """Keys enter the queue; the key network moves last."""
        self.queue.push(self.fresh)
        torch._foreach_lerp_(list(self.keys.parameters()), list(self.network.parameters()), 1 - self.momentum)
