"""Encoders around backbones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kinema.backbones.base import Backbone
from kinema.modules.encoder import Encoder, EncoderInput, Features


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
