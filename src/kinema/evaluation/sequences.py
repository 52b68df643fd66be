"""Sequences of embeddings under encoders of sequences: one vector per video, and tokens for attentive probes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.manifest import Manifest
from kinema.data.sequences import FEATURES, read_sequence, sequence_shapes
from kinema.errors import DataError, RecipeError
from kinema.evaluation.extract import Extraction, FeatureTable, Progress, frozen
from kinema.evaluation.store import room
from kinema.modules.encoder import Encoder

SEQUENCE = "sequence"
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RaggedTokens:
    """Tokens of sequences of unequal length, one after the other.

    Attributes:
        values: float32 [all tokens, D], mapped where it is large; of each video the class token, then its segments.
        bounds: int64 [N + 1], where each video begins.
    """

    values: npt.NDArray[np.float32]
    bounds: IntArray

    def read(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Tokens [B, 1 + longest, D] of these videos, padded with zeros, and their numbers of segments int64 [B]."""
        parts = [torch.from_numpy(np.array(self.values[self.bounds[row] : self.bounds[row + 1]])) for row in rows]
        lengths = torch.tensor([len(part) - 1 for part in parts])
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), lengths


def takes_sequences(encoders: Sequence[Encoder]) -> bool:
    """Whether these are encoders of sequences.

    Raises:
        RecipeError: some are and some are not.
    """
    kinds = {encoder.input.modality == SEQUENCE for encoder in encoders}
    if len(kinds) > 1:
        raise RecipeError("encoders of sequences and encoders of videos cannot be compared: they take other data")
    return kinds == {True}


def sequence_tables(
    encoders: Mapping[str, Encoder], manifest: Manifest, plan: Extraction, progress: Progress | None = None
) -> dict[str, FeatureTable]:
    """The mean over a sequence's real tokens [N, 1, D] under each encoder; of taps "b2.mean" the same.

    Raises:
        DataError: an array cannot be read.
        RecipeError: the vectors are not those that an encoder takes, or a tap is no mean of a stage.
    """
    stages = [_stage(tap, encoders) for tap in plan.taps]
    found: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in encoders}
    done = 0
    for vectors, valid in _batches(encoders, manifest, plan):
        for name, encoder in encoders.items():
            features = encoder(vectors, valid, taps=stages)
            means = (_mean(features.extra[stage], features.valid) for stage in stages)
            found[name].append(tuple(value.float().cpu() for value in (features.pooled, *means)))
        done += len(vectors)
        if progress is not None:
            progress(done, len(manifest))
    rows = np.arange(len(manifest))
    tables = {}
    for name, parts in found.items():
        pooled, *taps = (torch.cat(column).numpy()[:, None] for column in zip(*parts, strict=True))
        if not np.isfinite(pooled).all():
            raise DataError(f"the encoder '{name}' yields features that are not finite: its weights are broken")
        tables[name] = FeatureTable(rows, pooled, dict(zip(plan.taps, taps, strict=True)))
    return tables


def sequence_tokens(encoder: Encoder, manifest: Manifest, plan: Extraction) -> RaggedTokens:
    """All tokens of an encoder: the class token and one per segment that it was shown."""
    most = int((sequence_shapes(manifest).lengths + 1).sum())
    values, bounds = room((most, encoder.feature_dim), np.dtype(np.float32)), [0]
    for vectors, valid in _batches({"": encoder}, manifest, plan):
        features = encoder(vectors, valid)
        assert features.valid is not None
        tokens, lengths = features.extra["tokens"].float().cpu().numpy(), features.valid.sum(1).tolist()
        for row, length in zip(tokens, lengths, strict=True):
            values[bounds[-1] : bounds[-1] + length + 1] = row[: length + 1]
            bounds.append(bounds[-1] + length + 1)
    return RaggedTokens(values[: bounds[-1]], np.array(bounds))


def padded_batch(arrays: Sequence[npt.NDArray[np.floating]]) -> tuple[Tensor, Tensor]:
    """Arrays [n, d] as float32 [B, longest, d], padded with zeros, and where they are real: bool [B, longest]."""
    parts = [torch.from_numpy(np.array(array, np.float32)) for array in arrays]
    values = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    lengths = torch.tensor([len(part) for part in parts])
    return values, torch.arange(values.shape[1]) < lengths[:, None]


def _batches(encoders: Mapping[str, Encoder], manifest: Manifest, plan: Extraction) -> Iterator[tuple[Tensor, Tensor]]:
    """Padded vectors and where they are real, on the device, in the order of the rows; encoders are frozen."""
    dim = sequence_shapes(manifest).dim
    for name, encoder in encoders.items():
        if encoder.feature_dim != dim:
            raise RecipeError(
                f"'{name}' takes vectors of {encoder.feature_dim} numbers, those in column '{FEATURES}' have {dim}: "
                "embed these videos as the ones it was trained on"
            )
        encoder.to(plan.device)
    with frozen(*encoders.values()):
        for first in range(0, len(manifest), plan.batch):
            rows = range(first, min(first + plan.batch, len(manifest)))
            values, valid = padded_batch([read_sequence(manifest, row) for row in rows])
            yield values.to(plan.device), valid.to(plan.device)


def _stage(tap: str, encoders: Mapping[str, Encoder]) -> str:
    stage = tap.removesuffix(".mean")
    if stage == tap or any(stage not in encoder.taps for encoder in encoders.values()):
        known = ", ".join(f"@{name}.mean" for name in next(iter(encoders.values())).taps)
        raise RecipeError(
            f"sequences have no feature '{tap}'; besides the mean of all tokens there are: {known or 'none'}"
        )
    return stage


def _mean(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over real tokens of [B, 1 + N, D], without the class token."""
    assert valid is not None
    return (tokens[:, 1:] * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
