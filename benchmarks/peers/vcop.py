"""A step of VCOP with three clips: a crop for each clip, R3D, pairs of clips, the order as one of six classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from peers.step import Batch, PlainStep
from peers.trunks import r3d

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class Peer(PlainStep):
    """The network: trunk, a layer for pairs, a layer for orders."""

    def __init__(self, *, width: int, size: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.size = size
        self.trunk = r3d(width)
        self.fc7 = nn.Linear(16 * width, 8 * width)
        self.fc8 = nn.Linear(24 * width, 6)
        self.dropout = nn.Dropout(dropout)

    @torch.no_grad()
    def prepare(self, read: Batch) -> Batch:
        """Crop and mirror of each clip; bytes [B, 3 clips, 3, T, S, S]."""
        video, size = read["video"], self.size
        frames = video.shape[2] // 3
        out = video.new_empty(len(video), 3, 3, frames, size, size)
        for i, (boxes, flips) in enumerate(zip(read["box"].tolist(), read["flip"].tolist(), strict=True)):
            for n, ((top, left, _, _), mirrored) in enumerate(zip(boxes, flips, strict=True)):
                clip = video[i, :, n * frames : (n + 1) * frames, top : top + size, left : left + size]
                out[i, n] = clip.flip(-1) if mirrored else clip
        return {"video": out, "label": read["label"]}

    def loss(self, ready: Batch) -> Tensor:
        """Cross-entropy of the order."""
        shape = (1, 3, 1, 1, 1)
        x = ready["video"].flatten(0, 1).float().sub_(255 * MEAN.view(shape)).div_(255 * STD.view(shape))
        first, second, third = self.trunk(x).mean((2, 3, 4)).view(len(ready["label"]), 3, -1).unbind(1)
        pairs = torch.stack([torch.cat(pair, 1) for pair in ((first, second), (first, third), (second, third))], 1)
        hidden = self.fc7(pairs).relu_().flatten(1)
        return cross_entropy(self.fc8(self.dropout(hidden)), ready["label"])
