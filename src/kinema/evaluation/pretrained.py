"""Frozen networks of other people as baselines: any image or video model that Hugging Face transformers can load."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from kinema.errors import MissingExtra, RecipeError, suggest
from kinema.modules.encoder import Encoder, EncoderInput, Features

PREFIX = "hf:"
STRIDE = 4
"""Of video models, whose configurations do not state one: VideoMAE on Kinetics has 4."""
_CHANGEABLE = {"frames": int, "stride": int, "rate": float}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class PretrainedEncoder(Encoder):
    """A transformers model as an encoder: its last hidden states are the map, their mean the clip's vector.

    Args:
        model: called with `pixel_values` (or `pixel_values_videos`), [B, 3, H, W] of images, [B, T, 3, H, W] of clips;
            returns an object with `last_hidden_state` [B, N, D], or [B, D, H', W'] of ConvNets.
        input: what to feed.
        feature_dim: D.
    """

    def __init__(self, model: nn.Module, input: EncoderInput, feature_dim: int) -> None:
        super().__init__()
        self.model, self.input, self.feature_dim = model, input, feature_dim
        accepted = inspect.signature(model.forward).parameters
        self.argument = "pixel_values_videos" if "pixel_values_videos" in accepted else "pixel_values"

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Normalised clips [B, 3, T, H, W] or images [B, 3, H, W] to pooled [B, D] and tokens [B, N, D]."""
        pixels = x.transpose(1, 2) if x.ndim == 5 else x
        tokens: Tensor = self.model(**{self.argument: pixels}).last_hidden_state
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        return Features(tokens.mean(1), tokens)


def load_pretrained(named: str) -> Encoder:
    """The encoder that "hf:PATH" names: a folder with weights, or a model that lies in the local cache.

    Nothing is downloaded and nothing is executed: weights must be safetensors. "hf:PATH@stride=2" changes frames,
    stride or rate of what the model is shown.

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
        model = transformers.AutoModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
        processor = transformers.AutoImageProcessor.from_pretrained(path, local_files_only=True).to_dict()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise RecipeError(f"{named}: no image or video model with safetensors weights here: {reason}") from error
    encoder = adapt(model, processor)
    if options:
        encoder.input = replace(encoder.input, **options)
    return encoder.eval()


def adapt(model: Any, processor: Mapping[str, Any]) -> Encoder:
    """A transformers model, with its processor's settings, as an encoder. Of models with two towers, the vision one.

    Raises:
        RecipeError: its configuration states no size of pictures.
    """
    config = model.config
    if hasattr(model, "vision_model"):
        model, config = model.vision_model, getattr(config, "vision_config", config)
    side = next((getattr(config, name) for name in ("image_size", "crop_size") if hasattr(config, name)), None)
    if side is None:
        raise RecipeError(f"{type(model).__name__} is no image or video model: its configuration states no image_size")
    height, width = (side, side) if isinstance(side, int) else tuple(side)
    frames = next((getattr(config, name) for name in ("num_frames", "frames_per_clip") if hasattr(config, name)), None)
    dim = config.hidden_size if hasattr(config, "hidden_size") else config.hidden_sizes[-1]
    network = EncoderInput(
        modality="image" if frames is None else "video",
        frames=frames or 1,
        stride=1 if frames is None else STRIDE,
        # As 128 x 171 is to 112 x 112: a frame of common shape, a little larger than the crop.
        resize=(round(height * 8 / 7), round(width * 32 / 21)),
        size=(height, width),
        mean=tuple(processor.get("image_mean") or _MEAN),
        std=tuple(processor.get("image_std") or _STD),
    )
    return PretrainedEncoder(model, network, dim)


def _options(named: str, changes: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for change in changes.split(",") if changes else ():
        key, _, value = change.partition("=")
        if key not in _CHANGEABLE:
            raise RecipeError(f"{named}: a pre-trained model has no option '{key}'.{suggest(key, _CHANGEABLE)}")
        try:
            found[key] = _CHANGEABLE[key](value)
        except ValueError as error:
            raise RecipeError(f"{named}: {key}={value} is no number") from error
    return found
