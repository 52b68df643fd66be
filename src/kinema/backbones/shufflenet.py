"""ShuffleNet V1 in 3D."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.backbones.layers import ConvNorm, StagedBackbone, chain, check_width, padded_pool, scaled
from kinema.errors import RecipeError

WIDTHS = {
    1: (24, 144, 288, 567),
    2: (24, 200, 400, 800),
    3: (24, 240, 480, 960),
    4: (24, 272, 544, 1088),
    8: (24, 384, 768, 1536),
}
"""Published channels of the stem and the three stages at 1.0x, by the number of groups."""


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of [B, C, …] out in turn, so that each group gets some of every group before it.

    Six channels in three groups come in the order 0, 2, 4, 1, 3, 5.
    """
    batch, channels, *sizes = x.shape
    return x.reshape(batch, groups, channels // groups, *sizes).transpose(1, 2).flatten(1, 2)


class Unit(nn.Module):
    """ShuffleNet's unit: grouped 1x1x1, shuffle, depthwise 3x3x3, grouped 1x1x1; added to, or put beside, its input.

    With stride 2 the average-pooled input makes up the last channels of the output, and the branch the others.
    """

    def __init__(self, channels: int, width: int, *, stride: int, groups: int) -> None:
        super().__init__()
        middle = _divisible(width // 4, groups)
        branch = width - channels if stride == 2 else width
        self.groups, self.stride = groups, stride
        # The published rule for the first unit of the 1.0x network, whose input is too narrow to be grouped.
        self.reduce = ConvNorm(channels, middle, groups=1 if channels == 24 else groups)
        self.depthwise = ConvNorm(middle, middle, (3, 3, 3), (stride,) * 3, groups=middle, activation=None)
        self.expand = ConvNorm(middle, branch, groups=groups, activation=None)
        self.pool = nn.AvgPool3d((2, 3, 3), 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T', H', W']."""
        branch: Tensor = self.expand(self.depthwise(channel_shuffle(self.reduce(x), self.groups)))
        if self.stride == 1:
            return branch.add_(x).relu_()
        if x.shape[2] % 2:
            x = torch.cat([x, x[:, :, -1:]], 2)  # the convolution rounds an odd number of frames up, so the pool must
        # The zeros around height and width count in the average, as published; the pool itself refuses tiny maps.
        return torch.cat([branch, self.pool(functional.pad(x, (1, 1, 1, 1)))], 1).relu_()


class ShuffleNet(StagedBackbone):
    """ShuffleNet V1 in 3D of Köpüklü et al. (ICCV Workshops 2019), 2.0x with 3 groups (3,606,288 parameters).

    Stage p1 is the stem, p2 its max pool, p3 to p5 the stages of 4, 8 and 4 units. A clip [B, 3, 16, 112, 112] gives
    the map [B, 1920, 1, 4, 4].

    Differs from the original: odd numbers of frames are rounded up, and channels that the groups do not divide too,
    where the original fails.

    Args:
        width: 64 is the 2.0x network, 32 the 1.0x one; all channels are scaled in proportion.
        groups: 1, 2, 3, 4 or 8; each has its own published channels.
    """

    def __init__(self, *, width: int = 64, groups: int = 3) -> None:
        check_width(width)
        if groups not in WIDTHS:
            raise RecipeError(f"backbone option groups={groups}: expected {', '.join(map(str, WIDTHS))}")
        channels, *widths = (_divisible(scaled(2 * published, width), groups) for published in WIDTHS[groups])
        stages: dict[str, nn.Module] = {
            "p1": ConvNorm(3, channels, (3, 3, 3), (1, 2, 2)),
            "p2": chain(pool=padded_pool()),
        }
        for number, (wide, count) in enumerate(zip(widths, (4, 8, 4), strict=True)):
            units = [Unit(channels, wide, stride=2, groups=groups)]
            units += [Unit(wide, wide, stride=1, groups=groups) for _ in range(count - 1)]
            stages[f"p{number + 3}"], channels = nn.Sequential(*units), wide
        super().__init__(stages, feature_dim=channels, stride=(16, 32, 32))


def _divisible(channels: int, groups: int) -> int:
    """`channels` rounded up to a multiple of `groups`."""
    return max(1, -(-channels // groups)) * groups
