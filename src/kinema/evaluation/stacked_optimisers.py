"""SGD, Adam and LARS for stacked parameters, each with a learning rate and a weight decay of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM, BETAS, EPSILON, TRUST = 0.9, (0.9, 0.999), 1e-8, 1e-3


class StackedOptimiser:
    """Moves parameters [P, ...] in place; entry p of each moves as under its own optimiser.

    "sgd" has momentum 0.9. "adam" is Kingma and Ba's, with the decay added to the gradient. "lars" is SGD whose step
    for each weight matrix is rescaled by 0.001 |w| / |g| (You et al., 2017); biases are neither rescaled nor decayed.

    Args:
        name: "sgd", "adam" or "lars".
        parameters: each [P, ...].
        rates: [P].
        decays: [P].
    """

    def __init__(self, name: str, parameters: Sequence[Tensor], rates: Tensor, decays: Tensor) -> None:
        self.name, self.parameters, self.rates, self.decays = name, parameters, rates, decays
        self.first = [torch.zeros_like(value) for value in parameters]
        self.second = [torch.zeros_like(value) for value in parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], factor: float) -> None:
        """One step along `gradients` at `factor` times the rates."""
        self.steps += 1
        for number, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            shape = (-1, *(1,) * (parameter.ndim - 1))
            decay, rate = self.decays.view(shape), factor * self.rates.view(shape)
            if self.name == "lars":
                gradient = _rescaled(parameter, gradient, decay)
            else:
                gradient = gradient + decay * parameter
            parameter -= rate * (self._adam(number, gradient) if self.name == "adam" else self._sgd(number, gradient))

    def _sgd(self, number: int, gradient: Tensor) -> Tensor:
        return self.first[number].mul_(MOMENTUM).add_(gradient)

    def _adam(self, number: int, gradient: Tensor) -> Tensor:
        mean = self.first[number].lerp_(gradient, 1 - BETAS[0])
        square = self.second[number].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        spread = (square / (1 - BETAS[1] ** self.steps)).sqrt() + EPSILON
        return mean / (1 - BETAS[0] ** self.steps) / spread


def _rescaled(parameter: Tensor, gradient: Tensor, decay: Tensor) -> Tensor:
    """The gradient of one layer, scaled to 0.001 of the length of its weights."""
    if parameter.ndim < 3:
        return gradient
    gradient = gradient + decay * parameter
    lengths = [value.flatten(1).norm(dim=1) for value in (parameter, gradient)]
    usable = (lengths[0] > 0) & (lengths[1] > 0)
    ratio = torch.where(usable, TRUST * lengths[0] / lengths[1].clamp_min(torch.finfo(gradient.dtype).tiny), 1.0)
    return gradient * ratio.view(-1, 1, 1)
