"""Compare two implementations of a network without sharing weights.

Fill both networks by the same formula, run the same formula-made clip through both in eval mode, and compare outputs
(1e-4 relative is a good tolerance in float32):

    network = formula_fill(build_backbone("r3d")).eval()
    features = network(formula_clip((1, 3, 16, 112, 112)))

Values depend on a tensor's own shape and flat index k only, never on names or on the order of definition.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

M = TypeVar("M", bound=nn.Module)

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


@torch.no_grad()
def formula_fill(module: M) -> M:
    """Overwrite all parameters and the running statistics of `module` in place, and return it.

    Weights of convolutions and linear layers: sqrt(2 / fan_in) cos(0.7 k + 0.3 sin(0.013 k)), with fan_in the number of
    weights per index of the first axis; their biases: 0.01 sin k. Norm scale: 1 + 0.05 cos k; norm shift: 0.02 sin k;
    running mean 0 and variance 1. Any other parameter: 0.02 sin k.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            parameter.copy_(_values(part, name, parameter))
        if isinstance(part, _NormBase):
            part.reset_running_stats()
    return module


def formula_clip(shape: tuple[int, ...]) -> Tensor:
    """float32 of `shape`: sin(0.05 k) + 0.5 cos(0.0031 k) of the flat index k."""
    k = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)
    return (torch.sin(0.05 * k) + 0.5 * torch.cos(0.0031 * k)).float()


def _values(part: nn.Module, name: str, parameter: Tensor) -> Tensor:
    k = torch.arange(parameter.numel(), dtype=torch.float64, device=parameter.device).view(parameter.shape)
    if isinstance(part, _NORMS):
        return 1 + 0.05 * torch.cos(k) if name == "weight" else 0.02 * torch.sin(k)
    if not isinstance(part, (_ConvNd, nn.Linear)):
        return 0.02 * torch.sin(k)
    if name == "bias":
        return 0.01 * torch.sin(k)
    gain = math.sqrt(2 / parameter[0].numel())
    return gain * torch.cos(0.7 * k + 0.3 * torch.sin(0.013 * k))
