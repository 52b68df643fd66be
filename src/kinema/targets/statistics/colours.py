"""Dominant colours: the octant of the RGB cube in which most pixels of a region lie."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from kinema.targets.statistics.patterns import PATTERNS, Cells, partition, tally

COLOURS = ("blue", "cyan", "magenta", "white", "black", "green", "red", "yellow")
"""Names of the octants in the order of their numbers 1 .. 8."""

_CODE_BITS = 24
_LARGEST_CODE = (1 << _CODE_BITS) - 1


class DominantColours(NamedTuple):
    """1-based octants, int64: `regions` [b, 28] over all frames of each region, `whole` [b] of the clip."""

    regions: Tensor
    whole: Tensor


def octants(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Octant 0 .. 7 of each colour: 4 * [blue < 128] + 2 * [red >= 128] + [green >= 128] (integers 0 .. 255)."""
    return (((blue >> 7) ^ 1) << 2) | ((red >> 7) << 1) | (green >> 7)


def vote_colours(clip: Tensor, cells: Cells) -> DominantColours:
    """Every pixel of every frame votes for its octant; the smallest number wins a tie. uint8 [b, 3, T, S, S]."""
    clips = clip.shape[0]
    red, green, blue = clip.unbind(1)
    series = torch.arange(clips, device=clip.device, dtype=torch.int32).view(-1, 1, 1)
    index = octants(red, green, blue).flatten(2) + (cells.of_pixel.int() + series * cells.total) * 8
    ones = torch.ones(1, device=clip.device).expand(index.numel())
    table = tally(index, clips * cells.total * 8, ones).view(clips, cells.total, 8)
    return DominantColours(cells.sum_regions(table).argmax(2) + 1, table.sum(1).argmax(1) + 1)


def exact_colours(clip: Tensor) -> DominantColours:
    """Octant of the most frequent exact colour; the smallest 65536 B + 256 G + R wins a tie. uint8 [b, 3, T, S, S]."""
    red, green, blue = clip.flatten(3).to(torch.int32).unbind(1)
    codes = (blue << 16) | (green << 8) | red
    lists = _pixel_lists(clip.shape[-1], clip.device)
    mode = torch.stack([torch.cat([_modes(one, pixels) for pixels in lists]) for one in codes])
    found = octants(mode & 255, (mode >> 8) & 255, mode >> 16) + 1
    return DominantColours(found[:, :-1], found[:, -1])


class _PixelList(NamedTuple):
    """Pixel numbers of some regions, one region after another, the region of each entry, and pixels per region."""

    number: Tensor
    region: Tensor
    lengths: list[int]


def _modes(codes: Tensor, pixels: _PixelList) -> Tensor:
    """Most frequent code in each region, the smallest of equals: int32 [T, S * S] to [regions]."""
    keys = codes[:, pixels.number] | (pixels.region << _CODE_BITS)
    ordered = keys.flatten().sort().values  # one dimension: torch sorts that by radix
    position = torch.arange(len(ordered), device=codes.device, dtype=torch.int32)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=fresh[1:])
    run = position - torch.where(fresh, position, 0).cummax(0).values  # 0 at the first of its kind
    lengths = [n * len(codes) for n in pixels.lengths]
    modes = []
    for runs, colours in zip(torch.split(run, lengths), torch.split(ordered & _LARGEST_CODE, lengths), strict=True):
        modes.append(torch.where(runs == runs.amax(), colours, _LARGEST_CODE).amin())
    return torch.stack(modes)


@lru_cache(maxsize=8)
def _pixel_lists(size: int, device: torch.device) -> tuple[_PixelList, ...]:
    """One list for each pattern and one for the whole frame."""
    lists = []
    for masks in (*(partition(pattern, size) for pattern in PATTERNS), torch.ones(1, size, size, dtype=torch.bool)):
        region, number = masks.flatten(1).nonzero(as_tuple=True)
        lists.append(_PixelList(number.to(device), region.int().to(device), masks.sum((1, 2)).tolist()))
    return tuple(lists)
