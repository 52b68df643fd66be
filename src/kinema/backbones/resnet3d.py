"""3D-ResNets of Hara et al.: 18, 34 and 50 layers."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import nn

from kinema.backbones.layers import StagedBackbone, chain, check_width, full_conv, kaiming, padded_pool
from kinema.backbones.residual import Block, Bottleneck, Shortcut, ZeroPadShortcut
from kinema.errors import RecipeError


class ResNet3D18(StagedBackbone):
    """3D-ResNet-18 of Hara et al. (CVPR 2018): basic blocks behind a 7x7x7 stem and a max pool (33,203,904 parameters).

    Stage p1 is the stem, p2 the pool (3x3x3, stride 2) and the first blocks, p3 to p5 start with stride 2 in time and
    space. A clip [B, 3, 16, 112, 112] gives the map [B, 512, 1, 4, 4]. Weights start Kaiming-normal by fan-out.

    Differs from the original: shortcut A keeps its gradient, which the original cuts off by mistake.

    Args:
        width: channels of the stem and the first blocks; the others keep their proportion (2, 4 and 8 times). 128 is
            a widen factor of 2.
        shortcut: "B": 1x1x1 convolution and batch normalisation; "A": strided copy and zeros, no parameters.
        conv1_kernel: extent in time of the stem's kernel, odd.
        conv1_stride: its stride in time.
        max_pool: whether the pool follows the stem.
    """

    layers: ClassVar[tuple[int, int, int, int]] = (2, 2, 2, 2)
    block: ClassVar[type[Block] | type[Bottleneck]] = Block

    def __init__(
        self,
        *,
        width: int = 64,
        shortcut: Shortcut = "B",
        conv1_kernel: int = 7,
        conv1_stride: int = 1,
        max_pool: bool = True,
    ) -> None:
        check_width(width)
        _check(shortcut, conv1_kernel, conv1_stride)
        conv = full_conv(3, width, (conv1_kernel, 7, 7), (conv1_stride, 2, 2))
        stages: dict[str, nn.Module] = {"p1": chain(conv=conv, norm=nn.BatchNorm3d(width), relu=nn.ReLU(inplace=True))}
        channels = width
        for number, blocks in enumerate(self.layers):
            parts: dict[str, nn.Module] = {"pool": padded_pool()} if number == 0 and max_pool else {}
            for block in range(blocks):
                stride = 2 if number and not block else 1
                parts[str(block)] = self._block(channels, width * 2**number, stride, shortcut)
                channels = width * 2**number * self.block.expansion
            stages[f"p{number + 2}"] = chain(**parts)
        pooled = 2 if max_pool else 1
        strides = (8 * conv1_stride * pooled, 16 * pooled, 16 * pooled)
        super().__init__(stages, feature_dim=channels, stride=strides)
        kaiming(self)

    def _block(self, channels: int, width: int, stride: int, shortcut: Shortcut) -> nn.Module:
        steps, out = (stride,) * 3, width * self.block.expansion
        build = partial(self.block, channels, width, stride=steps)
        if shortcut == "A" and (stride > 1 or channels != out):
            return build(shortcut=ZeroPadShortcut(channels, out, steps))
        return build()


class ResNet3D34(ResNet3D18):
    """3D-ResNet-34 of Hara et al. (63,513,536 parameters); all else as in `ResNet3D18`."""

    layers = (3, 4, 6, 3)


class ResNet3D50(ResNet3D34):
    """3D-ResNet-50 of Hara et al.: bottlenecks, 2048 channels out (46,198,976 parameters); else as in `ResNet3D18`."""

    block = Bottleneck


def _check(shortcut: str, kernel: int, stride: int) -> None:
    if shortcut not in ("A", "B"):
        raise RecipeError(f"backbone option shortcut={shortcut!r}: expected 'A' or 'B'")
    if kernel < 1 or kernel % 2 == 0:
        raise RecipeError(f"backbone option conv1_kernel={kernel}: expected an odd number of frames")
    if stride < 1:
        raise RecipeError(f"backbone option conv1_stride={stride}: expected 1 or more")
