"""R3D: a residual network of 3D convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kinema.backbones.layers import StagedBackbone, Triple, chain, check_width, full_conv
from kinema.backbones.residual import Block, check_layers


class R3D(StagedBackbone):
    """Residual network of 3D convolutions: a stem and four stages of basic blocks (14,361,792 parameters).

    The form that clip-order prediction (Xu et al., CVPR 2019) uses and that its successors call "R3D-18", although one
    block per stage makes ten layers; `layers=(2, 2, 2, 2)` gives the 18 layers (33,166,272 parameters). The stem is a
    3x7x7 convolution of spatial stride 2 without a pool; the last three stages start with stride 2 in time and space.
    Stage p1 is the stem, p2 to p5 the four stages. A clip [B, 3, 16, 112, 112] gives the map [B, 512, 2, 7, 7].

    Args:
        layers: blocks of the four stages.
        width: channels of the stem and the first stage; the others keep their proportion (2, 4 and 8 times).
    """

    def __init__(self, *, layers: Sequence[int] = (1, 1, 1, 1), width: int = 64) -> None:
        check_width(width)
        check_layers(layers)
        stages: dict[str, nn.Module] = {"p1": self.stem(width)}
        channels = width
        for number, blocks in enumerate(layers):
            wide, parts = width * 2**number, []
            for block in range(blocks):
                parts.append(self.block(channels, wide, number, stride=2 if number and not block else 1))
                channels = wide
            stages[f"p{number + 2}"] = nn.Sequential(*parts)
        super().__init__(stages, feature_dim=channels, stride=(8, 16, 16))

    def stem(self, width: int) -> nn.Module:
        """Stage p1."""
        conv = self.convolution(3, width, (3, 7, 7), (1, 2, 2))
        return chain(conv=conv, norm=nn.BatchNorm3d(width), relu=nn.ReLU(inplace=True))

    def block(self, channels: int, width: int, stage: int, *, stride: int) -> nn.Module:
        """One block of the stage numbered `stage`, 0 to 3."""
        return Block(channels, width, stride=(stride,) * 3, convolution=self.convolution)

    @staticmethod
    def convolution(channels: int, width: int, kernel: Triple, stride: Triple) -> nn.Module:
        """The convolution of which the whole network is built."""
        return full_conv(channels, width, kernel, stride)
