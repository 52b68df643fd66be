"""LV-MAE: fill in hidden segments of long videos, each segment one vector of a frozen encoder.

Naiman, Ben-Baruch et al., "LV-MAE: Learning long video representations through masked-embedding autoencoders", ICCV
2025 (arXiv 2504.03501). A video is a sequence of embeddings of consecutive segments, five seconds each as published. A
transformer sees a part of them, and a smaller one regresses the others. What the segments are embedded by is the user's
choice: `kinema embed --segments`, or arrays brought along.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from kinema.backbones.sequence import SequenceTransformer
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Column, Ragged, Sample, tensor
from kinema.data.sequences import FEATURES, sequence_shapes
from kinema.errors import DataError, RecipeError
from kinema.losses.reconstruction import Distance, token_errors
from kinema.methods.base import Losses, Method, ParamGroup, Phase
from kinema.methods.sequences import Long, SequenceEncoder
from kinema.modules.encoder import Products
from kinema.modules.transformer.decoder import TokenDecoder
from kinema.modules.transformer.patches import take
from kinema.targets.masking import Masking, neighbour_similarity, padded_masking, visible_count
from kinema.targets.patches import standardise

Hide = Literal["low_similarity", "high_similarity"]
_FEW, _REPEATS = 5, 3
"""Videos of fewer segments are shown three times over."""


class SegmentAutoencoder(nn.Module):
    """Visible vectors of a sequence in, the hidden ones out.

    Args:
        encoder: of whole sequences, whose transformer sees the visible vectors.
        decoder: for its sequences; the class token goes through it.
        standardised: what is predicted are vectors whose numbers have mean 0 and variance 1.
    """

    def __init__(self, encoder: SequenceEncoder, decoder: TokenDecoder, *, standardised: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder, self.standardised = encoder, decoder, standardised

    def targets(self, vectors: Tensor) -> Tensor:
        """What is to be predicted of vectors [..., D] of unit length: they themselves, or standardised."""
        return standardise(vectors, "patch" if self.standardised else "none")

    def forward(self, vectors: Tensor, masking: Masking) -> Tensor:
        """Predictions [B, M, D] of `masking.hidden`; of places -1, which fill up, they mean nothing.

        Args:
            vectors: [B, N, D] of unit length; hidden ones are not looked at.
            masking: `kept` [B, K] and `hidden` [B, M], filled up with -1.
        """
        kept, hidden = masking.kept.clamp(min=0), masking.hidden.clamp(min=0)
        padding = masking.kept < 0
        latent = self.encoder.trunk(take(vectors, kept), kept, padding=padding)[-1]
        predicted: Tensor = self.decoder(latent, kept, hidden, padding=torch.cat([padding, masking.hidden < 0], 1))
        return predicted


class LVMAE(Method):
    """Long-video masked autoencoder of segment embeddings.

    Args:
        width: numbers of one embedding, which is the network's width: even, and a multiple of `heads`.
        depth: blocks of the encoder; published 32, also 16 and 24.
        heads: of the encoder.
        decoder_width: of the decoder.
        decoder_depth: of the decoder.
        decoder_heads: of the decoder.
        tokens: longest sequence; published 256.
        segment: seconds of one segment; 5 as published.
        shortest: least duration in seconds that is drawn; durations are whole seconds up to tokens x segment.
        masking: "semantic" hides by similarity to the segment before, "random" any.
        ratio: share of the segments that is hidden; best published 0.5 for semantic, 0.4 for random masking.
        hide: of semantic masking: "low_similarity" hides what differs from the segment before it, as the paper says;
            "high_similarity" what resembles it, as the released code does.
        loss: "mse" over the numbers of a vector, or "cosine", 1 - cos.
        standardised: regress vectors whose numbers have mean 0 and variance 1.
        average: of the loss: over all hidden segments of the "batch" (code), so that long videos weigh more; or per
            "video" first, of squared norms without 1 / D (paper).
        long: sequences longer than `tokens`, in evaluation: cut into a "window" after the other, or "truncate"d.
    """

    columns: ClassVar[tuple[str, ...]] = (FEATURES,)
    optional: ClassVar[tuple[str, ...]] = ("feature_times", "text_features")

    def __init__(
        self,
        *,
        width: int = 1024,
        depth: int = 32,
        heads: int = 16,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        tokens: int = 256,
        segment: float = 5.0,
        shortest: int = 10,
        masking: Literal["semantic", "random"] = "semantic",
        ratio: float = 0.5,
        hide: Hide = "low_similarity",
        loss: Distance = "mse",
        standardised: bool = False,
        average: Literal["batch", "video"] = "batch",
        long: Long = "window",
    ) -> None:
        super().__init__()
        if not 0 < ratio < 1:
            raise RecipeError(f"ratio={ratio}: the share of hidden segments, above 0 and below 1")
        if tokens < 2 or segment <= 0 or not 0 < shortest <= tokens * segment:
            raise RecipeError(
                f"tokens={tokens}, segment={segment:g}, shortest={shortest}: two tokens at least, and a shortest "
                "duration of at most tokens x segment seconds"
            )
        self.width, self.longest, self.segment, self.shortest = width, tokens, segment, shortest
        self.masking, self.ratio, self.hide = masking, ratio, hide
        self.distance, self.average = loss, average
        trunk = SequenceTransformer(width, depth=depth, heads=heads, tokens=tokens)
        decoder = TokenDecoder(
            (tokens, 1, 1),
            width,
            width=decoder_width,
            depth=decoder_depth,
            heads=decoder_heads,
            outputs=width,
            positions="line",
            class_token="encoder",
        )
        self.autoencoder = SegmentAutoencoder(SequenceEncoder(trunk, long=long), decoder, standardised=standardised)
        self.input = self.encoder.input

    @property
    def encoder(self) -> SequenceEncoder:
        """The encoder that is trained."""
        return self.autoencoder.encoder

    def index(self, manifest: Manifest) -> Index:
        """One sample per row; rows of which not one segment would stay visible are left out and counted.

        Raises:
            RecipeError: the vectors are not of `width` numbers.
            DataError: an array cannot be read, or all are too short.
        """
        lengths, dim = sequence_shapes(manifest)
        if dim != self.width:
            raise RecipeError(f"width={self.width}: the vectors of {manifest.root} have {dim} numbers: set width={dim}")
        rows = np.flatnonzero(lengths * (1 - self.ratio) >= 1)
        if not len(rows):
            raise DataError(
                f"no video has the {1 / (1 - self.ratio):g} segments of a sample; the longest has {lengths.max()}"
            )
        ends = (lengths[rows] * self.segment).astype(np.float64)
        return Index(manifest, rows, np.zeros(len(rows)), ends, short=len(lengths) - len(rows))

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Which stretch of the sequence, and the noise of a random mask.

        A whole number of seconds is drawn from `shortest` to tokens x segment, then a start. "order" repeats the
        stretch three times in videos of fewer than five segments.
        """
        total = round(float(index.ends[i]) / self.segment)
        duration = int(rng.integers(self.shortest, int(self.longest * self.segment) + 1))
        count = min(max(2, int(duration // self.segment)), total)
        start = int(rng.integers(total - count + 1))
        order = np.tile(np.arange(count), _REPEATS if total < _FEW else 1)[: self.longest]
        draws = {
            "order": order,
            "keep": np.array(visible_segments(len(order), self.ratio)),
            "noise": rng.random(len(order)).astype(np.float32),
        }
        return Sample({"segments": Column(int(index.rows[i]), FEATURES, start, start + count)}, draws)

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Vectors of unit length, padded to the longest sequence, and masks.

        Returns "vectors" float32 [B, N, D], "lengths" int64 [B], "kept" int64 [B, K] and "hidden" int64 [B, M], places
        that fill up -1.
        """
        order, keep = _padded(batch["order"]), tensor(batch, "keep")
        vectors = normalize(take(_padded(batch["segments"]).values.float(), order.values), dim=-1)
        vectors = vectors * order.valid[..., None]
        masking = self.masks(vectors, order.lengths, keep, _padded(batch["noise"]).values)
        return {"vectors": vectors, "lengths": order.lengths, "kept": masking.kept, "hidden": masking.hidden}

    def masks(self, vectors: Tensor, lengths: Tensor, keep: Tensor, noise: Tensor) -> Masking:
        """Which of the vectors [B, N, D] are hidden; `noise` [B, N] decides where the masking is random."""
        semantic = self.masking == "semantic"
        visible = visible_segments(vectors.shape[1], self.ratio)
        return padded_masking(
            neighbour_similarity(vectors) if semantic else noise,
            lengths,
            keep,
            # Both numbers grow with the length, so that the longest sequence has the most of either.
            sizes=(visible, vectors.shape[1] - visible),
            high=semantic and self.hide == "low_similarity",
        )

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Error of the hidden segments; "cosine" says how well directions are told, "zero" what predicting 0 costs."""
        masking = Masking(tensor(batch, "kept"), tensor(batch, "hidden"))
        vectors = tensor(batch, "vectors")
        predicted = self.autoencoder(vectors, masking)
        counted = masking.hidden >= 0
        target = self.autoencoder.targets(take(vectors, masking.hidden.clamp(min=0)))
        errors = token_errors(predicted, target, self.distance).where(counted, 0.0)
        with torch.no_grad():
            similar = 1 - token_errors(predicted, target, "cosine")
            told = {"cosine": similar, "zero": target.float().square().mean(-1)}
            parts = {name: self._averaged(values.where(counted, 0.0), counted) for name, values in told.items()}
        if self.average == "video":
            scale = self.width if self.distance == "mse" else 1
            weight = torch.full((), float(len(vectors)), device=vectors.device)
            return {"loss": scale * self._averaged(errors, counted), "weight": weight, "parts": parts}
        return {"loss": self._averaged(errors, counted), "weight": counted.sum().float(), "parts": parts}

    def _averaged(self, values: Tensor, counted: Tensor) -> Tensor:
        """Of values [B, M], 0 where they do not count: over all that count, or per video first."""
        if self.average == "batch":
            return values.sum() / counted.sum()
        return (values.sum(1) / counted.sum(1)).mean()

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """No weight decay of biases and other parameters of one dimension, as published."""
        return ParamGroup(weight_decay=0.0 if parameter.ndim <= 1 else 1.0)

    def products(self) -> Products:
        """The encoder of sequences, and the predictor of hidden segments."""
        return Products({"sequence": self.encoder}, predictors={"segments": self.autoencoder})


def visible_segments(count: int, ratio: float) -> int:
    """int(n (1 - r)), but one at least, and not all: of two segments at r = 0.7 the published number is 0."""
    return min(max(1, visible_count(count, ratio)), count - 1)


def _padded(values: Tensor | Ragged) -> Ragged:
    """Sequences of one length as what those of unequal lengths are."""
    if isinstance(values, Ragged):
        return values
    return Ragged(values, torch.full((len(values),), values.shape[1], device=values.device))
