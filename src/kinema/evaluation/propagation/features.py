"""Frames to maps of features, one at a time: of encoders of images, of video encoders shown a still, of bare pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pixel_unshuffle

from kinema.errors import RecipeError
from kinema.evaluation.extract import frozen
from kinema.evaluation.reading import clip_frames
from kinema.modules.encoder import Encoder, EncoderInput, Features

Deviations = tuple[float, float, float]
_GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601


class FrameFeatures:
    """Features of single frames under a frozen encoder.

    An encoder of images sees the frame; one of videos a clip in which the frame stands still, whose map is averaged
    over time.

    Args:
        encoder: its map or tap is [B, D, h, w], [B, D, T', h, w], or tokens [B, N, D] in reading order, frame after
            frame, a class token first or none.
        tap: which stage; None or "map" takes the last map.
        std: deviations of the channels in place of the encoder's own.
        batch: frames that go through the encoder at once, those of still clips included.

    Raises:
        RecipeError: the encoder takes neither images nor videos, or has no such stage.
    """

    def __init__(
        self, encoder: Encoder, *, tap: str | None = None, std: Deviations | None = None, batch: int = 4
    ) -> None:
        if encoder.input.modality not in ("video", "image"):
            raise RecipeError(
                f"an encoder of '{encoder.input.modality}' has no map of a frame: labels cannot follow it"
            )
        if tap not in (None, "map", *encoder.taps):
            raise RecipeError(f"the encoder has no tap '{tap}'; it has: {', '.join(encoder.taps) or 'none'}, map")
        self.encoder, self.tap = encoder, None if tap == "map" else tap
        self.input: EncoderInput = encoder.input if std is None else replace(encoder.input, std=std)
        self.together = max(1, batch // clip_frames(self.input))

    def __call__(self, frames: Tensor) -> Tensor:
        """uint8 RGB [B, 3, H, W] to float32 maps [B, D, h, w].

        Raises:
            RecipeError: the encoder yields no map for frames of this size.
        """
        return torch.cat([self._maps(some) for some in torch.split(frames, self.together)])

    def _maps(self, frames: Tensor) -> Tensor:
        clips = self.input.normalise(frames)
        if self.input.modality == "video":
            clips = clips[:, :, None].expand(-1, -1, self.input.frames, -1, -1)
        with frozen(self.encoder):
            features: Features = self.encoder(clips, taps=() if self.tap is None else (self.tap,))
        found = features.map if self.tap is None else features.extra[self.tap]
        if found is None:
            raise RecipeError("the encoder yields no map of positions, so labels cannot be carried by it")
        if found.ndim == 3:
            found = _unfolded(found, (frames.shape[2], frames.shape[3]), self.input)
        return (found.mean(2) if found.ndim == 5 else found).float()


class PixelFeatures:
    """The pixels themselves: those of each cell of a grid, one after the other, minus the mean, over the deviation.

    Args:
        colour: "rgb" or "grey".
    """

    def __init__(self, colour: Literal["rgb", "grey"]) -> None:
        self.colour = colour

    def __call__(self, frames: Tensor, grid: tuple[int, int]) -> Tensor:
        """uint8 RGB [B, 3, H, W] to maps [B, D, h, w]; frames that the grid does not divide are averaged first."""
        clips = EncoderInput().normalise(frames)
        if self.colour == "grey":
            weights = torch.tensor(_GREY, device=clips.device).view(1, 3, 1, 1)
            clips = (clips * weights).sum(1, keepdim=True)
        side = max(1, min(frames.shape[2] // grid[0], frames.shape[3] // grid[1]))
        return pixel_unshuffle(adaptive_avg_pool2d(clips, (grid[0] * side, grid[1] * side)), side)


def _unfolded(tokens: Tensor, size: tuple[int, int], network: EncoderInput) -> Tensor:
    """Tokens [B, N, D] as a map [B, D, T', h, w] of square patches; of several such maps that with the longest T'."""
    count = tokens.shape[1]
    frames = clip_frames(network)
    for special in (0, 1):
        for times in (number for number in range(frames, 0, -1) if frames % number == 0):
            grid = _grid(count - special, times, size)
            if grid is not None:
                places = tokens[:, special:].transpose(1, 2)
                return places.reshape(*places.shape[:2], times, *grid)
    raise RecipeError(
        f"{count} tokens of a frame of {size[0]} x {size[1]} pixels are no grid of square patches: state a size that "
        "the patches divide (propagation.resize)"
    )


def _grid(count: int, times: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """(h, w) of `count` places in `times` frames, if the patches are whole squares of pixels."""
    area = size[0] * size[1] * times
    side = round((area / count) ** 0.5) if count else 0
    whole = side and side * side * count == area and size[0] % side == 0 and size[1] % side == 0
    return (size[0] // side, size[1] // side) if whole else None
