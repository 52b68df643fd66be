"""Which tokens a masked autoencoder sees: from drawn noise, or by a rule."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from kinema.errors import RecipeError


class Masking(NamedTuple):
    """Tokens that are seen and tokens that are hidden; together all of them.

    Attributes:
        kept: int64 [B, K], places of the visible tokens, ascending.
        hidden: int64 [B, N - K], places of the hidden ones, ascending.
    """

    kept: Tensor
    hidden: Tensor

    @property
    def mask(self) -> Tensor:
        """Bool [B, N], True where a token is hidden."""
        rows, kept = self.kept.shape
        mask = torch.ones(rows, kept + self.hidden.shape[1], dtype=torch.bool, device=self.kept.device)
        return mask.scatter_(1, self.kept, False)


def visible_count(tokens: int, ratio: float) -> int:
    """int(N (1 - r)): how many of `tokens` stay visible (MAE-ST, image MAE, CropMAE, LV-MAE).

    Raises:
        RecipeError: the ratio is out of range.
    """
    _check(ratio)
    return int(tokens * (1 - ratio))


def tube_count(positions: int, ratio: float) -> int:
    """int(r N): how many of `positions` in one slice are hidden (VideoMAE §3.1: 176 of 196 at 0.9).

    Raises:
        RecipeError: the ratio is out of range.
    """
    _check(ratio)
    return int(ratio * positions)


def keep_smallest(noise: Tensor, keep: int) -> Masking:
    """The `keep` tokens with the smallest noise are seen; of equal ones the earlier.

    Args:
        noise: [B, N].
        keep: K.

    Raises:
        RecipeError: no token or every token would be hidden from a network that needs some of each.
    """
    count = noise.shape[1]
    if not 0 < keep < count:
        raise RecipeError(f"a mask leaves {keep} of {count} tokens visible: change mask, or the size of clips")
    order = noise.argsort(dim=1, stable=True)
    return Masking(order[:, :keep].sort(1).values, order[:, keep:].sort(1).values)


def random_masking(noise: Tensor, ratio: float) -> Masking:
    """Any tokens, whatever their time: uniform `noise` [B, N] of which the int(N (1 - ratio)) smallest are seen."""
    return keep_smallest(noise, visible_count(noise.shape[1], ratio))


def tube_masking(noise: Tensor, slices: int, ratio: float) -> Masking:
    """The same places in every time slice (VideoMAE §3.1): uniform `noise` [B, H W] of one slice."""
    positions = noise.shape[1]
    one = keep_smallest(noise, positions - tube_count(positions, ratio))
    starts = torch.arange(slices, device=noise.device).view(1, -1, 1) * positions
    return Masking((one.kept[:, None] + starts).flatten(1), (one.hidden[:, None] + starts).flatten(1))


def frame_masking(noise: Tensor, positions: int, ratio: float) -> Masking:
    """Whole time slices: of the slices, uniform `noise` [B, T], int(r T) are hidden (VideoMAE's ablation, 7 of 8)."""
    slices = keep_smallest(noise, noise.shape[1] - tube_count(noise.shape[1], ratio))
    places = torch.arange(positions, device=noise.device)
    spread = (part[..., None] * positions + places for part in slices)
    return Masking(*(part.flatten(1) for part in spread))


def temporal_masking(batch: int, tokens: int, ratio: float, *, device: torch.device | None = None) -> Masking:
    """The last share `ratio` of N tokens in the order of time is hidden (MAE-ST)."""
    noise = torch.arange(tokens, device=device).expand(batch, -1)
    return keep_smallest(noise, visible_count(tokens, ratio))


def centre_masking(batch: int, tokens: int, ratio: float, *, device: torch.device | None = None) -> Masking:
    """A block in the middle of the clip is hidden, `ratio` of its N tokens; what surrounds it is seen.

    Noise 0, 1, …, N / 2 - 1, N / 2 - 1, …, 1, 0. Where an odd number is hidden, the earlier half has one more hidden
    or seen as a stable order of that noise gives it.
    """
    places = torch.arange(tokens, device=device)
    noise = torch.minimum(places, tokens - 1 - places).expand(batch, -1)
    return keep_smallest(noise, visible_count(tokens, ratio))


def neighbour_similarity(tokens: Tensor) -> Tensor:
    """Cosine of every token of a sequence with the one before it, 0 for the first: [B, N, D] to [B, N] (LV-MAE).

    Rounded to a millionth, so that the similarity of equal tokens is equal, whatever the tokens are.
    """
    similarity = cosine_similarity(tokens[:, 1:].float(), tokens[:, :-1].float(), dim=-1)
    return pad(similarity.round(decimals=6), (1, 0))


def padded_masking(
    noise: Tensor, lengths: Tensor, keep: Tensor, *, sizes: tuple[int, int], high: bool = False
) -> Masking:
    """Masks of sequences of unequal length, padded at the end; places that fill up are -1.

    Args:
        noise: [B, N]; what stands behind a sequence's end counts for nothing.
        lengths: int64 [B], n of each sequence.
        keep: int64 [B], tokens of each that stay visible: those with the smallest noise, of equal ones the earlier.
        sizes: (K, M), at least the most visible and the most hidden tokens of a sequence.
        high: the n - `keep` tokens with the smallest noise are hidden instead, of equal ones the earlier.

    Returns:
        `kept` int64 [B, K] and `hidden` int64 [B, M], places ascending, then -1.
    """
    count = noise.shape[1]
    places = torch.arange(count, device=noise.device).expand_as(noise)
    real = places < lengths[:, None]
    order = noise.masked_fill(~real, torch.inf).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, places)
    first = rank < (lengths - keep if high else keep)[:, None]
    return Masking(
        *(_places(real & chosen, size) for chosen, size in zip((first ^ high, ~first ^ high), sizes, strict=True))
    )


def _places(chosen: Tensor, size: int) -> Tensor:
    """Where rows of bool [B, N] are True, ascending, filled up with -1: [B, size]."""
    count = chosen.shape[1]
    places = torch.arange(count, device=chosen.device).expand_as(chosen).masked_fill(~chosen, count)
    found = places.sort(1).values[:, :size]
    return found.masked_fill(found == count, -1)


def _check(ratio: float) -> None:
    if not 0 <= ratio < 1:
        raise RecipeError(f"mask={ratio}: the share of hidden tokens, in [0, 1)")
