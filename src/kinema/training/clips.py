"""A fixed set of plain clips, for looking at features while training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.data.index import Index, per_row
from kinema.data.loading import Request, deliver
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Frames, Sample, tensor
from kinema.modules.encoder import Encoder, EncoderInput, shown


@dataclass(frozen=True)
class CentreClips:
    """A planner of one clip per row: from the middle of its window, centre crop, no augmentation."""

    input: EncoderInput

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """The middle clip; rows shorter than a clip repeat their last frame."""
        available = index.frames(i, rate=self.input.rate)
        span = (self.input.frames - 1) * self.input.stride + 1
        first = max(0, (len(available) - span) // 2)
        chosen = np.minimum(first + np.arange(self.input.frames) * self.input.stride, len(available) - 1)
        return Sample({"video": Frames(int(index.rows[i]), available[chosen], self.input.resize)}, {})

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Cut the centre: uint8 [B, 3, T, H, W] to the encoder's size."""
        video = tensor(batch, "video")
        height, width = self.input.size
        top, left = (video.shape[3] - height) // 2, (video.shape[4] - width) // 2
        return {**batch, "video": video[..., top : top + height, left : left + width].contiguous()}


@dataclass(frozen=True)
class ProbeSet:
    """Clips uint8 [N, 3, T, H, W] and, where the manifest has them, labels int64 [N]."""

    clips: Tensor
    labels: Tensor | None


def read_probe_set(manifest: Manifest, wanted: EncoderInput, *, count: int, workers: int) -> ProbeSet | None:
    """Clips of at most `count` rows, evenly spread over the manifest; None when fewer than two can be read.

    Labels are taken where every row has one.
    """
    rows = np.unique(np.linspace(0, len(manifest) - 1, min(count, len(manifest))).round().astype(np.int64))
    index = per_row(manifest).take(rows)
    parts = [part.tolist() for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // 8))]
    requests = [Request(Clock(0, 0, 0.0), tuple(part), (0,) * len(part)) for part in parts]
    clips: list[Tensor] = []
    kept: list[int] = []
    for delivery in deliver(CentreClips(wanted), index, requests, seed=0, workers=workers):
        if delivery.batch is not None:
            clips.append(tensor(delivery.batch, "video"))
            kept += tensor(delivery.batch, "sample").tolist()
    if len(kept) < 2:
        return None
    labels = None
    if "label" in manifest.columns and all(manifest.column("label")):
        numbers, _ = manifest.labels()
        labels = torch.from_numpy(numbers[rows[kept]])
    return ProbeSet(torch.cat(clips), labels)


@torch.no_grad()
def embed_clips(encoder: Encoder, clips: Tensor, device: torch.device, *, batch: int = 16) -> Tensor:
    """Pooled features float32 [N, D] on the CPU, in eval mode; the encoder's mode is restored."""
    training = encoder.training
    encoder.eval()
    try:
        parts = [
            encoder(shown(encoder.input, clips[k : k + batch].to(device))).pooled.float().cpu()
            for k in range(0, len(clips), batch)
        ]
    finally:
        encoder.train(training)
    return torch.cat(parts)
