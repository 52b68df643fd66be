"""Heads on top of a backbone's map."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import normalize


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


class ProjectionHead(nn.Module):
    """Global average pool, linear layers, and optionally length 1: the embedding in which a contrastive loss compares.

    Args:
        channels: of the map or vectors.
        outputs: length of the embedding.
        hidden: hidden layers, each followed by ReLU; 0: one linear layer.
        width: of the hidden layers; None: as `channels`.
        batch_norm: BatchNorm before each ReLU; the hidden layers then have no bias.
        dropout: probability for the pooled features.
        unit: scale embeddings to length 1.
    """

    def __init__(
        self,
        channels: int,
        outputs: int = 128,
        *,
        hidden: int = 0,
        width: int | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
        unit: bool = True,
    ) -> None:
        super().__init__()
        sizes = [channels, *[width or channels] * hidden]
        layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
        for before, after in pairwise(sizes):
            layers.append(nn.Linear(before, after, bias=not batch_norm))
            layers += [nn.BatchNorm1d(after), nn.ReLU()] if batch_norm else [nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        """A map [B, channels, T', H', W'] or vectors [B, channels] to [B, outputs]."""
        embedded: Tensor = self.layers(x.flatten(2).mean(2) if x.ndim > 2 else x)
        return normalize(embedded, dim=1) if self.unit else embedded


class ConvProjectionHead(nn.Module):
    """A 3 x 3 x 3 convolution that keeps the channels, ReLU, another convolution, then a linear `ProjectionHead`.

    RSPNet's head "conv"; with `batch_norm` its "convbn": one convolution, BatchNorm, ReLU, pool, linear.

    Args:
        channels: of the map.
        outputs: length of the embedding.
        batch_norm: BatchNorm before the ReLU, in place of the second convolution.
    """

    def __init__(self, channels: int, outputs: int = 128, *, batch_norm: bool = False) -> None:
        super().__init__()
        first = nn.Conv3d(channels, channels, 3, padding=1)
        second = nn.Conv3d(channels, channels, 3, padding=1)
        rest = [nn.BatchNorm3d(channels), nn.ReLU()] if batch_norm else [nn.ReLU(), second]
        self.convolutions = nn.Sequential(first, *rest)
        self.project = ProjectionHead(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T', H', W'] to [B, outputs] of length 1."""
        embedded: Tensor = self.project(self.convolutions(x))
        return embedded
