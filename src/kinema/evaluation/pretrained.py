"""Frozen networks of other people: any image or video model that Hugging Face transformers can load."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from kinema.errors import MissingExtra, RecipeError, suggest
from kinema.evaluation.adapting import STRIDE, PretrainedEncoder, adapt, resized
from kinema.methods.encoders import FrameEncoder
from kinema.modules.encoder import Encoder
from kinema.randomness import key_entropy

PREFIX = "hf:"
_CHANGEABLE = {"frames": int, "stride": int, "rate": float, "size": int, "pool": str}
_PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")


def load_pretrained(named: str, *, trained: bool = True, seed: int = 0) -> Encoder:
    """The encoder that "hf:PATH" names: a folder with weights, or a model that lies in the local cache.

    Nothing is downloaded and nothing is executed: weights must be safetensors. "hf:PATH@stride=2,size=224" changes what
    the model is shown: frames, stride, rate, size (side of the square crop); pool=class takes the first token for the
    clip's vector. An image model sees single frames; with frames=N it sees N of a clip, one by one.

    Args:
        named: as above.
        trained: False: the same network at first weights, drawn by `seed`.
        seed: see `trained`.

    Raises:
        MissingExtra: transformers is not installed.
        RecipeError: there is no such model here, it is no image or video model, or an option is unknown.
    """
    path, _, changes = named.removeprefix(PREFIX).partition("@")
    options = _options(named, changes)
    try:
        transformers = import_module("transformers")
    except ImportError as error:
        raise MissingExtra("transformers", "hf") from error
    try:
        processor = _processor(transformers, path)
        model = _model(transformers, path) if trained else _untrained(transformers, path, seed)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise RecipeError(f"{named}: no image or video model with safetensors weights here: {reason}") from error
    if "size" in options:
        processor = {**processor, "crop_size": {"height": options["size"]}}
    return _changed(adapt(model, processor), options).eval()


def arm_name(named: str) -> str:
    """hf:folder/model@stride=2 is the arm hf:model@stride=2."""
    path, _, options = named.removeprefix(PREFIX).partition("@")
    return PREFIX + Path(path).name + (f"@{options}" if options else "")


def _model(transformers: Any, path: str) -> Any:
    """The model with its weights; parts that the file does not hold would be random, and measured as if they were not.

    Poolers are let pass: they are behind what is looked at.
    """
    model, report = transformers.AutoModel.from_pretrained(
        path, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    absent = [str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind]]
    absent = [key for key in absent if "pooler" not in key]
    if absent:
        raise ValueError(
            f"its weights lack {len(absent)} tensors of {type(model).__name__} or have them in another shape: "
            f"{', '.join(absent[:3])}; config.json and weights must belong together"
        )
    return model


def _untrained(transformers: Any, path: str, seed: int) -> Any:
    config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_entropy(seed, "init") & 0x7FFF_FFFF_FFFF_FFFF)
        return transformers.AutoModel.from_config(config)


def _processor(transformers: Any, path: str) -> dict[str, Any]:
    """The settings of the model's processor, read and not built: that of V-JEPA 2 needs more packages than it uses."""
    for name in _PROCESSORS:
        found = transformers.utils.cached_file(
            path, name, local_files_only=True, _raise_exceptions_for_missing_entries=False
        )
        if found is not None:
            content: dict[str, Any] = json.loads(Path(found).read_text(encoding="utf-8"))
            inner = (content.get(part) for part in ("image_processor", "video_processor"))
            return next((part for part in inner if part), content)
    raise OSError(f"it has no {_PROCESSORS[0]}, which tells how pictures are normalised; save its processor beside it")


def _changed(encoder: PretrainedEncoder, options: dict[str, Any]) -> Encoder:
    pool = options.pop("pool", "mean")
    if pool not in ("mean", "class"):
        raise RecipeError(f"pool={pool}: there are mean and class")
    encoder.pool = pool
    if "size" in options:
        side = options.pop("size")
        encoder.input = replace(encoder.input, size=(side, side), resize=resized(side, side))
    if encoder.input.modality == "video" or options.get("frames", 1) == 1:
        encoder.input = replace(encoder.input, **options)
        return encoder
    clips = {"stride": STRIDE, **options}
    return FrameEncoder(encoder, replace(encoder.input, modality="video", **clips))


def _options(named: str, changes: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pairs: Iterable[str] = changes.split(",") if changes else ()
    for change in pairs:
        key, _, value = change.partition("=")
        if key not in _CHANGEABLE:
            raise RecipeError(f"{named}: a pre-trained model has no option '{key}'.{suggest(key, _CHANGEABLE)}")
        try:
            found[key] = _CHANGEABLE[key](value)
        except ValueError as error:
            raise RecipeError(f"{named}: {key}={value} is no number") from error
    return found
