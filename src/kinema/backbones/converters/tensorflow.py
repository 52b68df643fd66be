"""Variables of TensorFlow's layers as tensors of PyTorch's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kinema.backbones.converters.layout import Weights
from kinema.errors import RecipeError

_LEAVES = {"weights": "weight", "biases": "bias", "kernel": "weight"}


def is_tensorflow(keys: Mapping[str, object]) -> bool:
    """Whether the keys are scoped variable names such as C3D/conv_1/weights:0."""
    return any(re.search(r"/(weights|biases|kernel)(:0)?$", key) for key in keys)


def from_tensorflow(variables: Weights) -> dict[str, Tensor]:
    """Dotted names ("C3D.conv_1.weight") and PyTorch's axes.

    Convolutions come as (time, height, width, in, out) and leave as (out, in, time, height, width); matrices come as
    (in, out) and leave as (out, in).
    """
    tensors = {}
    for key, value in variables.items():
        parts = [_LEAVES.get(part, part) for part in key.removesuffix(":0").split("/")]
        if value.ndim == 5:
            value = value.permute(4, 3, 0, 1, 2)
        elif value.ndim == 2:
            value = value.T
        tensors[".".join(parts)] = value.contiguous()
    return tensors


def c3d_light_head(variables: Mapping[str, Any]) -> dict[str, Tensor]:
    """The fully connected layers of the light C3D, as `kinema.modules.heads.C3DLightHead` loads them.

    TensorFlow flattens the last map in the order time, height, width, channel; that head does too, so its first matrix
    is only transposed.

    Args:
        variables: C3D/fc6/weight …, with or without their scope.

    Raises:
        RecipeError: a layer is missing.
    """
    tensors = from_tensorflow({key: torch.as_tensor(value) for key, value in variables.items()})
    head = {}
    for layer in ("fc6", "fc7", "fc8"):
        for leaf in ("weight", "bias"):
            name = f"{layer}.{leaf}"
            found = [key for key in tensors if key == name or key.endswith(f".{name}")]
            if not found:
                raise RecipeError(f"the variables hold no {name}: these are {', '.join(list(variables)[:4])} …")
            head[name] = tensors[found[0]]
    return head
