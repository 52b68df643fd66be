"""Which segment was hidden? Predictions of hidden segments ranked among real ones, beside predictors that cost nothing.

Takes a predictor of segments (vectors and a mask in, hidden vectors out) and a manifest of sequences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from kinema.data.manifest import Manifest
from kinema.data.sequences import read_sequence, sequence_shapes
from kinema.errors import DataError
from kinema.evaluation.sequences import padded_batch
from kinema.metrics import paired_bootstrap
from kinema.randomness import numpy_generator
from kinema.targets.masking import Masking, neighbour_similarity, padded_masking, visible_count
from kinema.training.files import write_atomic

MASKED = "segments.json"
"""Name of the file of results, in `RUN/evaluation/NAME`."""
TEXTS = "text_features"
"""Column of arrays [S, d]: embeddings of a caption of each segment, in the space of the segments."""
HIT_K = (1, 5, 10)
FREE = ("interpolated", "nearest", "mean", "zero")
"""Predictors that cost nothing: the mean of the next visible segments on both sides, weighted by nearness; a copy of
the nearest visible one; the mean of all visible ones; nothing."""
_QUERIES = 4096
"""So many hidden segments, evenly chosen, are looked for among all segments of all videos."""

FloatArray = npt.NDArray[np.float64]


class SegmentPredictor(Protocol):
    """What a method of masked segments yields."""

    def __call__(self, vectors: Tensor, masking: Masking) -> Tensor:
        """Predictions [B, M, D] of the hidden ones of `vectors` [B, N, D]."""

    def targets(self, vectors: Tensor) -> Tensor:
        """What is to be predicted of vectors [..., D]."""


@dataclass(frozen=True)
class Hiding:
    """Which segments are hidden from the predictor.

    Attributes:
        ratio: share of the segments of a video.
        masking: any ("random"), or by similarity to the segment before ("low_similarity", "high_similarity").
        tokens: segments that the predictor takes at once; longer videos are cut into stretches of so many.
        batch: stretches per forward pass.
        seed: of random masks, which depend on it and the place of the stretch alone.
    """

    ratio: float = 0.5
    masking: Literal["random", "low_similarity", "high_similarity"] = "random"
    tokens: int = 256
    batch: int = 16
    seed: int = 0


@dataclass(frozen=True)
class MaskedRow:
    """How well one predictor finds hidden segments among those of one gallery.

    Attributes:
        predictor: "trained", "untrained", one of `FREE`, or "original", the hidden vectors themselves.
        gallery: "video" (all segments of the stretch), "hidden" (its hidden ones), "all" (of all videos), and the same
            with "captions of " before.
        hits: by "R@k", percent of the hidden segments whose own entry is among the k most similar; of entries that are
            equally similar, in the mean over their orders, so that nothing is gained by predicting nothing.
        low, high: 95 % interval of R@1, bootstrap over videos.
        chance: R@1 of a random order.
        median, mean: rank of the own entry, from 1.
        queries: hidden segments.
        error: squared error relative to predicting nothing; None among captions.
    """

    predictor: str
    gallery: str
    hits: dict[str, float]
    low: float
    high: float
    chance: float
    median: float
    mean: float
    queries: int
    error: float | None


class Stretch(NamedTuple):
    """Segments `start` to `stop` of a row, and what became of them: targets [n, D], hidden places, predictions."""

    row: int
    start: int
    targets: Tensor
    hidden: Tensor
    predicted: dict[str, Tensor]


def masked_retrieval(
    predictors: Mapping[str, SegmentPredictor], manifest: Manifest, hiding: Hiding, *, device: str = "cpu"
) -> list[MaskedRow]:
    """Rows of every predictor and every one of `FREE` in every gallery; among captions where the manifest has them.

    Args:
        predictors: by name; all must have the same targets.
        manifest: with a column `features`, and optionally `text_features`.
        hiding: what is hidden.
        device: where the predictors run.

    Raises:
        DataError: an array cannot be read, captions do not fit the segments, or no video has two segments.
    """
    stretches = list(_stretches(predictors, manifest, hiding, device))
    if not stretches:
        raise DataError(f"{manifest.root}: no video has two segments, so none can be hidden from the others")
    names = [*predictors, *FREE]
    rows = [_row(name, gallery, stretches) for gallery in ("video", "hidden", "all") for name in names]
    if TEXTS in manifest.columns:
        told = [_with_captions(stretch, manifest) for stretch in stretches]
        rows += [
            _row(name, gallery, told, of="captions of ")
            for gallery in ("video", "all")
            for name in [*names, "original"]
        ]
    return rows


def write_masked(rows: Sequence[MaskedRow], hiding: Hiding, folder: Path) -> Path:
    """Write the rows beside the other results of an evaluation; returns the file."""
    stored = {"hiding": asdict(hiding), "rows": [asdict(row) for row in rows]}
    write_atomic(folder / MASKED, json.dumps(stored, indent=1) + "\n")
    return folder / MASKED


def expected_hits(greater: Tensor, equal: Tensor, k: int) -> Tensor:
    """Chance that an entry is among the first k: `greater` are more similar, `equal` (itself included) as similar."""
    return ((k - greater) / equal).clamp(0, 1)


def free_predictions(vectors: Tensor, kept: Tensor, hidden: Tensor) -> dict[str, Tensor]:
    """What `FREE` predict of the `hidden` [M] of the vectors [N, D] of one stretch, seeing those `kept` [K]."""
    visible = vectors[kept]
    after = torch.searchsorted(kept, hidden)
    left, right = (after - 1).clamp(min=0), after.clamp(max=len(kept) - 1)
    to_left, to_right = (hidden - kept[left]).abs(), (kept[right] - hidden).abs()
    share = (to_left / (to_left + to_right))[:, None]
    nearest = torch.where(to_left <= to_right, left, right)
    return {
        "interpolated": (1 - share) * visible[left] + share * visible[right],
        "nearest": visible[nearest],
        "mean": visible.mean(0, keepdim=True).expand(len(hidden), -1),
        "zero": torch.zeros_like(vectors[hidden]),
    }


@torch.no_grad()
def _stretches(
    predictors: Mapping[str, SegmentPredictor], manifest: Manifest, hiding: Hiding, device: str
) -> Iterator[Stretch]:
    lengths = sequence_shapes(manifest).lengths.tolist()
    places = [(row, k, min(k + hiding.tokens, n)) for row, n in enumerate(lengths) for k in range(0, n, hiding.tokens)]
    places = [place for place in places if place[2] - place[1] > 1]
    for first in range(0, len(places), hiding.batch):
        chosen = places[first : first + hiding.batch]
        values, valid = padded_batch([read_sequence(manifest, row)[start:stop] for row, start, stop in chosen])
        vectors = normalize(values, dim=-1)
        masking = _masks(vectors, valid, [place[:2] for place in chosen], hiding)
        told = {name: _on_device(predictor, vectors, masking, device) for name, predictor in predictors.items()}
        aim = next(iter(predictors.values())).targets
        for b, (row, start, stop) in enumerate(chosen):
            own, hidden = vectors[b, : stop - start], masking.hidden[b][masking.hidden[b] >= 0]
            seen = masking.kept[b][masking.kept[b] >= 0]
            free = {name: aim(found) for name, found in free_predictions(own, seen, hidden).items()}
            mine = {name: found[b, : len(hidden)] for name, found in told.items()}
            yield Stretch(row, start, aim(own), hidden, mine | free | {"original": aim(own[hidden])})


def _on_device(predictor: SegmentPredictor, vectors: Tensor, masking: Masking, device: str) -> Tensor:
    there = Masking(masking.kept.to(device), masking.hidden.to(device))
    return predictor(vectors.to(device), there).float().cpu()


def _masks(vectors: Tensor, valid: Tensor, places: Sequence[tuple[int, int]], hiding: Hiding) -> Masking:
    lengths, longest = valid.sum(1), vectors.shape[1]
    keep = [min(max(1, visible_count(n, hiding.ratio)), n - 1) for n in lengths.tolist()]
    semantic = hiding.masking != "random"
    noise = np.stack([numpy_generator("hidden segments", hiding.seed, *place).random(longest) for place in places])
    return padded_masking(
        neighbour_similarity(vectors) if semantic else torch.from_numpy(noise),
        lengths,
        torch.tensor(keep),
        sizes=(max(keep), longest - 1),
        high=hiding.masking == "low_similarity",
    )


def _with_captions(stretch: Stretch, manifest: Manifest) -> Stretch:
    """The stretch with its captions in place of its segments as what is looked for."""
    texts = read_sequence(manifest, stretch.row, TEXTS)
    stop = stretch.start + len(stretch.targets)
    if len(texts) < stop or texts.shape[1] != stretch.targets.shape[1]:
        raise DataError(
            f"{manifest.file(stretch.row, TEXTS)} has shape {texts.shape}: captions must be one vector of "
            f"{stretch.targets.shape[1]} numbers for each segment"
        )
    return stretch._replace(targets=torch.from_numpy(np.array(texts[stretch.start : stop], np.float32)))


class _Ranks(NamedTuple):
    """Of hidden segments: entries more similar and as similar (itself included), entries in all, and its row."""

    greater: Tensor
    equal: Tensor
    size: Tensor
    row: Tensor


def _row(name: str, gallery: str, stretches: Sequence[Stretch], *, of: str = "") -> MaskedRow:
    found = _among_all(name, stretches) if gallery == "all" else _among_own(name, stretches, gallery)
    hits = {k: 100 * expected_hits(found.greater, found.equal, k).double() for k in HIT_K}
    ranks = found.greater + (found.equal + 1) / 2
    _, member = np.unique(found.row.numpy(), return_inverse=True)
    counts = np.bincount(member)
    drawn = paired_bootstrap(np.bincount(member, weights=hits[1].numpy()) / counts, weights=counts, draws=2000)
    return MaskedRow(
        name,
        of + gallery,
        {f"R@{k}": float(values.mean()) for k, values in hits.items()},
        drawn.low,
        drawn.high,
        float((100 / found.size).mean()),
        float(ranks.median()),
        float(ranks.mean()),
        len(ranks),
        None if of else _error(name, stretches),
    )


def _among_own(name: str, stretches: Sequence[Stretch], gallery: str) -> _Ranks:
    parts = []
    for stretch in stretches:
        known, own = stretch.targets, stretch.hidden
        if gallery == "hidden":
            known, own = known[stretch.hidden], torch.arange(len(stretch.hidden))
        parts.append(_ranks(stretch.predicted[name], known, own, stretch.row))
    return _Ranks(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _among_all(name: str, stretches: Sequence[Stretch]) -> _Ranks:
    known = torch.cat([stretch.targets for stretch in stretches])
    starts = np.cumsum([0, *(len(stretch.targets) for stretch in stretches)])
    queries = torch.cat([stretch.predicted[name] for stretch in stretches])
    own = torch.cat([stretch.hidden + int(start) for stretch, start in zip(stretches, starts, strict=False)])
    row = torch.cat([torch.full((len(stretch.hidden),), stretch.row) for stretch in stretches])
    chosen = torch.linspace(0, len(queries) - 1, min(_QUERIES, len(queries))).round().long()
    parts = [_ranks(queries[part], known, own[part], 0)._replace(row=row[part]) for part in torch.split(chosen, 256)]
    return _Ranks(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _ranks(predicted: Tensor, known: Tensor, own: Tensor, row: int) -> _Ranks:
    similarity = normalize(predicted.double(), dim=-1) @ normalize(known.double(), dim=-1).T
    # Rounded, so that equal entries are equally similar.
    similarity = similarity.round(decimals=9)
    mine = similarity.gather(1, own[:, None])
    size = torch.full((len(own),), float(len(known)))
    return _Ranks((similarity > mine).sum(1), (similarity == mine).sum(1), size, torch.full((len(own),), row))


def _error(name: str, stretches: Sequence[Stretch]) -> float:
    wrong = sum(float((s.predicted[name] - s.targets[s.hidden]).square().sum()) for s in stretches)
    return wrong / sum(float(s.targets[s.hidden].square().sum()) for s in stretches)
