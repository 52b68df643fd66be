"""Training with labels from scratch: the same network, the same clips, no pre-training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kinema.data.index import Index, per_row
from kinema.data.loading import Request, cut, deliver, epoch_order
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Frames, Sample
from kinema.errors import DataError, RecipeError
from kinema.evaluation.extract import Extraction, extract
from kinema.evaluation.reading import clip_frames, shown
from kinema.evaluation.splits import Split
from kinema.evaluation.tasks import Scores
from kinema.metrics import softmax
from kinema.modules.encoder import Encoder, EncoderInput
from kinema.randomness import key_entropy


@dataclass(frozen=True)
class Supervised:
    """How the network is trained: AdamW, cosine to 0, random clip and random crop, no mirroring.

    Attributes:
        epochs: passes over the training videos, one clip each; 0 leaves this baseline out.
        batch: clips per step.
        lr, weight_decay: of AdamW.
    """

    epochs: int = 0
    batch: int = 8
    lr: float = 1e-3
    weight_decay: float = 0.05


@dataclass(frozen=True)
class ClipPlanner:
    """One random clip of a training video with its label (class number of each manifest row), cropped at random."""

    network: EncoderInput
    labels: npt.NDArray[np.int64]

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Any start that fits is as likely; a video that is too short repeats its last frame."""
        inside = index.frames(i, rate=self.network.rate)
        steps = self.network.stride * np.arange(clip_frames(self.network))
        start = rng.integers(max(1, len(inside) - steps[-1]))
        wanted = np.minimum(start + steps, len(inside) - 1)
        spare = np.subtract(self.network.resize, self.network.size)
        draws = {"corner": rng.integers(spare + 1), "label": self.labels[int(index.rows[i])]}
        read = Frames(int(index.rows[i]), inside[wanted], self.network.resize)
        return Sample({"clip": read}, {name: np.asarray(value) for name, value in draws.items()})

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Cut the crops."""
        clips, corners = cast(Tensor, batch["clip"]), cast(Tensor, batch["corner"])
        height, width = self.network.size
        cropped = [c[..., y : y + height, x : x + width] for c, (y, x) in zip(clips, corners.tolist(), strict=True)]
        return {**batch, "clip": torch.stack(cropped)}


def supervised_scores(
    encoder: Encoder, manifest: Manifest, split: Split, how: Supervised, reading: Extraction, *, seed: int = 0
) -> Scores:
    """Train a copy of `encoder` with a new linear head on the training rows, and score the test rows.

    Views are joined by the mean of their softmax.

    Raises:
        RecipeError: the split has several folds, each of which would need a training of its own.
    """
    if not split.single:
        raise RecipeError(
            f"training from scratch would run once for each of {len(split.folds)} folds; use a manifest with a column "
            "'split', or set the epochs of training from scratch to 0"
        )
    # Initial head and dropout draw from the global generator.
    with torch.random.fork_rng():
        torch.manual_seed(key_entropy("supervised", seed) % 2**63)
        trained, head = _train(encoder, manifest, split, how, reading, seed)
    test = manifest.select(split.folds[0].test)
    table = extract({"scratch": trained}, test, replace(reading, taps=(), cache=None))["scratch"]
    with torch.no_grad():
        logits = head(torch.from_numpy(table.pooled).to(reading.device))
    clip = softmax(logits.cpu().numpy())
    return Scores({"": clip.mean(1)}, {"": clip}, {})


def _train(
    encoder: Encoder, manifest: Manifest, split: Split, how: Supervised, reading: Extraction, seed: int
) -> tuple[Encoder, nn.Linear]:
    network = copy.deepcopy(encoder).to(reading.device).train().requires_grad_(True)
    head = nn.Linear(encoder.feature_dim, len(split.classes)).to(reading.device)
    index = per_row(manifest).take(split.folds[0].train)
    requests = list(_requests(len(index), how, seed))
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], how.lr, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(requests))
    planner = ClipPlanner(network.input, split.labels)
    for delivery in deliver(planner, index, requests, seed=seed, workers=reading.workers):
        if delivery.failures or delivery.batch is None:
            raise DataError(f"{delivery.failures[0].path}: {delivery.failures[0].reason}")
        clips, labels = cast(Tensor, delivery.batch["clip"]), cast(Tensor, delivery.batch["label"])
        logits = head(network(shown(network.input, clips.to(reading.device))).pooled)
        optimiser.zero_grad()
        cross_entropy(logits, labels.to(reading.device)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval(), head.eval()


def _requests(count: int, how: Supervised, seed: int) -> Iterator[Request]:
    step = 0
    for epoch in range(how.epochs):
        for samples, repeats in cut(epoch_order(None, count, epoch, seed), how.batch):
            yield Request(Clock(epoch, step, epoch / how.epochs), samples, repeats)
            step += 1
