"""Encoders of sequences of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from kinema.backbones.sequence import SequenceTransformer
from kinema.modules.encoder import Encoder, EncoderInput, Features

Long = Literal["window", "truncate"]


class SequenceEncoder(Encoder):
    """A transformer over embeddings as an encoder of long videos: the mean of its tokens as the video's vector.

    The class token does not count in the mean; it stands first in `extra["tokens"]` [B, 1 + N, D], which attentive
    probes read. Taps "b1" … name what blocks return, in the same form. Vectors are scaled to unit length here.

    Args:
        trunk: the transformer.
        long: sequences longer than it was made for: "window" shows it one stretch of `trunk.tokens` after the other,
            each with places from 0, and joins their tokens (class tokens: their mean); "truncate" shows the first.
    """

    def __init__(self, trunk: SequenceTransformer, *, long: Long = "window") -> None:
        super().__init__()
        self.trunk, self.long = trunk, long
        self.input = EncoderInput("sequence", frames=trunk.tokens)
        self.feature_dim, self.heads = trunk.feature_dim, trunk.heads
        self.taps = tuple(f"b{number}" for number in range(1, len(trunk.blocks) + 1))

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """Vectors [B, N, D], `valid` bool [B, N] where they are padded at the end, to Features.

        Returns:
            pooled [B, D], map [B, N, D] without the class token, valid [B, N], "tokens" and the `taps` in `extra`; N
            is at most `trunk.tokens` where sequences are truncated.
        """
        span = self.trunk.tokens
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid
        if self.long == "truncate":
            x, valid = x[:, :span], valid[:, :span]
        wanted = sorted(self.taps.index(name) for name in taps)
        starts = range(0, x.shape[1], span)
        outputs = [self._window(x[:, k : k + span], valid[:, k : k + span], wanted) for k in starts]
        weights = torch.stack([valid[:, k : k + span].any(1) for k in starts], 1).float()
        *tapped, tokens = (_joined(parts, weights) for parts in zip(*outputs, strict=True))
        pooled = (tokens[:, 1:] * valid[..., None]).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
        extra = {self.taps[number]: part for number, part in zip(wanted, tapped, strict=True)}
        return Features(pooled, tokens[:, 1:], valid, {"tokens": tokens, **extra})

    def _window(self, x: Tensor, valid: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        return self.trunk(normalize(x.float(), dim=-1), padding=~valid, wanted=wanted)  # type: ignore[no-any-return]


class RawSequence(Encoder):
    """The embeddings themselves, of unit length, and their mean: what a transformer over them must beat.

    A zero stands where the class token would.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.input, self.feature_dim = EncoderInput("sequence"), dim

    def forward(self, x: Tensor, valid: Tensor | None = None, taps: Sequence[str] = ()) -> Features:
        """As `SequenceEncoder.forward`."""
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid
        vectors = normalize(x.float(), dim=-1) * valid[..., None]
        pooled = vectors.sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
        return Features(pooled, vectors, valid, {"tokens": pad(vectors, (0, 0, 1, 0))})


def _joined(parts: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Tokens [B, 1 + n, D] of the windows as [B, 1 + N, D]: class tokens averaged by `weights` [B, windows]."""
    if len(parts) == 1:
        return parts[0]
    front = torch.stack([part[:, 0] for part in parts], 1)
    mean = (front * weights[..., None]).sum(1, keepdim=True) / weights.sum(1).clamp(min=1)[:, None, None]
    return torch.cat([mean, *(part[:, 1:] for part in parts)], 1)
