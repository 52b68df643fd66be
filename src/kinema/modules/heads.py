"""Heads on top of a backbone's map."""

from __future__ import annotations

import math

from torch import Tensor, nn


class C3DLightHead(nn.Module):
    """The fully connected layers fc6, fc7 and fc8 of the light C3D: the last map to predictions.

    With the trunk `C3DLight` and 14 outputs this is the network of motion-appearance statistics (Wang et al., CVPR
    2019): 17,266,702 parameters. The map is flattened in the order time, height, width, channel. Weights of fc6 and
    fc7 start as N(0, 0.005) with biases 1, those of fc8 as N(0, 0.01) with biases 0.

    Args:
        outputs: predicted values.
        channels: channels of the map.
        map_size: (T', H', W') of the map, (1, 4, 4) for clips of 16 x 112 x 112.
        hidden: width of fc6 and fc7.
        dropout: probability after fc6 and fc7 (0 in pre-training, 0.5 in fine-tuning).
    """

    def __init__(
        self,
        outputs: int = 14,
        *,
        channels: int = 256,
        map_size: tuple[int, int, int] = (1, 4, 4),
        hidden: int = 2048,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * math.prod(map_size), hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)
        for layer, std, bias in ((self.fc6, 0.005, 1.0), (self.fc7, 0.005, 1.0), (self.fc8, 0.01, 0.0)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.constant_(layer.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T', H', W'] to [B, outputs]."""
        x = x.permute(0, 2, 3, 4, 1).flatten(1)
        for layer in (self.fc6, self.fc7):
            x = self.dropout(layer(x).relu())
        y: Tensor = self.fc8(x)
        return y
