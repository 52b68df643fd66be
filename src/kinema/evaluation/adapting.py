"""Models of Hugging Face transformers as encoders: what each family is fed, and where its tokens lie."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from kinema.errors import RecipeError
from kinema.modules.encoder import Encoder, EncoderInput, Features
from kinema.modules.transformer.patches import Grid

STRIDE = 4
"""Of video models, whose configurations do not state one: VideoMAE on Kinetics has 4."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_SPECIAL = 16
"""More tokens than these in front of the patches (class, distillation, registers) no model has."""

Pooling = Literal["mean", "class"]


class Layout(NamedTuple):
    """Where the tokens of a model lie.

    Attributes:
        patch: (frames, height, width) of one token; None: not known.
        place_first: tokens are in the order (height, width, time) instead of (time, height, width).
        frames_apart: every frame of a clip has tokens of its own, class token and all.
    """

    patch: Grid | None
    place_first: bool = False
    frames_apart: bool = False

    def grid(self, pixels: Tensor, tokens: int) -> Grid | None:
        """(time, height, width) of the patches among the tokens of [B, T, 3, H, W] or [B, 3, H, W]."""
        if self.patch is None:
            return None
        frames = 1 if pixels.ndim == 4 or self.frames_apart else pixels.shape[1]
        t, h, w = max(1, frames // self.patch[0]), pixels.shape[-2] // self.patch[1], pixels.shape[-1] // self.patch[2]
        return (t, h, w) if 0 <= tokens - t * h * w <= _SPECIAL else None


class PretrainedEncoder(Encoder):
    """A transformers model as an encoder: its last hidden states are the map, their mean the clip's vector.

    Where the model's configuration tells which token is which patch, the map is [B, D, T', h, w], of patches alone, and
    the vector their mean; else the map is of all tokens, [B, N, D].

    Args:
        model: called with `pixel_values` (or `pixel_values_videos`), [B, 3, H, W] of images, [B, T, 3, H, W] of clips;
            returns an object with `last_hidden_state` [B, N, D], or [B, D, H', W'] of ConvNets.
        input: what to feed.
        feature_dim: D.
        layout: where the tokens lie.
        pool: "mean", or "class" for the first token.
    """

    def __init__(
        self,
        model: nn.Module,
        input: EncoderInput,
        feature_dim: int,
        *,
        layout: Layout = Layout(None),  # noqa: B008 (immutable)
        pool: Pooling = "mean",
    ) -> None:
        super().__init__()
        self.model, self.input, self.feature_dim, self.layout, self.pool = model, input, feature_dim, layout, pool
        self.built = input  # what the model is made for, also where `input` is changed later
        self.accepted = tuple(inspect.signature(model.forward).parameters)
        self.argument = "pixel_values_videos" if "pixel_values_videos" in self.accepted else "pixel_values"
        config: Any = getattr(model, "config", None)
        self.heads = getattr(config, "num_attention_heads", None)

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Normalised clips [B, 3, T, H, W] or images [B, 3, H, W] to pooled [B, D] and the map."""
        pixels = x.transpose(1, 2) if x.ndim == 5 else x
        shown = pixels.flatten(0, 1) if self.layout.frames_apart and x.ndim == 5 else pixels
        tokens = self._tokens(shown, self._asked(pixels))
        if tokens.ndim == 4:
            return Features(tokens.mean((2, 3)), tokens.unsqueeze(2))
        grid = self.layout.grid(pixels, tokens.shape[1])
        if grid is None:
            return Features(tokens[:, 0] if self.pool == "class" else tokens.mean(1), tokens)
        places = self._places(tokens[:, tokens.shape[1] - math.prod(grid) :], grid, len(x))
        return Features(self._vector(tokens, places), places)

    def _tokens(self, pixels: Tensor, options: Mapping[str, Any]) -> Tensor:
        try:
            tokens: Tensor = self.model(**{self.argument: pixels}, **options).last_hidden_state
        except (ValueError, RuntimeError) as error:
            if pixels.shape[-2:] == self.built.size and (pixels.ndim == 4 or pixels.shape[1] == self.built.frames):
                raise
            raise RecipeError(
                f"{type(self.model).__name__} takes no other size than {self.built.size}, nor other clips than of "
                f"{self.built.frames} frames. Where kinema import knows its weights, positions are stretched: {error}"
            ) from error
        return tokens

    def _asked(self, pixels: Tensor) -> dict[str, Any]:
        """What a family must be told so that all tokens come out, in order and without a mask."""
        options: dict[str, Any] = {}
        if "skip_predictor" in self.accepted:  # V-JEPA 2
            options["skip_predictor"] = True
        if "noise" in self.accepted and self.layout.patch is not None:  # image MAE shuffles by noise
            count = math.prod(side // cell for side, cell in zip(pixels.shape[-2:], self.layout.patch[1:], strict=True))
            options["noise"] = torch.arange(count, device=pixels.device, dtype=torch.float32).expand(len(pixels), -1)
        if "interpolate_pos_encoding" in self.accepted and pixels.shape[-2:] != self.built.size:
            options["interpolate_pos_encoding"] = True
        return options

    def _places(self, tokens: Tensor, grid: Grid, batch: int) -> Tensor:
        """Tokens of patches as a map [B, D, T', h, w]."""
        t, h, w = grid
        if self.layout.place_first:
            parts: Tensor = tokens.unflatten(1, (h, w, t)).permute(0, 4, 3, 1, 2)  # type: ignore[no-untyped-call]
        elif self.layout.frames_apart:
            parts = tokens.reshape(batch, -1, h, w, tokens.shape[-1]).permute(0, 4, 1, 2, 3)
        else:
            parts = tokens.unflatten(1, grid).permute(0, 4, 1, 2, 3)  # type: ignore[no-untyped-call]
        return parts

    def _vector(self, tokens: Tensor, places: Tensor) -> Tensor:
        if self.pool == "mean":
            return places.mean((2, 3, 4))
        if tokens.shape[1] == places[0, 0].numel() // (len(tokens) // len(places)):
            raise RecipeError(f"pool=class: {type(self.model).__name__} has no class token")
        return tokens[:, 0].unflatten(0, (len(places), -1)).mean(1)  # type: ignore[no-untyped-call,no-any-return]


def adapt(model: Any, processor: Mapping[str, Any]) -> PretrainedEncoder:
    """A transformers model, with its processor's settings, as an encoder. Of models with two towers, the vision one.

    Raises:
        RecipeError: neither its configuration nor its processor states a size of pictures.
    """
    config = model.config
    if hasattr(model, "vision_model"):
        model, config = model.vision_model, getattr(config, "vision_config", config)
    height, width = _size(model, config, processor)
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0  # image MAE hides three quarters even of what it only looks at
    frames = next((getattr(config, name) for name in ("num_frames", "frames_per_clip") if hasattr(config, name)), None)
    dim = config.hidden_size if hasattr(config, "hidden_size") else config.hidden_sizes[-1]
    network = EncoderInput(
        modality="image" if frames is None else "video",
        frames=frames or 1,
        stride=1 if frames is None else STRIDE,
        resize=resized(height, width),
        size=(height, width),
        mean=tuple(processor.get("image_mean") or _MEAN),
        std=tuple(processor.get("image_std") or _STD),
    )
    return PretrainedEncoder(model, network, dim, layout=_layout(config))


def resized(height: int, width: int) -> tuple[int, int]:
    """As 128 x 171 is to 112 x 112: a frame of common shape, a little larger than the crop."""
    return round(height * 8 / 7), round(width * 32 / 21)


def _size(model: nn.Module, config: Any, processor: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of what the model is shown.

    DINOv2's configurations tell the size of the last stage of training, and ResNets' none: their processors' count.
    """
    crop = processor.get("crop_size") or processor.get("size") or {}
    given = [crop.get("height", crop.get("shortest_edge"))] if isinstance(crop, Mapping) else [crop]
    stated = [getattr(config, name) for name in ("image_size", "crop_size") if getattr(config, name, None) is not None]
    first = given + stated if str(getattr(config, "model_type", "")).startswith("dinov2") else stated + given
    side = next((value for value in first if value is not None), None)
    if side is None:
        raise RecipeError(
            f"{type(model).__name__} is no image or video model: neither its configuration nor its processor states a "
            "size of pictures; name one with @size=224"
        )
    height, width = (side, side) if isinstance(side, int) else tuple(side)
    return int(height), int(width)


def _layout(config: Any) -> Layout:
    """Where the tokens lie, as far as the configuration tells."""
    kind, tubelet = getattr(config, "model_type", ""), getattr(config, "tubelet_size", 1)
    sides = tubelet[1:] if isinstance(tubelet, list | tuple) else getattr(config, "patch_size", None)
    if sides is None:
        return Layout(None)
    height, width = (sides, sides) if isinstance(sides, int) else tuple(sides)
    depths = getattr(config, "depths", None)
    merged = 2 ** (len(depths) - 1) if depths else 1  # Swin joins four neighbours between its stages
    frames = tubelet[0] if isinstance(tubelet, list | tuple) else tubelet
    apart = str(kind).startswith("xclip")
    return Layout((int(frames), height * merged, width * merged), kind == "timesformer", apart)
