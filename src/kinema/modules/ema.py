"""Momentum copies of networks: teachers, key encoders, averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn


class EMA(nn.Module):
    """An exponential moving average of a module: theta_ema <- m theta_ema + (1 - m) theta, after or before each step.

    The copy starts equal to the source, takes no gradient, and is called like it. Its state is in `state_dict()` under
    `module.`; the average keeps no counter, so a momentum that changes is a function of the training step and a resumed
    run needs nothing else.

    Args:
        source: the module to copy; later updates must pass a module of the same parameters.
        momentum: m in [0, 1], or a function of the step (see `cosine_momentum`).
        buffers: "copy" takes the source's buffers at each update (averaged weights for evaluation); "own" leaves them
            to the copy's own forward passes (momentum contrast: the key encoder has its own running statistics).
    """

    def __init__(
        self,
        source: nn.Module,
        momentum: float | Callable[[int], float] = 0.999,
        *,
        buffers: Literal["copy", "own"] = "copy",
    ) -> None:
        super().__init__()
        self.momentum, self.buffers_from = momentum, buffers
        self.module = copy.deepcopy(source).requires_grad_(False)

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Move towards `source` by 1 - m(step)."""
        momentum = self.momentum(step) if callable(self.momentum) else self.momentum
        torch._foreach_lerp_(list(self.module.parameters()), list(source.parameters()), 1 - momentum)
        if self.buffers_from == "copy":
            own, new = list(self.module.buffers()), list(source.buffers())
            if own:
                torch._foreach_copy_(own, new)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the averaged module returns."""
        return self.module(*inputs, **options)


def cosine_momentum(start: float, end: float, steps: int) -> Callable[[int], float]:
    """The momentum as a function of the step: half a cosine from `start` at step 0 to `end` at `steps` and after."""

    def momentum(step: int) -> float:
        progress = min(step / steps, 1.0)
        return end - (end - start) * (1 + math.cos(math.pi * progress)) / 2

    return momentum
