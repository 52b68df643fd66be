"""S3D, and the three published flavours of S3D-G, whose weights do not fit each other."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from kinema.backbones.layers import ConvNorm, StagedBackbone, Triple, chain, check_width, padded_pool, scaled


class Widths(NamedTuple):
    """Channels of one Inception block: of the 1x1x1 branch, the two separable ones, and the one behind the pool."""

    plain: int
    reduce1: int
    conv1: int
    reduce2: int
    conv2: int
    pooled: int


BLOCKS: dict[str, dict[str, Widths]] = {
    "p3": {"b": Widths(64, 96, 128, 16, 32, 32), "c": Widths(128, 128, 192, 32, 96, 64)},
    "p4": {
        "b": Widths(192, 96, 208, 16, 48, 64),
        "c": Widths(160, 112, 224, 24, 64, 64),
        "d": Widths(128, 128, 256, 24, 64, 64),
        "e": Widths(112, 144, 288, 32, 64, 64),
        "f": Widths(256, 160, 320, 32, 128, 128),
    },
    "p5": {"b": Widths(256, 160, 320, 32, 128, 128), "c": Widths(384, 192, 384, 48, 128, 128)},
}
"""The Inception blocks 3b to 5c, by stage."""


class Gate(nn.Module):
    """Self-gating: x times sigmoid(W mean(x) + b), the mean over time, height and width (Xie et al., ECCV 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] to the same shape."""
        return x * torch.sigmoid(self.linear(x.mean((2, 3, 4))))[:, :, None, None, None]


class SeparableConv(nn.Sequential):
    """A spatial and a temporal convolution, each with batch normalisation and ReLU.

    Args:
        channels: channels in.
        width: channels between and out.
        kernel: extent in all three axes.
        stride: likewise.
        early: whether the spatial convolution, not the temporal one, takes the stride in time.
        unit: builds one convolution with its normalisation.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        stride: int,
        *,
        unit: type[ConvNorm] | partial[ConvNorm],
        early: bool,
    ) -> None:
        first, last = (stride, 1) if early else (1, stride)
        parts = OrderedDict[str, nn.Module](
            spatial=unit(channels, width, (1, kernel, kernel), (first, stride, stride)),
            temporal=unit(width, width, (kernel, 1, 1), (last, 1, 1)),
        )
        super().__init__(parts)


class Inception(nn.Module):
    """Four branches side by side, each perhaps gated: 1x1x1, two separable 3x3x3, and a max pool with 1x1x1."""

    def __init__(self, channels: int, widths: Widths, *, unit: partial[ConvNorm], gated: tuple[int, ...]) -> None:
        super().__init__()
        separable = partial(SeparableConv, kernel=3, stride=1, unit=unit, early=False)
        self.branches = nn.ModuleList(
            [
                chain(conv=unit(channels, widths.plain)),
                chain(reduce=unit(channels, widths.reduce1), conv=separable(widths.reduce1, widths.conv1)),
                chain(reduce=unit(channels, widths.reduce2), conv=separable(widths.reduce2, widths.conv2)),
                chain(pool=nn.MaxPool3d(3, 1, 1), conv=unit(channels, widths.pooled)),
            ]
        )
        outs = (widths.plain, widths.conv1, widths.conv2, widths.pooled)
        for branch in gated:
            self.branches[branch].add_module("gate", Gate(outs[branch]))
        self.width = sum(outs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T, H, W]."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class S3D(StagedBackbone):
    """S3D of Xie et al. (ECCV 2018): Inception with separable 3D convolutions, no gating (7,910,048 parameters).

    Stage p1 is the stem, p2 the layers 2b and 2c, p3 to p5 the Inception blocks 3b-3c, 4b-4f and 5b-5c, each from p2 on
    behind its max pool. A clip [B, 3, 16, 224, 224] gives the map [B, 1024, 2, 7, 7]. Convolutions start as N(0, 0.01).

    Differs from the originals in PyTorch: the last pool rounds odd sizes up, as TensorFlow's does, instead of dropping
    the last frame, row or column; at 224 x 224 nothing changes.

    Args:
        width: 64 is the published size; all channels are scaled by width / 64.
        norm_eps: of the batch normalisation; torchvision and the TensorFlow original have 1e-3.
        norm_momentum: likewise 1e-3, which moves running statistics too slowly for short training.
    """

    early_stride: ClassVar[bool] = False
    gated_branches: ClassVar[tuple[int, ...]] = ()
    gated_stages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, width: int = 64, norm_eps: float = 1e-5, norm_momentum: float = 0.1) -> None:
        check_width(width)
        unit = partial(ConvNorm, eps=norm_eps, momentum=norm_momentum)
        channels = scaled(192, width)
        stages: dict[str, nn.Module] = {"p1": self._first(width, unit), "p2": self._second(width, channels, unit)}
        for stage, blocks in BLOCKS.items():
            parts: dict[str, nn.Module] = {"pool": self.pool(stage)}
            for name, published in blocks.items():
                widths = Widths(*(scaled(count, width) for count in published))
                block = Inception(channels, widths, unit=unit, gated=self.gated_branches)
                parts[name], channels = block, block.width
            stages[stage] = chain(**parts)
        super().__init__(stages, feature_dim=channels, stride=(8, 32, 32))
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, std=0.01)

    def _first(self, width: int, unit: partial[ConvNorm]) -> nn.Module:
        return chain(conv=self.stem(width, unit), **self._gate("p1", width))

    def _second(self, width: int, channels: int, unit: partial[ConvNorm]) -> nn.Module:
        conv = SeparableConv(width, channels, 3, 1, unit=unit, early=False)
        return chain(pool=self.pool("p2"), reduce=unit(width, width), conv=conv, **self._gate("p2", channels))

    def _gate(self, stage: str, channels: int) -> dict[str, nn.Module]:
        return {"gate": Gate(channels)} if stage in self.gated_stages else {}

    def stem(self, width: int, unit: partial[ConvNorm]) -> nn.Module:
        """The first convolution: separable 7x7x7 of stride 2."""
        return SeparableConv(3, width, 7, 2, unit=unit, early=self.early_stride)

    def pool(self, stage: str) -> nn.Module:
        """The max pool at the head of a stage."""
        if stage == "p5":
            return nn.MaxPool3d(2, 2, ceil_mode=True)
        return padded_pool() if stage == "p4" else nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))


class S3DG(S3D):
    """S3D-G as CoCLR (Han et al., NeurIPS 2020) has it: every branch of every block gated (9,098,000 parameters).

    Args, stages and sizes: as in `S3D`.
    """

    gated_branches: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)


class S3DGPace(S3DG):
    """S3D-G as video pace (Wang et al., ECCV 2020) and the extended STS paper have it (9,125,072 parameters).

    The stem is a full 3x7x7 convolution of stride 2, layer 2c is gated besides the branches, and pools pad as
    TensorFlow's SAME does for even sizes, for odd ones too: nothing before, one behind.

    Args, stages and sizes: as in `S3D`.
    """

    gated_stages = ("p2",)

    def stem(self, width: int, unit: partial[ConvNorm]) -> nn.Module:
        """The first convolution: 3x7x7 of stride 2."""
        return unit(3, width, (3, 7, 7), (2, 2, 2))

    def pool(self, stage: str) -> nn.Module:
        """The max pool at the head of a stage."""
        if stage == "p5":
            return nn.MaxPool3d(2, 2, ceil_mode=True)
        kernel: Triple = (3, 3, 3) if stage == "p4" else (1, 3, 3)
        behind = (0, 1, 0, 1, 0, kernel[0] // 2)
        stride = (1 + kernel[0] // 2, 2, 2)
        return nn.Sequential(nn.ConstantPad3d(behind, -torch.inf), nn.MaxPool3d(kernel, stride, ceil_mode=True))


class S3DGRSPNet(S3DG):
    """S3D-G as RSPNet (Chen et al., AAAI 2021) has it (8,675,744 parameters).

    Gates follow separable convolutions only: the stem, layer 2c, and branches 1 and 2 of the blocks. The stem's spatial
    convolution takes the stride in time.

    Args, stages and sizes: as in `S3D`, with the published `norm_eps` and `norm_momentum` by default.
    """

    early_stride = True
    gated_branches = (1, 2)
    gated_stages = ("p1", "p2")

    def __init__(self, *, width: int = 64, norm_eps: float = 1e-3, norm_momentum: float = 1e-3) -> None:
        super().__init__(width=width, norm_eps=norm_eps, norm_momentum=norm_momentum)
