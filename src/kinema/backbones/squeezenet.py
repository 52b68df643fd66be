"""SqueezeNet 1.1 in 3D."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from kinema.backbones.layers import ConvNorm, StagedBackbone, chain, check_width, kaiming, padded_pool, scaled


class Fire(nn.Module):
    """1x1x1 squeeze, then 1x1x1 and 3x3x3 side by side; `bypass` adds the input before the last ReLU.

    Args:
        channels: channels in.
        squeeze: channels between.
        expand: channels of each of the two halves of the output.
        bypass: whether the input is added.
    """

    def __init__(self, channels: int, squeeze: int, expand: int, *, bypass: bool) -> None:
        super().__init__()
        unit = partial(ConvNorm, bias=True)
        self.squeeze = unit(channels, squeeze)
        self.expand1 = unit(squeeze, expand, activation=None)
        self.expand3 = unit(squeeze, expand, (3, 3, 3), activation=None)
        self.bypass = bypass

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, 2 expand, T, H, W]."""
        squeezed = self.squeeze(x)
        y = torch.cat([self.expand1(squeezed), self.expand3(squeezed)], 1)
        return (y.add_(x) if self.bypass else y).relu_()


class SqueezeNet(StagedBackbone):
    """SqueezeNet 1.1 in 3D of Köpüklü et al. (ICCV Workshops 2019), with bypasses (1,837,760 parameters).

    Stage p1 is the stem; p2 to p5 are a max pool and two Fire modules each. A clip [B, 3, 16, 112, 112] gives the map
    [B, 512, 1, 4, 4]. Weights start Kaiming-normal by fan-out.

    Args:
        width: 64 is the published size; all channels are scaled by width / 64.
    """

    def __init__(self, *, width: int = 64) -> None:
        check_width(width)
        stages: dict[str, nn.Module] = {"p1": ConvNorm(3, width, (3, 3, 3), (1, 2, 2), bias=True)}
        channels = width
        for number, (squeeze, expand) in enumerate(((16, 64), (32, 128), (48, 192), (64, 256)), start=2):
            narrow, half = scaled(squeeze, width), scaled(expand, width)
            first = Fire(channels, narrow, half, bypass=False)
            channels = 2 * half
            second = Fire(channels, narrow, half, bypass=True)
            stages[f"p{number}"] = chain(pool=padded_pool(), first=first, second=second)
        super().__init__(stages, feature_dim=channels, stride=(16, 32, 32))
        kaiming(self)


class SqueezeNetClassifier(nn.Sequential):
    """The published classifier on the map: dropout, 1x1x1 convolution, ReLU, global average.

    Its scores are never negative. For anything but published weights an ordinary linear layer is the better head.

    Args:
        classes: number of classes.
        channels: channels of the map.
        dropout: probability.
    """

    def __init__(self, classes: int, *, channels: int = 512, dropout: float = 0.5) -> None:
        super().__init__(
            nn.Dropout(dropout),
            nn.Conv3d(channels, classes, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
        )
