"""Dominant colours: the octant of the RGB cube in which most pixels of a region lie."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from kinema.targets.statistics.patterns import PATTERNS, Cells, partition, tally

COLOURS = ("blue", "cyan", "magenta", "white", "black", "green", "red", "yellow")
"""Names of the octants in the order of their numbers 1 .. 8."""

_LARGEST_CODE = 0xFFFFFF


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
    clip_row = torch.arange(clips, device=clip.device, dtype=torch.int32)[:, None] * 8
    row = (cells.of_pixel.int() * (8 * clips) + clip_row)[:, None]
    index = octants(red, green, blue).flatten(2) + row
    ones = torch.ones(1, device=clip.device).expand(index.numel())
    table = tally(index, cells.total * clips * 8, ones).view(cells.total, -1)
    regions = cells.sum_regions(table).view(-1, clips, 8).argmax(2).T
    return DominantColours(regions + 1, table.sum(0).view(clips, 8).argmax(1) + 1)


def exact_colours(clip: Tensor) -> DominantColours:
    """Octant of the most frequent exact colour; the smallest 65536 B + 256 G + R wins a tie. uint8 [b, 3, T, S, S]."""
    red, green, blue = clip.flatten(3).to(torch.int32).unbind(1)
    codes = (blue << 16) | (green << 8) | red
    pixels = _region_pixels(clip.shape[-1], clip.device)
    modes = [_mode(codes[:, :, inside].flatten(1)) for inside in pixels] + [_mode(codes.flatten(1))]
    mode = torch.stack(modes, 1)
    found = octants(mode & 255, (mode >> 8) & 255, mode >> 16) + 1
    return DominantColours(found[:, :-1], found[:, -1])


def _mode(codes: Tensor) -> Tensor:
    """Most frequent code of each row, the smallest of equally frequent ones: int32 [b, n] to int64 [b]."""
    ordered = codes.sort(1).values.long()
    position = torch.arange(codes.shape[1], device=codes.device).expand_as(ordered)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run = position - torch.where(fresh, position, 0).cummax(1).values  # 0 at the first of its kind
    best = ((run << 24) | (_LARGEST_CODE - ordered)).amax(1)
    return _LARGEST_CODE - (best & _LARGEST_CODE)


@lru_cache(maxsize=8)
def _region_pixels(size: int, device: torch.device) -> tuple[Tensor, ...]:
    """Pixel numbers of each of the 28 regions."""
    masks = torch.cat([partition(pattern, size) for pattern in PATTERNS]).flatten(1)
    return tuple(mask.nonzero()[:, 0].to(device) for mask in masks)
