"""The contract of a method: how samples are planned, prepared and turned into losses, and what training yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.data.index import Index, by_duration
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Sample
from kinema.modules.encoder import EncoderInput, Products


class Losses(TypedDict):
    """What `Method.losses` returns.

    loss: scalar, the mean over `weight` items. weight: scalar number of items averaged (default: the batch size), so
    that many processes and accumulated micro-batches equal one big batch. parts: named scalars to log, detached or not.
    """

    loss: Tensor
    weight: NotRequired[Tensor]
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One optimiser's share of a step: the parameters whose names start with one of `params`, stepped `repeat` times.

    A method with one phase has one optimiser; a GAN has two phases; a side estimator is a third.
    """

    name: str = "main"
    params: tuple[str, ...] = ("",)
    repeat: int = 1


@dataclass(frozen=True)
class ParamGroup:
    """Options of the parameters that `Method.param_group` sends here; multipliers of the recipe's values."""

    lr: float = 1.0
    weight_decay: float = 1.0


class Picture(NamedTuple):
    """One explanatory picture: `frames` is uint8 RGB [T, H, W, 3] and plays when T > 1; `rate` in frames per second."""

    title: str
    caption: str
    frames: npt.NDArray[np.uint8]
    rate: float = 8.0


class Method(nn.Module):
    """Base of every method. Most write only `plan`, `prepare`, `losses` and `products`.

    Attributes:
        columns: manifest columns that must exist.
        optional: manifest columns that are used where they exist.
        phases: one per optimiser.
        prepare_on_device: True when `prepare` needs the network or the device (frozen parts); otherwise a CPU run
            prepares in the workers.
    """

    columns: ClassVar[tuple[str, ...]] = ("path",)
    optional: ClassVar[tuple[str, ...]] = ()
    phases: ClassVar[tuple[Phase, ...]] = (Phase(),)
    prepare_on_device: ClassVar[bool] = False
    input: EncoderInput

    def index(self, manifest: Manifest) -> Index:
        """The samples of one epoch. Default: windows of one clip's length, in proportion to duration."""
        return by_duration(manifest, frames=(self.input.frames - 1) * self.input.stride + 1, rate=self.input.rate)

    def setup(self, index: Index, *, folder: Path, workers: int) -> None:
        """Called once before training, for what needs a pass over the data (curriculum scores) or published weights.

        What it computes may be kept in `folder`, so that a resumed run finds it there.
        """

    def order(self, index: Index, epoch: int, seed: int) -> npt.NDArray[np.int64] | None:
        """Sample numbers of one epoch, in order. None: all of them, shuffled by (seed, epoch)."""
        return None

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Which frames to read for sample `i`, and the drawn numbers. A pure function of its arguments."""
        raise NotImplementedError

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Apply the drawn numbers, batched: geometry, then targets, then colour, then frozen parts."""
        return batch

    def before_step(self, step: int) -> None:
        """Called before the losses of a step (momentum encoders that move before the keys)."""

    def after_step(self, step: int) -> None:
        """Called after the optimiser step (queues, momentum encoders that move last)."""

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """The loss of one phase on a prepared batch."""
        raise NotImplementedError

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """The multipliers of learning rate and weight decay for one parameter."""
        return ParamGroup()

    def pictures(self, batch: Batch) -> list[Picture]:
        """Pictures that explain to a person what the network is asked, from a batch as read (before `prepare`)."""
        return []

    def answers(self, batch: Batch) -> list[Picture]:
        """Pictures of what the network answers now, from a batch as read; asked in eval mode whenever it is looked at.

        The batch lies on the network's device; every process but the first is not asked, so nothing may be exchanged.
        """
        return []

    def products(self) -> Products:
        """The encoders, predictors and generators that this method has trained (shared weights, not copies)."""
        raise NotImplementedError


def batch_size(batch: Batch) -> int:
    """Number of samples in a batch: the length of its first entry."""
    first = next(iter(batch.values()))
    return len(first if isinstance(first, Tensor) else first.lengths)


def parameter_names(method: Method, phase: Phase) -> Sequence[str]:
    """Names of the trainable parameters that belong to `phase`, in definition order."""
    return [name for name, p in method.named_parameters() if p.requires_grad and name.startswith(phase.params)]
