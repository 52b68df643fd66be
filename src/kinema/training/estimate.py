"""What a run will need, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kinema.methods.base import Method
from kinema.training.recipe import Recipe

STATE_COPIES = {"sgd": 1, "adam": 2, "adamw": 2}
"""Tensors of a weight's size that an optimiser keeps for it."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes in one process.

    Attributes:
        weights: parameters, their gradients, optimiser states and the moving average.
        activations: outputs of all layers kept for the backward pass of one micro-batch.
    """

    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Sum in bytes."""
        return self.weights + self.activations


def estimate_memory(method: Method, recipe: Recipe, world: int = 1) -> MemoryEstimate:
    """Estimate the training memory of a method's visual encoder from its shapes alone; nothing is computed.

    Activations are the outputs of all leaf layers for one micro-batch; allocator overhead, workers and the read-ahead
    of batches come on top.
    """
    parameters = sum(p.numel() * p.element_size() for p in method.parameters())
    copies = 2 + STATE_COPIES[recipe.optimiser.name] + bool(recipe.ema)
    clips = recipe.batch // (world * recipe.accumulate)
    size = 4 if recipe.precision == "fp32" else 2
    return MemoryEstimate(parameters * copies, _activation_values(method) * clips * size)


def _activation_values(method: Method) -> int:
    """Values that the leaf layers of that encoder put out for one clip."""
    import copy

    products = method.products()
    encoder = products.encoders.get(products.visual)
    if encoder is None:
        return 0
    with torch.device("meta"):
        shadow = copy.deepcopy(encoder).to("meta")
    counted = 0

    def count(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal counted
        counted += output.numel() if isinstance(output, Tensor) else 0

    for module in shadow.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    wanted = encoder.input
    time = () if wanted.modality == "image" else (wanted.frames,)
    shadow.eval()(torch.empty(1, 3, *time, *wanted.size, device="meta"))
    return counted
