"""Weight files: read without executing anything that they hold."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.errors import RecipeError

_INNER = ("state_dict", "model_state_dict", "model", "model_state", "net", "weights", "module", "target_encoder")
"""Names under which training scripts keep the network beside their optimiser; of V-JEPA 2's two, the one it uses."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .npz, or PyTorch file, or of a model folder of transformers, on the CPU.

    A checkpoint's network is found beside its optimiser ("state_dict", "model" …).

    Raises:
        RecipeError: the file is missing, damaged, holds no tensors, or would have to execute code to be read.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
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


def read_config(path: str | Path) -> dict[str, Any]:
    """What the configuration of transformers beside the weights tells of a network: "heads", "size".

    Args:
        path: a folder, or a file of weights; without a config.json there nothing is told.

    Raises:
        RecipeError: the configuration is damaged.
    """
    config = _json(path, "config.json")
    config = config.get("vision_config", config)
    side = config.get("image_size", config.get("crop_size"))
    found: dict[str, Any] = {}
    if "num_attention_heads" in config:
        found["heads"] = int(config["num_attention_heads"])
    if side is not None:
        height, width = (side, side) if isinstance(side, int) else side
        found["size"] = (int(config.get("num_frames", config.get("frames_per_clip", 1))), int(height), int(width))
    return found


def read_normalisation(path: str | Path) -> dict[str, Any]:
    """Mean and deviation of the processor beside the weights of transformers, where there is one: "mean", "std"."""
    names = ("preprocessor_config.json", "video_preprocessor_config.json")
    found = next((content for name in names if (content := _json(path, name))), {})
    told = {"mean": found.get("image_mean"), "std": found.get("image_std")}
    return {name: tuple(values) for name, values in told.items() if values}


def _json(path: str | Path, name: str) -> dict[str, Any]:
    file = (Path(path) if Path(path).is_dir() else Path(path).parent) / name
    if not file.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{file} is no JSON: {error}. Mend it or take it away") from error
    return content


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


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """All safetensors of a folder: one file, or the several that large models are cut into."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise RecipeError(
            f"{folder} holds no model.safetensors. Name a file of weights, or save the model with save_pretrained"
        )
    return {key: value for file in files for key, value in read_weights(file).items()}


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: Mapping[str, Any] = load_file(path)
        return tensors
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    # Training scripts keep their arguments beside the weights: a bag of plain values, which executes nothing.
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not names and tensors.")
    return content
