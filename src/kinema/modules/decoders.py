"""From a backbone's map back to frames."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import interpolate

Triple = tuple[int, int, int]


def conv_unit(channels: int, width: int) -> nn.Sequential:
    """3x3x3 convolution with bias, batch normalisation, ReLU."""
    conv = nn.Conv3d(channels, width, 3, padding=1)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm3d(width), relu=nn.ReLU(inplace=True)))


class DoublingDecoder(nn.Module):
    """Transposed convolutions that double the map until it covers the frames (the generative branch of PRP).

    For the map [B, 512, 2, 7, 7] and frames 32 x 112 x 112: up1 to up4, each a 2x2x2 transposed convolution of stride
    2, the first three followed by a unit that halves the channels (256, 128, 64); then a unit to 3 channels, so that
    what comes out is not negative.

    The number of doublings follows the sizes. A side that needs fewer than the others stops early; a side that
    overshoots is cut or scaled down at the end. Neither is in any source, which have four doublings of every side.

    Args:
        channels: of the map; the widths are its halves.
        map_size: (T', H', W') of the map.
        size: (T, H, W) of the frames.
        fit: what is done to frames that came out too large: the middle is "crop"ped, or they are "interpolate"d.
    """

    def __init__(
        self, channels: int, *, map_size: Triple, size: Triple, fit: Literal["crop", "interpolate"] = "crop"
    ) -> None:
        super().__init__()
        self.size, self.fit = size, fit
        needed = [max(0, math.ceil(math.log2(want / have))) for want, have in zip(size, map_size, strict=True)]
        self.ups = nn.ModuleList()
        for number in range(max(needed)):
            time, height, width = (2 if number < doublings else 1 for doublings in needed)
            up = nn.ConvTranspose3d(channels, channels, (time, height, width), (time, height, width))
            last = number == max(needed) - 1
            narrow = channels if last else max(1, channels // 2)
            self.ups.append(up if last else nn.Sequential(up, conv_unit(channels, narrow)))
            channels = narrow
        self.out = conv_unit(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, *map_size] to [B, 3, *size], at least 0."""
        for up in self.ups:
            x = up(x)
        return self._fitted(self.out(x))

    def _fitted(self, x: Tensor) -> Tensor:
        if x.shape[2:] == self.size:
            return x
        if self.fit == "interpolate":
            return interpolate(x, self.size, mode="trilinear", align_corners=False)
        spare = [(have - want) // 2 for have, want in zip(x.shape[2:], self.size, strict=True)]
        for axis, (start, length) in enumerate(zip(spare, self.size, strict=True), start=2):
            x = x.narrow(axis, start, length)
        return x
