"""A step of 3DRotNet with drawn turns: crop, mirror, turn, R3D, dropout, a linear layer, cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from peers.step import Batch, PlainStep
from peers.trunks import r3d

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class Peer(PlainStep):
    """The network: trunk, dropout, four turns."""

    def __init__(self, *, width: int, size: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.size = size
        self.trunk = r3d(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8 * width, 4)

    @torch.no_grad()
    def prepare(self, read: Batch) -> Batch:
        """Crop, mirror and turn of each clip in one copy; bytes."""
        video, size = read["video"], self.size
        out = video.new_empty(*video.shape[:3], size, size)
        drawn = zip(read["box"].tolist(), read["flip"].tolist(), read["label"].tolist(), strict=True)
        for i, ((top, left, _, _), mirrored, quarters) in enumerate(drawn):
            clip = video[i, :, :, top : top + size, left : left + size]
            if mirrored:
                clip = clip.flip(-1)
            out[i] = torch.rot90(clip, quarters, (-2, -1)) if quarters else clip
        return {"video": out, "label": read["label"]}

    def loss(self, ready: Batch) -> Tensor:
        """Cross-entropy of the turn."""
        shape = (1, 3, 1, 1, 1)
        x = ready["video"].float().sub_(255 * MEAN.view(shape)).div_(255 * STD.view(shape))
        logits = self.head(self.dropout(self.trunk(x).mean((2, 3, 4))))
        return cross_entropy(logits, ready["label"])
