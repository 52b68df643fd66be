"""Training the attentive probe on stored tokens, and its scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kinema.evaluation.aggregation import joined_views
from kinema.evaluation.attentive import AttentiveHead
from kinema.evaluation.features import Array
from kinema.evaluation.splits import Split
from kinema.evaluation.tasks import Scores
from kinema.randomness import key_entropy, numpy_generator

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AttentivePreset:
    """V-JEPA's training of the probe, on stored tokens.

    The published one augments its training clips (area crops, RandAugment, erasing, no mirror images); stored clips
    are shown as in the test.

    Attributes:
        across: the tokens of all clips of a video are joined for one query (`attend_across_segments`) instead of one
            query for each clip. Crops always are views of their own.
        heads: of the attention; None: the encoder's own, or one for 64 dimensions.
        applies_projection: see `AttentiveHead`.
        lr: of AdamW, falling to 0 along a cosine without warm-up.
        weight_decay, final_weight_decay: ends of its cosine; none on biases and other parameters of one dimension.
        epochs, batch: passes over the samples, samples per step (at most all).
        clip_grad: largest norm of the gradient.
    """

    across: bool = False
    heads: int | None = None
    applies_projection: bool = False
    lr: float = 1e-3
    weight_decay: float = 0.01
    final_weight_decay: float = 1e-6
    epochs: int = 20
    batch: int = 256
    clip_grad: float = 1.0

    def at(self, progress: float) -> tuple[float, float]:
        """Learning rate and weight decay at `progress` in [0, 1)."""
        share = 0.5 * (1 + math.cos(math.pi * progress))
        return self.lr * share, self.final_weight_decay + share * (self.weight_decay - self.final_weight_decay)


@dataclass(frozen=True)
class Segments:
    """Tokens [rows, views, N, D] as samples of a probe.

    Attributes:
        tokens: usually memory-mapped; views are clips x crops, crops inside.
        clips: clips whose tokens become one sample; 1 makes every view a sample of its own.
    """

    tokens: Array
    clips: int = 1

    @property
    def per_row(self) -> int:
        """Samples of one row."""
        return int(self.tokens.shape[1]) // self.clips

    def read(self, samples: IntArray) -> Tensor:
        """Of (row, sample of that row) [B, 2] the tokens float32 [B, clips N, D]."""
        views = samples[:, 1:] + self.per_row * np.arange(self.clips)
        return torch.from_numpy(np.asarray(self.tokens[samples[:, :1], views], np.float32)).flatten(1, 2)

    def samples(self, rows: IntArray) -> IntArray:
        """(row, sample of that row) for all samples of `rows`, [len(rows) x per_row, 2]."""
        return np.stack([np.repeat(rows, self.per_row), np.tile(np.arange(self.per_row), len(rows))], 1)


def attentive_scores(
    segments: Segments, split: Split, preset: AttentivePreset, *, heads: int, seed: int, device: str = "cpu"
) -> Scores:
    """Scores of the test rows of all folds, ordered by row; the softmax of a video's samples is averaged."""
    classes, dim = len(split.classes), segments.tokens.shape[-1]
    rows, parts = [], []
    for fold in split.folds:
        with torch.random.fork_rng():
            key = key_entropy("attentive", seed, fold.name) & 0x7FFF_FFFF_FFFF_FFFF
            torch.manual_seed(key)
            head = AttentiveHead(dim, classes, heads=heads, applies_projection=preset.applies_projection).to(device)
        fit_attentive(segments, fold.train, split.labels, head, preset=preset, seed=key)
        logits = torch.cat(list(_logits(segments, fold.test, head, preset.batch)))
        parts.append(logits.view(len(fold.test), segments.per_row, classes).numpy())
        rows.append(fold.test)
    joined = np.concatenate(parts)[np.argsort(np.concatenate(rows), kind="stable")]
    scores = joined_views(joined, "mean_softmax")
    # Of joined clips there is no accuracy of one.
    return scores if segments.clips == 1 else scores._replace(clip={})


def fit_attentive(
    segments: Segments, rows: IntArray, labels: IntArray, head: AttentiveHead, *, preset: AttentivePreset, seed: int
) -> None:
    """Train `head`, where it lies, on the samples of `rows`; only one batch of tokens is in memory at a time.

    Args:
        segments: of all rows.
        rows: the training rows.
        labels: of all rows.
        head: left in evaluation mode.
        preset: optimiser and lengths.
        seed: key of the order.
    """
    device = head.query.device
    deep, flat = ([p for p in head.parameters() if (p.ndim > 1) is is_deep] for is_deep in (True, False))
    optimiser = torch.optim.AdamW([{"params": deep}, {"params": flat}])
    samples = segments.samples(rows)
    batch = min(preset.batch, len(samples))
    batches = list(_batches(len(samples), batch, preset.epochs, seed))
    head.train()
    for step, order in enumerate(batches):
        chosen = samples[order]
        rate, decay = preset.at(step / len(batches))
        for group, factor in zip(optimiser.param_groups, (1.0, 0.0), strict=True):
            group["lr"], group["weight_decay"] = rate, factor * decay
        optimiser.zero_grad()
        logits = head(segments.read(chosen).to(device))
        cross_entropy(logits, torch.from_numpy(labels[chosen[:, 0]]).to(device)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), preset.clip_grad)
        optimiser.step()
    head.eval()


def _batches(count: int, batch: int, epochs: int, seed: int) -> Iterator[IntArray]:
    for epoch in range(epochs):
        order = numpy_generator("attentive", seed, epoch).permutation(count)
        yield from np.split(order, range(batch, count, batch))


@torch.no_grad()
def _logits(segments: Segments, rows: IntArray, head: AttentiveHead, batch: int) -> Iterator[Tensor]:
    samples = segments.samples(rows)
    for chosen in np.split(samples, range(batch, len(samples), batch)):
        yield head(segments.read(chosen).to(head.query.device)).cpu()
