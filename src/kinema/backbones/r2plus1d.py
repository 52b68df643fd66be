"""R(2+1)D: R3D with every convolution factored into a spatial and a temporal one."""

from __future__ import annotations

from torch import Tensor, nn

from kinema.backbones.layers import Triple, full_conv
from kinema.backbones.r3d import R3D


def middle_width(channels: int, width: int, kernel: Triple) -> int:
    """M = floor(t h w C_in C_out / (h w C_in + t C_out)): the factored pair has about the full convolution's weights.

    Tran et al., CVPR 2018, section 3.5.
    """
    time, height, breadth = kernel
    area = height * breadth
    return max(1, time * area * channels * width // (area * channels + time * width))


class FactoredConv(nn.Module):
    """A spatial convolution to M channels, batch normalisation, ReLU, and a temporal convolution; no biases.

    Args:
        channels: channels in.
        width: channels out.
        kernel: of the convolution that is factored.
        stride: likewise.
        middle: M; None: `middle_width`.
    """

    def __init__(self, channels: int, width: int, kernel: Triple, stride: Triple, *, middle: int | None = None) -> None:
        super().__init__()
        middle = middle or middle_width(channels, width, kernel)
        self.spatial = full_conv(channels, middle, (1, *kernel[1:]), (1, *stride[1:]))
        self.norm = nn.BatchNorm3d(middle)
        self.temporal = full_conv(middle, width, (kernel[0], 1, 1), (stride[0], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T', H', W']."""
        y: Tensor = self.temporal(self.norm(self.spatial(x)).relu_())
        return y


class R2Plus1D(R3D):
    """R3D's skeleton with every convolution factored, stem and shortcuts included (14,365,303 parameters).

    The form that clip-order prediction (Xu et al., CVPR 2019) and its successors use after Tran et al. (CVPR 2018). M
    is computed for each convolution, the 1x1x1 shortcuts are factored too and the stem's M is 83; so neither weights
    nor parameter counts (33,178,423 at `layers=(2, 2, 2, 2)`) agree with torchvision's network, which is `R2Plus1D18`.

    Args, stages and sizes: as in `R3D`.
    """

    @staticmethod
    def convolution(channels: int, width: int, kernel: Triple, stride: Triple) -> nn.Module:
        """The factored convolution of which the whole network is built."""
        return FactoredConv(channels, width, kernel, stride)
