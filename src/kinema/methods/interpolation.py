"""What lies in the hidden middle of a clip: a masked autoencoder's answer, beside answers that need no learning."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kinema.errors import RecipeError
from kinema.methods.masked import filled
from kinema.modules.transformer.patches import Grid
from kinema.targets.masking import Masking, centre_masking


class Fillings(NamedTuple):
    """Patches [B, N, P] whose hidden ones were filled in one way or another.

    Attributes:
        network: predicted.
        nearest: copied from the nearest visible moment at the same place, of two equally near ones the earlier.
        blend: on the straight line between the visible moments before and after; copied where there is only one.
        mean: of all visible moments.
    """

    network: Tensor
    nearest: Tensor
    blend: Tensor
    mean: Tensor


def middle_masking(batch: int, grid: Grid, share: float, *, device: torch.device | None = None) -> Masking:
    """The middle `share` of clips hidden, as in `centre_masking`; no place may be hidden at all times.

    Raises:
        RecipeError: some would be.
    """
    times, rows, columns = grid
    masking = centre_masking(batch, times * rows * columns, share, device=device)
    if times * rows * columns - masking.hidden.shape[1] < rows * columns:
        raise RecipeError(f"interpolate={share}: leaves places of which nothing is seen at {times} tokens in time")
    return masking


def fillings(patches: Tensor, predicted: Tensor, masking: Masking, grid: Grid, frames: int) -> Fillings:
    """The hidden patches filled by the network and by the simple ways.

    Args:
        patches: [B, N, P], pixels of a patch in the order (frame, row, column, channel).
        predicted: [B, M, P], in the same units.
        masking: must leave something visible at every place.
        grid: of the tokens.
        frames: of a patch, u.
    """
    movie, hidden = _in_time(patches, grid, frames), _hidden(masking, grid, frames)
    before, after = _neighbours(hidden)
    now = torch.arange(movie.shape[1], device=movie.device)[None, :, None]
    way = ((now - before).to(movie.dtype) / (after - before).clamp(min=1)).unsqueeze(-1)
    first, last = _at(movie, before), _at(movie, after)
    seen = (~hidden).unsqueeze(-1).to(movie.dtype)
    mean = ((movie * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True)).expand_as(movie)
    near = torch.where((now - before <= after - now).unsqueeze(-1), first, last)
    simple = (near, first + way * (last - first), torch.where(hidden.unsqueeze(-1), mean, movie))
    return Fillings(filled(patches, predicted, masking), *(_as_patches(found, grid, frames) for found in simple))


def filling_errors(found: Fillings, patches: Tensor, masking: Masking) -> dict[str, Tensor]:
    """Mean square error of the hidden patches under each filling, scalars by its name."""
    hidden = masking.mask.unsqueeze(-1).to(patches.dtype)
    count = hidden.sum() * patches.shape[-1]
    return {name: ((filling - patches).square() * hidden).sum() / count for name, filling in found._asdict().items()}


def _in_time(patches: Tensor, grid: Grid, frames: int) -> Tensor:
    """[B, N, P] to [B, T, places, values of one frame]."""
    batch, places, values = len(patches), grid[1] * grid[2], patches.shape[-1] // frames
    cut = patches.reshape(batch, grid[0], places, frames, values).transpose(2, 3)
    return cut.reshape(batch, grid[0] * frames, places, values)


def _as_patches(movie: Tensor, grid: Grid, frames: int) -> Tensor:
    batch, _, places, values = movie.shape
    cut = movie.reshape(batch, grid[0], frames, places, values).transpose(2, 3)
    return cut.reshape(batch, grid[0] * places, frames * values)


def _hidden(masking: Masking, grid: Grid, frames: int) -> Tensor:
    """Bool [B, T, places]."""
    mask = masking.mask.reshape(len(masking.kept), grid[0], grid[1] * grid[2])
    return mask.repeat_interleave(frames, 1)


def _neighbours(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The last visible moment up to each one and the first from it on; where there is none, the other one."""
    total = hidden.shape[1]
    now = torch.arange(total, device=hidden.device)[None, :, None].expand_as(hidden)
    before = now.masked_fill(hidden, -1).cummax(1).values
    after = now.masked_fill(hidden, total).flip(1).cummin(1).values.flip(1)
    return torch.where(before < 0, after, before), torch.where(after == total, before, after)


def _at(movie: Tensor, times: Tensor) -> Tensor:
    return movie.gather(1, times.unsqueeze(-1).expand_as(movie))
