"""MobileNet V2 in 3D."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

from kinema.backbones.layers import ConvNorm, StagedBackbone, Triple, check_width, scaled

STAGES = (
    ((1, 16, 1, 1),),
    ((6, 24, 2, 2),),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Expansion, channels, repeats and first stride of the inverted residuals, by stage."""


class InvertedResidual(nn.Module):
    """1x1x1 expansion, depthwise 3x3x3, linear 1x1x1 projection; the input is added where sizes stay."""

    def __init__(self, channels: int, width: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        middle, steps = channels * expansion, (stride,) * 3
        self.expand: nn.Module = nn.Identity() if expansion == 1 else ConvNorm(channels, middle, activation=nn.ReLU6)
        self.depthwise = ConvNorm(middle, middle, (3, 3, 3), steps, groups=middle, activation=nn.ReLU6)
        self.project = ConvNorm(middle, width, activation=None)
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T', H', W']."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class MobileNetV2(StagedBackbone):
    """MobileNet V2 in 3D of Köpüklü et al. (ICCV Workshops 2019) (2,354,048 parameters).

    Stages p1 to p5 hold the blocks of one size each: p1 the stem and 16 channels, then 24, 32, 96 (behind 64), and in
    p5 160, 320 and the last 1x1x1 convolution. A clip [B, 3, 16, 112, 112] gives the map [B, 1280, 1, 4, 4].
    Convolutions start as N(0, 2 / (kernel size x channels out)).

    Args:
        width: 64 is the 1.0x network, 28.8 the 0.45x one; channels are scaled by width / 64 and cut to integers. The
            last convolution keeps its 1280 channels in narrower networks, as published.
    """

    def __init__(self, *, width: float = 64) -> None:
        check_width(width, whole=False)
        stages: dict[str, nn.Module] = {}
        channels = scaled(32, width)
        parts = OrderedDict[str, nn.Module](stem=_unit(3, channels, (3, 3, 3), (1, 2, 2)))
        for number, groups in enumerate(STAGES, start=1):
            for expansion, published, repeats, stride in groups:
                for repeat in range(repeats):
                    wide, first = scaled(published, width), stride if repeat == 0 else 1
                    name = str(sum(key.isdigit() for key in parts))
                    parts[name] = InvertedResidual(channels, wide, stride=first, expansion=expansion)
                    channels = wide
            stages[f"p{number}"], parts = nn.Sequential(parts), OrderedDict()
        last = scaled(1280, max(64, width))
        stages["p5"].add_module("project", _unit(channels, last, (1, 1, 1), (1, 1, 1)))
        super().__init__(stages, feature_dim=last, stride=(16, 32, 32))
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))


def _unit(channels: int, width: int, kernel: Triple, stride: Triple) -> ConvNorm:
    return ConvNorm(channels, width, kernel, stride, activation=nn.ReLU6)
