"""Encoders around backbones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from kinema.backbones.base import Backbone
from kinema.backbones.vit import ClipTransformer, Pool
from kinema.errors import RecipeError
from kinema.modules.encoder import Encoder, EncoderInput, Features
from kinema.modules.transformer.patches import token_grid


class ConvEncoder(Encoder):
    """A video ConvNet as an encoder: global average of the last map as the clip's vector, stages as taps."""

    def __init__(self, backbone: Backbone, input: EncoderInput) -> None:
        super().__init__()
        self.backbone = backbone
        self.input = input
        self.feature_dim = backbone.feature_dim
        self.taps = backbone.stage_names

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Clips [B, 3, T, H, W], normalised, to pooled [B, D], the last map, and the stages named in `taps`."""
        stages = self.backbone.forward_stages(x)
        return Features(stages[-1].mean((2, 3, 4)), stages[-1], None, self.backbone.tap(stages, taps))


class ViTEncoder(Encoder):
    """A vision transformer as an encoder: the mean of its normalised tokens, or its class token, as the clip's vector.

    The map is [B, D, T', H', W'] of the tokens without the class token; taps "b1" … name what blocks return, as such
    maps. Images [B, 3, H, W] are still clips, one token long. Clips of other sizes than in training get resampled
    positions.

    Args:
        trunk: the transformer.
        input: what to feed.
        pool: what the vector is: the "mean" of the tokens of patches, the "class" token, or "late", the LayerNorm of
            the mean in place of the mean after LayerNorm, as classifiers of VideoMAE and MAE-ST have it; the map is
            then of tokens without LayerNorm.
    """

    def __init__(self, trunk: ClipTransformer, input: EncoderInput, *, pool: Pool = "mean") -> None:
        super().__init__()
        if pool == "class" and not trunk.class_token:
            raise RecipeError("pool=class: this transformer has no class token")
        self.trunk, self.input, self.pool = trunk, input, pool
        self.feature_dim, self.heads = trunk.feature_dim, trunk.heads
        self.taps = tuple(f"b{number}" for number in range(1, len(trunk.blocks) + 1))

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Normalised clips [B, 3, T, H, W] or images [B, 3, H, W] to pooled [B, D], the map and the wanted `taps`."""
        clips = x.unsqueeze(2).expand(-1, -1, self.trunk.patch[0], -1, -1) if x.ndim == 4 else x
        trunk, grid = self.trunk, self.trunk.grid_for(clips)
        wanted = sorted(self.taps.index(name) for name in taps)
        *tapped, last = trunk.forward_blocks(clips, wanted)
        normed = last if self.pool == "late" else trunk.norm(last)
        front = int(trunk.class_token)
        pooled = normed[:, 0] if self.pool == "class" else normed[:, front:].mean(1)
        if self.pool == "late":
            pooled = trunk.norm(pooled)
        extra = {
            self.taps[number]: token_grid(part[:, front:], grid) for number, part in zip(wanted, tapped, strict=True)
        }
        return Features(pooled, token_grid(normed[:, front:], grid), None, extra)


class StillEncoder(Encoder):
    """A video encoder for still images: each is shown as a clip in which nothing moves.

    Args:
        video: the encoder, whose weights are shared.
    """

    def __init__(self, video: Encoder) -> None:
        super().__init__()
        self.video = video
        self.input = replace(video.input, modality="image", frames=1, stride=1)
        self.feature_dim, self.taps = video.feature_dim, video.taps

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Normalised images [B, 3, H, W] to the features of their clips."""
        clips = x.unsqueeze(2).expand(-1, -1, self.video.input.frames, -1, -1)
        features: Features = self.video(clips, valid, taps)
        return features


class FrameEncoder(Encoder):
    """An encoder of images for clips: the features of every frame on its own, averaged; the map has a slice per frame.

    Args:
        image: the encoder, whose weights are shared.
        input: of the clips.
    """

    def __init__(self, image: Encoder, input: EncoderInput) -> None:
        super().__init__()
        self.image, self.input = image, input
        self.feature_dim, self.taps = image.feature_dim, image.taps
        self.heads = getattr(image, "heads", None)

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Normalised clips [B, 3, T, H, W] to pooled [B, D], the map [B, D, T, h, w] and the wanted `taps`."""
        features: Features = self.image(x.transpose(1, 2).flatten(0, 1), taps=taps)
        extra = {name: _over_time(part, len(x)) for name, part in features.extra.items()}
        joined = None if features.map is None else _over_time(features.map, len(x))
        return Features(features.pooled.unflatten(0, (len(x), -1)).mean(1), joined, None, extra)  # type: ignore[no-untyped-call]


def _over_time(map: Tensor, batch: int) -> Tensor:
    """Maps [B T, D, 1, h, w] of frames as [B, D, T, h, w]; tokens [B T, N, D] as [B, T N, D]."""
    parts: Tensor = map.unflatten(0, (batch, -1))  # type: ignore[no-untyped-call]
    return parts.flatten(1, 2) if map.ndim == 3 else parts.transpose(1, 2).flatten(2, 3)
