"""What peers share: the step (prepare, forward, backward, SGD), and a queue of keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]


class PlainStep(nn.Module):
    """A network with its loss and its optimiser.

    `load` takes the tensors of another network's state in the order in which they stand; `start` makes the optimiser.
    """

    optimiser: torch.optim.Optimizer

    def load(self, tensors: Sequence[Tensor]) -> None:
        """Copy weights and buffers, in the order of `state_dict`; their shapes must agree."""
        own = list(self.state_dict().values())
        assert [value.shape for value in own] == [tensor.shape for tensor in tensors], "networks differ"
        for value, tensor in zip(own, tensors, strict=True):
            value.copy_(tensor)

    def start(self, lr: float, momentum: float, weight_decay: float) -> None:
        """Make the optimiser."""
        self.optimiser = torch.optim.SGD(
            self.groups(lr), lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
        )

    def groups(self, lr: float) -> list[dict]:
        """Parameters and their learning rates."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    @torch.no_grad()
    def prepare(self, read: Batch) -> Batch:
        """From what was read and drawn to what the network is shown."""
        raise NotImplementedError

    def loss(self, ready: Batch) -> Tensor:
        """The loss of a prepared batch."""
        raise NotImplementedError

    def before(self) -> None:
        """What comes before the loss of a step."""

    def after(self) -> None:
        """What comes after the optimiser's step."""

    def step(self, ready: Batch) -> Tensor:
        """One step on a prepared batch; its loss."""
        self.before()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(ready)
        loss.backward()
        self.optimiser.step()
        self.after()
        return loss.detach()


class Queue(nn.Module):
    """The last keys, oldest overwritten first."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.empty(size, dim))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def push(self, keys: Tensor) -> None:
        """Store [B, dim], with B at most the size."""
        count, size, place = len(keys), len(self.rows), int(self.position)
        first = min(count, size - place)
        self.rows[place : place + first] = keys[:first]
        self.rows[: count - first] = keys[first:]
        self.position.fill_((place + count) % size)
