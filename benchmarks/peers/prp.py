"""A step of PRP: one crop, motion masks of what is needed, C3D, the dilation as a class, frames in slow motion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate

from peers.step import Batch, PlainStep
from peers.trunks import c3d

LOW, HIGH, EPSILON = 0.8, 2.0, 1e-6


def unit(channels: int, width: int) -> list[nn.Module]:
    """Convolution, batch normalisation, ReLU."""
    return [nn.Conv3d(channels, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU(inplace=True)]


class Peer(PlainStep):
    """The network: trunk, a branch for the dilation, a branch of four doublings for the frames."""

    def __init__(self, *, width: int, size: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.size, self.slots = size, max(dilations)
        channels = 8 * width
        self.trunk = c3d(width)
        self.rate = nn.Sequential(*unit(channels, channels))
        slow = unit(channels, channels)
        self.slow = nn.Sequential(*slow)
        self.fc8 = nn.Linear(channels, len(dilations))
        ups: list[nn.Module] = []
        for last in (False, False, False, True):
            ups.append(nn.ConvTranspose3d(channels, channels, 2, 2))
            if not last:
                ups += unit(channels, channels // 2)
                channels //= 2
        self.decoder = nn.Sequential(*ups, *unit(channels, 3))

    def groups(self, lr: float) -> list[dict]:
        """The classifier learns ten times as fast."""
        fast = list(self.fc8.parameters())
        slow = [p for p in self.parameters() if not any(p is q for q in fast)]
        return [{"params": slow}, {"params": fast, "lr": 10 * lr}]

    @torch.no_grad()
    def prepare(self, read: Batch) -> Batch:
        """Crops, and the masks of as many blocks as each dilation has."""
        shown, compared, size = read["shown"], read["compared"], self.size
        crops = shown.new_empty(*shown.shape[:3], size, size)
        blocks, counts = [], read["dilation"].tolist()
        drawn = zip(read["box"].tolist(), read["flip"].tolist(), strict=True)
        for i, ((top, left, _, _), mirrored) in enumerate(drawn):
            window = (slice(None), slice(None), slice(top, top + size), slice(left, left + size))
            clip, frames = shown[i][window], compared[i][window].unflatten(1, (self.slots, 4))
            blocks.append(frames[:, :: self.slots // counts[i]])
            crops[i] = clip.flip(-1) if mirrored else clip
            if mirrored:
                blocks[-1] = blocks[-1].flip(-1)
        masks = self.masks(torch.cat(blocks, 1)).split(counts)
        repeated = [mask.repeat_interleave(self.slots // len(mask), 0) for mask in masks]
        return {
            "shown": crops,
            "label": read["label"],
            "dilation": read["dilation"],
            "mask": torch.stack(repeated).transpose(1, 2),
        }

    def masks(self, blocks: Tensor) -> Tensor:
        """[3, N blocks, 4, S, S] bytes to [N, 3, S, S]; windows of four steps as two pools, one after the other."""
        frames = blocks.float().div_(255).transpose(0, 1)
        step = self.size // 16
        moved = (frames[:, :, 1:] - frames[:, :, :-1]).square_().sum(2).div_(3)
        differences = avg_pool2d(avg_pool2d(moved, step), 4, 1)
        least, most = differences.amin((2, 3), keepdim=True), differences.amax((2, 3), keepdim=True)
        scaled = (differences - least + EPSILON) / (most - least + EPSILON) * (HIGH - LOW) + LOW
        grown = interpolate(scaled, (self.size, self.size), mode="bilinear", align_corners=False)
        still = (most == least).all(1).flatten()
        grown[still] = 1
        return grown

    def loss(self, ready: Batch) -> Tensor:
        """The masked error of the frames, and a tenth of the cross-entropy of the dilation."""
        target = ready["shown"].float().div_(255)
        clip = target[:, :, ::2].contiguous()
        batch, _, length = target.shape[:3]
        known = torch.full((batch, length), 1 / length)
        for i in (ready["dilation"] == 1).nonzero()[:, 0].tolist():
            target[i, :, 1:-1:2] = (clip[i, :, :-1] + clip[i, :, 1:]) / 2
            target[i, :, -1] = clip[i, :, -1]
            known[i, ::2], known[i, 1::2] = 2 / length, 0
        maps = self.trunk(clip)
        logits = self.fc8(self.rate(maps).mean((2, 3, 4)))
        errors = (self.decoder(self.slow(maps)) - target).square()
        weighted = errors.unflatten(2, (self.slots, -1)) * ready["mask"][:, :, :, None]
        reconstruction = (weighted.mean((1, 4, 5)).flatten(1) * known).sum() / batch
        return reconstruction + 0.1 * cross_entropy(logits, ready["label"])
