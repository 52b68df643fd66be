"""A step of CVRL: two strong views, the slow R3D-50, a perceptron of three hidden layers, InfoNCE within the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from peers.step import Batch, PlainStep
from peers.trunks import r3d_50
from peers.views import colour_maps, coloured, look

TEMPERATURE = 0.1


class Peer(PlainStep):
    """Trunk and head."""

    def __init__(self, *, width: int, size: int, dim: int, hidden: int, head_momentum: float) -> None:
        super().__init__()
        self.size, self.taps = size, 2 * (size // 10 // 2) + 1
        self.trunk = r3d_50(width)
        layers: list[nn.Module] = []
        channels = 32 * width
        for _ in range(3):
            norm = nn.BatchNorm1d(hidden, momentum=head_momentum)
            layers += [nn.Linear(channels, hidden, bias=False), norm, nn.ReLU(inplace=True)]
            channels = hidden
        self.head = nn.Sequential(*layers, nn.Linear(channels, dim))

    @torch.no_grad()
    def prepare(self, read: Batch) -> Batch:
        """Both views."""
        return {name: self.view(read, name, f"view{i}_") for i, name in enumerate(("first", "second"))}

    def view(self, read: Batch, name: str, prefix: str) -> Tensor:
        """Crop, mirror, colours, blur, solarisation."""
        pixels = look(read[name], read[f"{prefix}box"], read[f"{prefix}flip"], self.size)
        drawn = (read[f"{prefix}factors"], read[f"{prefix}factor_order"], pixels.mean((2, 3, 4)))
        clips = coloured(pixels, *colour_maps(*drawn, grey=read[f"{prefix}grey"], grey_first=False, per_channel=True))
        for i, sigma in enumerate(read[f"{prefix}sigma"].tolist()):
            if sigma:
                self.blur_(clips[i], sigma)
        if f"{prefix}solarised" in read:
            for i in read[f"{prefix}solarised"].nonzero()[:, 0].tolist():
                clips[i] = torch.minimum(clips[i], 1 - clips[i])
        return clips

    def blur_(self, clip: Tensor, sigma: float) -> None:
        """Gaussian blur [3, T, S, S] with zeros beyond the border, as one banded matrix from both sides."""
        places = torch.arange(self.size)
        distance = (places[:, None] - places).abs()
        reach = torch.arange(self.taps) - self.taps // 2
        total = torch.exp(-0.5 * (reach / sigma).square()).sum()
        band = torch.where(distance <= self.taps // 2, torch.exp(-0.5 * (distance / sigma).square()), 0.0) / total
        clip.copy_(band @ (clip @ band))

    def loss(self, ready: Batch) -> Tensor:
        """InfoNCE of both views among all others of the batch, summed."""
        embedded = self.head(self.trunk(torch.cat([ready["first"], ready["second"]])).mean((2, 3, 4)))
        z = normalize(embedded, dim=1)
        logits = (z @ z.t() / TEMPERATURE).fill_diagonal_(-torch.inf)
        own = torch.arange(len(z)).roll(len(z) // 2)
        return 2 * cross_entropy(logits, own)
