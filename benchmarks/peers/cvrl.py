"""A step of CVRL: two strong views, the slow R3D-50, a perceptron of three hidden layers, InfoNCE within the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from peers.step import Batch, PlainStep
from peers.trunks import r3d_50
from peers.views import Drawn, all_drawn, colour_map, coloured, look

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
        ready = {}
        for number, name in enumerate(("first", "second")):
            clips, prefix = read[name], f"view{number}_"
            views = torch.empty(*clips.shape[:3], self.size, self.size)
            sigmas = read[f"{prefix}sigma"].tolist()
            turned = read[f"{prefix}solarised"].tolist() if f"{prefix}solarised" in read else [False] * len(clips)
            for i, drawn in enumerate(all_drawn(read, prefix)):
                views[i] = self.view(clips[i], drawn, sigmas[i], solarised=turned[i])
            ready[name] = views
        return ready

    def view(self, clip: Tensor, drawn: Drawn, sigma: float, *, solarised: bool) -> Tensor:
        """Crop, mirror, colours, blur, solarisation."""
        pixels = look(clip, drawn, self.size)
        maps = colour_map(drawn, pixels.mean((1, 2, 3)).numpy(), grey_first=False, per_channel=True)
        view = coloured(pixels, *maps)
        if sigma:
            band = self.band(sigma)
            view = band @ (view @ band)
        return torch.minimum(view, 1 - view) if solarised else view

    def band(self, sigma: float) -> Tensor:
        """The Gaussian blur of one line, with zeros beyond its ends: [S, S], symmetric."""
        distance = (torch.arange(self.size)[:, None] - torch.arange(self.size)).abs()
        reach = torch.arange(self.taps) - self.taps // 2
        total = torch.exp(-0.5 * (reach / sigma).square()).sum()
        return torch.where(distance <= self.taps // 2, torch.exp(-0.5 * (distance / sigma).square()), 0.0) / total

    def loss(self, ready: Batch) -> Tensor:
        """InfoNCE of both views among all others of the batch, summed."""
        embedded = self.head(self.trunk(torch.cat([ready["first"], ready["second"]])).mean((2, 3, 4)))
        z = normalize(embedded, dim=1)
        logits = (z @ z.t() / TEMPERATURE).fill_diagonal_(-torch.inf)
        own = torch.arange(len(z)).roll(len(z) // 2)
        return 2 * cross_entropy(logits, own)
