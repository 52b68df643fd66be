"""Parameters and multiply-accumulates of a network; nothing is computed where module and clip are on "meta"."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def count_parameters(*modules: nn.Module) -> int:
    """Parameters of all `modules` together."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@torch.no_grad()
def count_macs(module: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of all convolutions and linear layers of `module` in a forward pass on `x`.

    Biases, normalisation, pools and activations are not counted. Papers often print this number as "FLOPs"; some print
    twice it.
    """
    macs: list[int] = []

    def hook(part: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        weight = part.weight
        assert isinstance(weight, Tensor)
        macs.append(out.numel() * weight[0].numel())

    counted = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    handles = [part.register_forward_hook(hook) for part in module.modules() if isinstance(part, counted)]
    try:
        module(x)
    finally:
        for handle in handles:
            handle.remove()
    return sum(macs)
