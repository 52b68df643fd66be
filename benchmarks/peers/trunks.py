"""Video networks in plain PyTorch: C3D with batch normalisation, R3D with a block per stage, the slow R3D-50."""

from __future__ import annotations

from torch import Tensor, nn


def c3d(width: int) -> nn.Sequential:
    """Eight 3x3x3 convolutions; [B, 3, T, H, W] to [B, 8 width, T/8, H/16, W/16]."""
    plan = [(1, (1, 2, 2)), (2, 2), (4, None), (4, 2), (8, None), (8, 2), (8, None), (8, None)]
    layers: list[nn.Module] = []
    channels = 3
    for factor, pool in plan:
        layers += [nn.Conv3d(channels, factor * width, 3, padding=1), nn.BatchNorm3d(factor * width), nn.ReLU(True)]
        layers += [nn.MaxPool3d(pool, ceil_mode=True)] if pool else []
        channels = factor * width
    return nn.Sequential(*layers)


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and the input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if stride > 1 or channels != width:
            self.down = nn.Sequential(nn.Conv3d(channels, width, 1, stride, bias=False), nn.BatchNorm3d(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] to [B, width, T', H', W']."""
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += x if self.down is None else self.down(x)
        return self.relu(out)


def r3d(width: int) -> nn.Sequential:
    """A 3x7x7 stem and four blocks; [B, 3, T, H, W] to [B, 8 width, T/8, H/16, W/16]."""
    stem = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
    return nn.Sequential(
        stem,
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
        BasicBlock(width, width, 1),
        BasicBlock(width, 2 * width, 2),
        BasicBlock(2 * width, 4 * width, 2),
        BasicBlock(4 * width, 8 * width, 2),
    )


class Bottleneck(nn.Module):
    """A temporal, a spatial and a pointwise convolution, and the input."""

    def __init__(self, channels: int, width: int, time: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, width, (time, 1, 1), 1, (time // 2, 0, 0), bias=False)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.norm2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, 4 * width, 1, bias=False)
        self.norm3 = nn.BatchNorm3d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if stride > 1 or channels != 4 * width:
            conv = nn.Conv3d(channels, 4 * width, 1, (1, stride, stride), bias=False)
            self.down = nn.Sequential(conv, nn.BatchNorm3d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] to [B, 4 width, T, H', W']."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm3(self.conv3(self.relu(self.norm2(self.conv2(out)))))
        out += x if self.down is None else self.down(x)
        return self.relu(out)


def r3d_50(width: int) -> nn.Sequential:
    """The slow R3D-50 with PyTorch's padding; [B, 3, T, H, W] to [B, 32 width, T/2, H/32, W/32]."""
    layers: list[nn.Module] = [
        nn.Conv3d(3, width, (5, 7, 7), 2, (2, 3, 3), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    ]
    channels = width
    for factor, blocks, time, stride in ((1, 3, 1, 1), (2, 4, 1, 2), (4, 6, 3, 2), (8, 3, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(channels, factor * width, time, stride if block == 0 else 1))
            channels = 4 * factor * width
    return nn.Sequential(*layers)
