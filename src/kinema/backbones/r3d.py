"""R3D: a residual network of 3D convolutions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kinema.backbones.layers import StagedBackbone, Triple, check_width
from kinema.errors import RecipeError

Convolution = Callable[[int, int, Triple, Triple], nn.Module]


def full_conv(channels: int, width: int, kernel: Triple, stride: Triple) -> nn.Module:
    """A 3D convolution without bias, padded by half its kernel: sizes out are sizes in over stride, rounded up."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(channels, width, kernel, stride, padding, bias=False)


class Block(nn.Module):
    """conv-norm-ReLU-conv-norm, plus the input (through a strided 1x1x1 convolution where sizes change), then ReLU."""

    def __init__(self, channels: int, width: int, *, stride: int, convolution: Convolution) -> None:
        super().__init__()
        kernel, steps = (3, 3, 3), (stride, stride, stride)
        self.conv1 = convolution(channels, width, kernel, steps)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = convolution(width, width, kernel, (1, 1, 1))
        self.norm2 = nn.BatchNorm3d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != width:
            conv, norm = convolution(channels, width, (1, 1, 1), steps), nn.BatchNorm3d(width)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, norm=norm))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T', H', W']."""
        residual = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(residual)) + self.shortcut(x))


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
        if len(layers) != 4 or min(layers) < 1:
            raise RecipeError(f"backbone option layers={layers!r}: expected the blocks of four stages, each 1 or more")
        conv, norm = self.convolution(3, width, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(width)
        stages: dict[str, nn.Module] = {
            "p1": nn.Sequential(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(inplace=True)))
        }
        channels = width
        for number, blocks in enumerate(layers):
            stages[f"p{number + 2}"] = self._stage(channels, width * 2**number, blocks, stride=2 if number else 1)
            channels = width * 2**number
        super().__init__(stages, feature_dim=channels, stride=(8, 16, 16))

    @staticmethod
    def convolution(channels: int, width: int, kernel: Triple, stride: Triple) -> nn.Module:
        """The convolution of which the whole network is built."""
        return full_conv(channels, width, kernel, stride)

    def _stage(self, channels: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
        first = Block(channels, width, stride=stride, convolution=self.convolution)
        rest = [Block(width, width, stride=1, convolution=self.convolution) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest)
