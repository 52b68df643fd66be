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
        epoch_steps: steps of each epoch; a curriculum's early epochs may be shorter, and `steps` may cut the last.
        steps_per_epoch: mean steps of a whole epoch, the unit of schedules.
    """

    method: Method
    index: Index
    recipe: Recipe
    epoch_steps: tuple[int, ...]
    steps_per_epoch: float

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(self.epoch_steps)

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
            for samples, repeats in self._batches(epoch)[:count]:
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
    whole: list[int] = []
    while not _complete(whole, recipe):
        order = method.order(index, len(whole), recipe.seed)
        size = len(index) if order is None else len(order)
        if not size:
            raise RecipeError(f"epoch {len(whole)} has no samples: the method's order is empty")
        whole.append(max(1, size // recipe.batch))
    used = list(whole)
    if recipe.steps is not None:
        used[-1] -= sum(whole) - recipe.steps
    return Timeline(method, index, recipe, tuple(used), sum(whole) / len(whole))


def _complete(epochs: list[int], recipe: Recipe) -> bool:
    """Whether these whole epochs hold the run."""
    return len(epochs) == recipe.epochs if recipe.steps is None else sum(epochs) >= recipe.steps


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
