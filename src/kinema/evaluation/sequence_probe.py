"""LV-MAE's attentive probe: one more transformer block over all tokens of a long video."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kinema.evaluation.sequences import IntArray, RaggedTokens
from kinema.evaluation.splits import Fold, Split
from kinema.evaluation.tasks import Scores
from kinema.metrics import softmax
from kinema.modules.transformer.blocks import Block
from kinema.randomness import key_entropy, numpy_generator


@dataclass(frozen=True)
class SequenceProbe:
    """How LV-MAE's probe is trained; the defaults are the paper's.

    Attributes:
        heads: of the block's attention; must divide the width.
        lr: of Adam.
        weight_decay: added to the gradient.
        amsgrad: Adam's variant whose second moment never falls.
        schedule: of the rate, epoch by epoch: "exponential" times `gamma`, or "cosine" to 0.
        gamma: see `schedule`.
        epochs, batch: passes over the videos, videos per step.
        mask: which tokens may be looked at: the class token and all n segments ("real"), or all but the last segment,
            as in the released code ("off_by_one").
    """

    heads: int = 8
    lr: float = 1e-3
    weight_decay: float = 0.0
    amsgrad: bool = False
    schedule: Literal["exponential", "cosine"] = "exponential"
    gamma: float = 0.9
    epochs: int = 20
    batch: int = 16
    mask: Literal["real", "off_by_one"] = "real"

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, from 0."""
        if self.schedule == "exponential":
            return self.lr * float(self.gamma**epoch)
        return self.lr * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))

    def padding(self, lengths: Tensor, count: int) -> Tensor:
        """Bool [B, count], True where a token is no key, for videos of `lengths` [B] segments."""
        real = lengths + 1 if self.mask == "real" else lengths
        return torch.arange(count, device=lengths.device) >= real[:, None]


SEQUENCE_PROBES = {
    "lv_mae": SequenceProbe(),
    "lv_mae_code": SequenceProbe(
        lr=3e-4, weight_decay=1e-3, amsgrad=True, schedule="cosine", epochs=30, mask="off_by_one"
    ),
}
"""By name: as the supplement of the paper states it, and as the released code runs it."""


class SequenceHead(nn.Module):
    """A pre-norm block (MLP x 4, LayerNorm 1e-5), LayerNorm, a linear layer on the class token.

    Args:
        dim: D of the tokens.
        classes: number of classes.
        heads: of the attention.
    """

    def __init__(self, dim: int, classes: int, *, heads: int = 8) -> None:
        super().__init__()
        self.block = Block(dim, heads, norm_eps=1e-5)
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, classes)

    def forward(self, tokens: Tensor, padding: Tensor) -> Tensor:
        """[B, 1 + N, D], the class token first, and bool [B, 1 + N] to logits [B, classes]."""
        logits: Tensor = self.linear(self.norm(self.block(tokens, padding=padding)[:, 0]))
        return logits


def sequence_probe_scores(
    tokens: RaggedTokens, split: Split, probe: SequenceProbe, *, seed: int, device: str = "cpu"
) -> Scores:
    """Softmax scores of the test rows of all folds, ordered by row."""
    rows, parts = [], []
    for fold in split.folds:
        head = _trained(tokens, split, fold, probe, seed=seed, device=device)
        parts.append(_logits(tokens, fold.test, head, probe))
        rows.append(fold.test)
    joined = np.concatenate(parts)[np.argsort(np.concatenate(rows), kind="stable")]
    return Scores({"": softmax(joined)}, {}, {})


def _trained(
    tokens: RaggedTokens, split: Split, fold: Fold, probe: SequenceProbe, *, seed: int, device: str
) -> SequenceHead:
    key = key_entropy("sequence probe", seed, fold.name) & 0x7FFF_FFFF_FFFF_FFFF
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        head = SequenceHead(tokens.values.shape[1], len(split.classes), heads=probe.heads).to(device)
    optimiser = torch.optim.Adam(head.parameters(), weight_decay=probe.weight_decay, amsgrad=probe.amsgrad)
    for epoch in range(probe.epochs):
        order = fold.train[numpy_generator("sequence probe", key, epoch).permutation(len(fold.train))]
        for group in optimiser.param_groups:
            group["lr"] = probe.rate(epoch)
        for chosen in np.split(order, range(probe.batch, len(order), probe.batch)):
            optimiser.zero_grad()
            labels = torch.from_numpy(split.labels[chosen]).to(device)
            cross_entropy(_told(tokens, chosen, head, probe), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return head.eval()


def _told(tokens: RaggedTokens, rows: IntArray, head: SequenceHead, probe: SequenceProbe) -> Tensor:
    device = head.linear.weight.device
    values, lengths = (part.to(device) for part in tokens.read(rows))
    logits: Tensor = head(values, probe.padding(lengths, values.shape[1]))
    return logits


@torch.no_grad()
def _logits(
    tokens: RaggedTokens, rows: IntArray, head: SequenceHead, probe: SequenceProbe
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    parts = np.split(rows, range(probe.batch, len(rows), probe.batch))
    return np.concatenate([_told(tokens, part, head, probe).cpu().numpy() for part in parts])
