"""A step of TDL: three views, a frame mixed into the anchor, C3D, its moving average, a queue and an own negative."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from peers.step import Batch, PlainStep, Queue
from peers.trunks import c3d
from peers.views import colour_maps, coloured, look

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SHAPE = (1, 3, 1, 1, 1)


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
        ready = {name: self.view(read, name) for name in ("anchor", "positive", "negative")}
        anchor, amount = ready["anchor"], read["amount"].view(-1, 1, 1, 1)
        chosen = anchor[torch.arange(len(anchor)), :, read["frame"]]
        # Normalising keeps mixtures: the weights of both add up to 1.
        anchor.lerp_(chosen[:, :, None], amount[..., None])
        return {**ready, "distinct": read["distinct"]}

    def view(self, read: Batch, name: str) -> Tensor:
        """One view, normalised."""
        pixels = look(read[name], read[f"{name}_box"], read[f"{name}_flip"], self.size, read[f"{name}_angle"])
        drawn = (read[f"{name}_factors"], read[f"{name}_factor_order"], pixels.mean((2, 3, 4)))
        maps = colour_maps(*drawn, grey=None, grey_first=True, per_channel=False)
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
