"""Batches for training: keyed, ordered, prefetched, and honest about files that break."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from kinema.data.index import Index
from kinema.data.reading import execute
from kinema.data.sample import Array, Batch, Clock, Sample, collate
from kinema.data.workers import dead_workers_explained
from kinema.errors import VideoError
from kinema.randomness import numpy_generator, torch_generator


class Planner(Protocol):
    """What the loader needs of a method."""

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Which frames to read for sample `i`."""

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Apply the drawn numbers, batched."""


class Request(NamedTuple):
    """One micro-batch: when it is due, and which samples. `repeats` counts earlier uses of a sample in its epoch."""

    clock: Clock
    samples: tuple[int, ...]
    repeats: tuple[int, ...]
    part: int = 0


class Failure(NamedTuple):
    """A sample that could not be read."""

    sample: int
    path: str
    reason: str


@dataclass
class Delivery:
    """What became of a request: the batch (None when no sample survived) and the samples that failed."""

    request: Request
    batch: Batch | None
    failures: list[Failure] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Samples in the batch."""
        return len(self.request.samples) - len(self.failures)


class RequestReader(Dataset[Delivery]):
    """Turns requests into deliveries; runs inside the workers."""

    def __init__(self, planner: Planner, index: Index, seed: int, *, prepare: bool) -> None:
        self.planner, self.index, self.seed, self.prepare = planner, index, seed, prepare

    def __getitem__(self, request: Request) -> Delivery:
        arrays: list[dict[str, Array]] = []
        failures: list[Failure] = []
        for i, repeat in zip(request.samples, request.repeats, strict=True):
            try:
                arrays.append(self._read(i, repeat, request.clock))
            except VideoError as error:
                failures.append(Failure(i, error.path, error.reason))
        if not arrays:
            return Delivery(request, None, failures)
        # What is prepared here is not sent as it was read.
        batch = collate(arrays, shared=not self.prepare and get_worker_info() is not None)
        if self.prepare:
            batch = self.planner.prepare(batch, request_generator(self.seed, request))
        return Delivery(request, batch, failures)

    def _read(self, i: int, repeat: int, clock: Clock) -> dict[str, Array]:
        rng = numpy_generator(self.seed, "sample", clock.epoch, i, repeat)
        sample = self.planner.plan(i, self.index, clock, rng)
        return {**execute(sample, self.index.manifest), "sample": np.array(i)}


def request_generator(seed: int, request: Request, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator handed to `prepare`, a function of (seed, step, first sample of the micro-batch and its use)."""
    return torch_generator(seed, "prepare", request.clock.step, request.samples[0], request.repeats[0], device=device)


def deliver(
    planner: Planner, index: Index, requests: Iterable[Request], *, seed: int, workers: int, prepare: bool = True
) -> Iterator[Delivery]:
    """Deliver `requests` in order, read ahead by `workers` processes (0: in this process).

    `requests` may be endless: it is drawn from only as far as the workers read ahead.

    A file that cannot be read is reported in the delivery and never replaced by another. With `prepare` the planner's
    `prepare` runs where the batch is read.

    Raises:
        KinemaError: a worker was killed, as when memory runs out.
    """
    loader = DataLoader(
        RequestReader(planner, index, seed, prepare=prepare),
        batch_size=None,
        sampler=requests,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
    )
    with dead_workers_explained():
        yield from loader


def epoch_order(chosen: npt.NDArray[np.int64] | None, count: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    """A method's own order, or all `count` samples shuffled by (seed, epoch)."""
    if chosen is not None:
        return chosen
    return numpy_generator(seed, "order", epoch).permutation(count).astype(np.int64)


def cut(order: npt.NDArray[np.int64], batch: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cut one epoch's order into whole batches: (samples, repeats) each.

    `repeats` numbers the uses of a sample within the epoch, so that a second use gets other draws. A rest smaller than
    a batch is left for the next epoch's shuffle; fewer samples than one batch are used again until one batch is full.
    """
    used = np.resize(order, batch) if len(order) < batch else order[: len(order) // batch * batch]
    repeats = _earlier_uses(used)
    cuts = range(0, len(used), batch)
    return [(tuple(used[k : k + batch].tolist()), tuple(repeats[k : k + batch].tolist())) for k in cuts]


def _earlier_uses(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For every position, how often its value stands before it."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    first = np.searchsorted(ranked, ranked, side="left")
    counts = np.empty_like(order)
    counts[order] = np.arange(len(values)) - first
    return counts
