"""Encoders: what a method yields and all that evaluation, embedding, search and export ever see of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kinema.errors import RecipeError


@dataclass(frozen=True)
class EncoderInput:
    """What an encoder wants to be fed.

    Attributes:
        modality: "video" (clips), "image", "audio", "text", "imu" or "sequence" (of embeddings).
        frames: frames of one clip.
        stride: distance of consecutive frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; None keeps each video's own.
        resize: (height, width) to which whole frames are scaled.
        size: (height, width) of the (centre) crop that the network sees.
        mean, std: per channel, in the order of `channels`, for values scaled to [0, `scale`].
        scale: the value that a white pixel has before `mean` is subtracted (1.0, or 255.0 for raw-pixel networks).
        channels: "rgb" or "bgr".

    Raises:
        RecipeError: no frames or pixels, a stride below 1, or a rate that is none.
    """

    modality: str = "video"
    frames: int = 16
    stride: int = 1
    rate: float | None = None
    resize: tuple[int, int] = (128, 171)
    size: tuple[int, int] = (112, 112)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 1.0
    channels: str = "rgb"

    def __post_init__(self) -> None:
        # A stride of 0 or a negative rate would train without a word on clips in which nothing moves.
        for name, value in (("frames", self.frames), ("stride", self.stride)):
            if value < 1:
                raise RecipeError(f"{name}={value}: must be at least 1")
        for name, sides in (("size", self.size), ("resize", self.resize)):
            if min(sides) < 1:
                raise RecipeError(f"{name}={sides}: height and width must be at least 1")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise RecipeError(f"rate={self.rate:g}: frames per second, above 0; null keeps each video's own")

    def normalise(self, clip: Tensor) -> Tensor:
        """uint8 RGB [B, 3, T, H, W] to the float32 that the network expects, same shape."""
        if self.channels == "bgr":
            clip = clip.flip(1)
        shape = (1, 3, *(1,) * (clip.ndim - 2))
        mean = torch.tensor(self.mean, device=clip.device).view(shape)
        std = torch.tensor(self.std, device=clip.device).view(shape)
        factor = self.scale / 255.0
        # Into one new tensor: clips are large, and memory taken anew costs more than the sums.
        scaled = clip.float().mul_(factor) if clip.dtype == torch.uint8 else clip.float() * factor
        return scaled.sub_(mean).div_(std)


def shown(network: EncoderInput, clips: Tensor) -> Tensor:
    """uint8 clips [B, 3, T, h, w] as the network wants them: normalised, and without the time axis for images."""
    return network.normalise(clips.squeeze(2) if network.modality == "image" else clips)


class Features(NamedTuple):
    """What an encoder returns.

    Attributes:
        pooled: [B, D], one vector per clip.
        map: [B, D, T', H', W'] of a ConvNet or [B, N, D] tokens of a transformer, where it has one.
        valid: bool [B, N] for ragged inputs.
        extra: further named tensors, among them the stage taps that were asked for.
    """

    pooled: Tensor
    map: Tensor | None = None
    valid: Tensor | None = None
    extra: Mapping[str, Tensor] = MappingProxyType({})


class Encoder(nn.Module):
    """Base of encoders: `input` says what to feed, `feature_dim` is D, `taps` names the stages to ask for."""

    input: EncoderInput
    feature_dim: int
    taps: tuple[str, ...] = ()

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Normalised input (`self.input.normalise`) to Features; `extra` holds the stage outputs named in `taps`."""
        raise NotImplementedError


def as_tokens(map: Tensor) -> Tensor:
    """The positions of a map: [B, D, T, H, W] to [B, T H W, D]; tokens [B, N, D] as they are."""
    return map.flatten(2).transpose(1, 2) if map.ndim > 3 else map


@dataclass
class Products:
    """What a trained method yields, by name; evaluation takes these and nothing else."""

    encoders: dict[str, Encoder] = field(default_factory=dict)
    predictors: dict[str, nn.Module] = field(default_factory=dict)
    generators: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def visual(self) -> str:
        """Name of the encoder that looks at videos: "video", or "image" where there is only one of single frames."""
        return "image" if "image" in self.encoders and "video" not in self.encoders else "video"

    @property
    def judged(self) -> str:
        """Name of the encoder that is measured: the visual one, or "sequence" where there is none."""
        return "sequence" if "sequence" in self.encoders and self.visual not in self.encoders else self.visual
