"""Residual blocks of 3D convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from kinema.backbones.layers import Triple, chain, full_conv
from kinema.errors import RecipeError

Convolution = Callable[[int, int, Triple, Triple], nn.Module]
"""Channels, width, kernel and stride to a convolution."""
Shortcut = Literal["A", "B"]


class Block(nn.Module):
    """conv-norm-ReLU-conv-norm, plus the input (through a shortcut where sizes change), then ReLU.

    Args:
        channels: channels in.
        width: channels out.
        stride: of the first convolution and the shortcut.
        convolution: of which the block is built.
        kernel: of both convolutions.
        shortcut: the module on the way of the input; None: a 1x1x1 `convolution` with batch normalisation where sizes
            change, else nothing.
    """

    expansion = 1

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        stride: Triple,
        convolution: Convolution = full_conv,
        kernel: Triple = (3, 3, 3),
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(channels, width, kernel, stride)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = convolution(width, width, kernel, (1, 1, 1))
        self.norm2 = nn.BatchNorm3d(width)
        self.shortcut = shortcut if shortcut is not None else projection(channels, width, stride, convolution)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T', H', W']."""
        residual = self.norm1(self.conv1(x)).relu_()
        out: Tensor = self.norm2(self.conv2(residual))
        return out.add_(self.shortcut(x)).relu_()


class Bottleneck(nn.Module):
    """Three convolutions, to `width` channels, on `width` channels (with the stride), and to 4 x `width`.

    Batch normalisation follows each, ReLU all but the last; the input is added as in `Block`.

    Args:
        channels: channels in.
        width: channels of the two inner convolutions.
        stride: of the second convolution and the shortcut.
        convolution: of which the block is built.
        kernels: of the first two convolutions.
        shortcut: as in `Block`.
    """

    expansion = 4

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        stride: Triple,
        convolution: Convolution = full_conv,
        kernels: tuple[Triple, Triple] = ((1, 1, 1), (3, 3, 3)),
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        out = self.expansion * width
        self.conv1 = convolution(channels, width, kernels[0], (1, 1, 1))
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = convolution(width, width, kernels[1], stride)
        self.norm2 = nn.BatchNorm3d(width)
        self.conv3 = convolution(width, out, (1, 1, 1), (1, 1, 1))
        self.norm3 = nn.BatchNorm3d(out)
        self.shortcut = shortcut if shortcut is not None else projection(channels, out, stride, convolution)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, 4 width, T', H', W']."""
        residual = self.norm1(self.conv1(x)).relu_()
        residual = self.norm2(self.conv2(residual)).relu_()
        out: Tensor = self.norm3(self.conv3(residual))
        return out.add_(self.shortcut(x)).relu_()


class ZeroPadShortcut(nn.Module):
    """Shortcut A of He et al. (CVPR 2016): every `stride`-th element, zeros for the new channels, no parameters."""

    def __init__(self, channels: int, width: int, stride: Triple) -> None:
        super().__init__()
        self.added, self.stride = width - channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T', H', W']."""
        time, height, breadth = self.stride
        return functional.pad(x[:, :, ::time, ::height, ::breadth], (0, 0, 0, 0, 0, 0, 0, self.added))


def projection(channels: int, width: int, stride: Triple, convolution: Convolution = full_conv) -> nn.Module:
    """Shortcut B: a strided 1x1x1 convolution with batch normalisation where sizes change, else nothing."""
    if stride == (1, 1, 1) and channels == width:
        return nn.Identity()
    return chain(conv=convolution(channels, width, (1, 1, 1), stride), norm=nn.BatchNorm3d(width))


def check_layers(layers: Sequence[int]) -> None:
    """Raise RecipeError unless `layers` holds the blocks of four stages."""
    if len(layers) != 4 or min(layers) < 1:
        raise RecipeError(f"backbone option layers={layers!r}: expected the blocks of four stages, each 1 or more")
