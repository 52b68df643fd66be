"""When each sample is due: epochs, steps, and the share of this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kinema.data.index import Index
from kinema.data.loading import Request, cut, epoch_order
from kinema.data.sample import Clock
from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.training.recipe import Recipe


@dataclass(frozen=True)
class Timeline:
    """The whole run on one axis.

    Attributes:
        method, index, recipe: what decides the order.
        epoch_steps: steps of each epoch; a curriculum's early epochs may be shorter.
    """

    method: Method
    index: Index
    recipe: Recipe
    epoch_steps: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(self.epoch_steps)

    @property
    def steps_per_epoch(self) -> float:
        """Mean steps of an epoch, the unit of schedules."""
        return self.steps / len(self.epoch_steps)

    def clock(self, step: int) -> Clock:
        """The clock at global `step`."""
        epoch = int(np.searchsorted(np.cumsum(self.epoch_steps), step, side="right"))
        return Clock(min(epoch, len(self.epoch_steps) - 1), step, step / self.steps)

    def requests(self, start: int, rank: int, world: int) -> Iterator[Request]:
        """The micro-batches of process `rank` from global step `start` to the end, in order.

        One step's batch is cut into `accumulate` parts, and each part into the shares of the processes, so that the
        same samples are in the same step whatever the number of processes.
        """
        share = share_of_batch(self.recipe, world)
        step = 0
        for epoch, count in enumerate(self.epoch_steps):
            if step + count <= start:
                step += count
                continue
            for samples, repeats in self._batches(epoch):
                if step >= start:
                    clock = Clock(epoch, step, step / self.steps)
                    for part in range(self.recipe.accumulate):
                        mine = slice((part * world + rank) * share, (part * world + rank + 1) * share)
                        yield Request(clock, samples[mine], repeats[mine], part)
                step += 1

    def _batches(self, epoch: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return cut(_order(self.method, self.index, epoch, self.recipe.seed), self.recipe.batch)


def build_timeline(method: Method, index: Index, recipe: Recipe) -> Timeline:
    """Lay out the run. Methods with an order of their own may have epochs of unequal length."""
    own = [method.order(index, epoch, recipe.seed) for epoch in range(recipe.epochs)]
    sizes = [len(index) if order is None else len(order) for order in own]
    if not all(sizes):
        raise RecipeError(f"epoch {sizes.index(0)} has no samples: the method's order is empty")
    return Timeline(method, index, recipe, tuple(max(1, size // recipe.batch) for size in sizes))


def share_of_batch(recipe: Recipe, world: int) -> int:
    """Samples of one micro-batch of one process.

    Raises:
        RecipeError: the batch cannot be cut evenly.
    """
    parts = world * recipe.accumulate
    if recipe.batch % parts:
        nearest = max(parts, round(recipe.batch / parts) * parts)
        raise RecipeError(
            f"batch={recipe.batch} cannot be cut into {world} processes x {recipe.accumulate} micro-batches: "
            f"use batch={nearest}"
        )
    return recipe.batch // parts


def _order(method: Method, index: Index, epoch: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return epoch_order(method.order(index, epoch, seed), len(index), epoch, seed)
