"""The three residual networks of 18 layers that torchvision ships: R3D-18, MC3-18 and R(2+1)D-18."""

from __future__ import annotations

from functools import partial

from torch import nn

from kinema.backbones.layers import Triple, chain, full_conv, kaiming
from kinema.backbones.r2plus1d import FactoredConv, middle_width
from kinema.backbones.r3d import R3D
from kinema.backbones.residual import Block, projection


class R3D18(R3D):
    """R3D-18 of Tran et al. (CVPR 2018) as torchvision has it (33,166,272 parameters).

    The same network as `R3D` with two blocks per stage; only the start differs: Kaiming-normal by fan-out.

    Args:
        width: channels of the stem and the first stage; the others keep their proportion (2, 4 and 8 times).
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__(layers=(2, 2, 2, 2), width=width)
        kaiming(self)


class MC318(R3D18):
    """MC3-18, mixed convolutions: 3D in the stem and the first stage, 2D in the others (11,490,240 parameters).

    Time is never strided: a clip [B, 3, 16, 112, 112] gives the map [B, 512, 16, 7, 7].

    Args, stages and start: as in `R3D18`.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__(width=width)
        self.stride = (1, 16, 16)

    def block(self, channels: int, width: int, stage: int, *, stride: int) -> nn.Module:
        """One block: of 3x3x3 kernels in the first stage, of 1x3x3 kernels in the others."""
        return Block(channels, width, stride=(1, stride, stride), kernel=(3 if stage == 0 else 1, 3, 3))


class R2Plus1D18(R3D18):
    """R(2+1)D-18 of Tran et al. (CVPR 2018) as torchvision has it (31,300,125 parameters).

    Unlike `R2Plus1D`: M is computed once per block, from its channels in and out, and serves both of its
    convolutions; shortcuts are plain 1x1x1 convolutions; the stem's M is 45.

    Args, stages and start: as in `R3D18`.
    """

    def stem(self, width: int) -> nn.Module:
        """Stage p1."""
        conv = FactoredConv(3, width, (3, 7, 7), (1, 2, 2), middle=max(1, 45 * width // 64))
        return chain(conv=conv, norm=nn.BatchNorm3d(width), relu=nn.ReLU(inplace=True))

    def block(self, channels: int, width: int, stage: int, *, stride: int) -> nn.Module:
        """One block whose two convolutions share one M."""
        kernel: Triple = (3, 3, 3)
        steps: Triple = (stride, stride, stride)
        convolution = partial(FactoredConv, middle=middle_width(channels, width, kernel))
        shortcut = projection(channels, width, steps, full_conv)
        return Block(channels, width, stride=steps, convolution=convolution, shortcut=shortcut)
