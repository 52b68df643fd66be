"""Weight files: read without executing anything that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.errors import RecipeError

_INNER = ("state_dict", "model_state_dict", "model", "model_state", "net", "weights", "module", "target_encoder")
"""Names under which training scripts keep the network beside their optimiser; of V-JEPA 2's two, the one it uses."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .npz, or PyTorch file, on the CPU.

    A checkpoint's network is found beside its optimiser ("state_dict", "model" …).

    Raises:
        RecipeError: the file is missing, damaged, holds no tensors, or would have to execute code to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path}: there is no such file of weights")
    try:
        content = _read(path)
    except Exception as error:  # whatever a damaged or unsafe file makes its reader stumble over
        reason = str(error).partition("\n")[0]
        raise RecipeError(
            f"{path} cannot be read as plain weights: {reason} Save its state dict alone, with torch.save or as "
            "safetensors, where you trust the file."
        ) from error
    return find_tensors(content, str(path))


def find_tensors(content: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The state dict in a checkpoint, numpy arrays as tensors; anything else in it is passed over.

    Raises:
        RecipeError: there is none.
    """
    for name in _INNER:
        if isinstance(content.get(name), Mapping):
            return find_tensors(content[name], source)
    tensors = {key: torch.as_tensor(value) for key, value in content.items() if hasattr(value, "ndim")}
    if not tensors:
        raise RecipeError(f"{source} holds no tensors: its keys are {', '.join(map(str, list(content)[:6]))}")
    return tensors


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: Mapping[str, Any] = load_file(path)
        return tensors
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not names and tensors.")
    return content
