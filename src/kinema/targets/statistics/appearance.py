"""Appearance statistics of a clip: which region changes its colours most and least over time, and its main colour.

Reference: Wang et al., "Self-supervised Video Representation Learning by Uncovering Spatio-temporal Statistics",
IEEE TPAMI 2021 (STS), section 3.3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from kinema.errors import RecipeError, suggest
from kinema.targets.statistics.colours import DominantColours, exact_colours, vote_colours
from kinema.targets.statistics.patterns import by_pattern, check_size, clips_per_pass, joint_cells, tally

Colour = Literal["vote", "exact"]


@torch.no_grad()
def appearance_labels(clip: Tensor, colour: Colour = "vote") -> Tensor:
    """The 13 appearance labels of each clip (STS section 3.3).

    p_l is the region whose colours change most over time (smallest IoU of `colour_stability`), p_s the one that changes
    least; c_l and c_s are their dominant colours over all frames, C that of the clip. The first of equals wins.

    Args:
        clip: uint8 RGB [B, 3, T, S, S], S a multiple of 8; cropped as the network sees it, colours untouched.
        colour: "vote": the octant of the RGB cube (cut at 128) with most pixels; "exact": the octant of the most
            frequent exact colour (the released code).

    Returns:
        int64 [B, 13] = [p_l, c_l, p_s, c_s] for pattern 1, then 2, then 3, then C. 1-based: p up to 16, 4, 8; colours
        1 blue, 2 cyan, 3 magenta, 4 white, 5 black, 6 green, 7 red, 8 yellow.

    Differs from the released code, which takes a wrong slice for the bottom of ring 2 when it looks for exact colours
    and so counts black pixels from outside the ring; here every region has its own pixels and no others.

    Raises:
        RecipeError: S is not a multiple of 8, or an unknown `colour`.
        ValueError: another shape or type.
    """
    _check_clip(clip)
    if colour not in get_args(Colour):
        raise RecipeError(f"colour '{colour}' is unknown.{suggest(colour, ('vote', 'exact'))}")
    cells = joint_cells(clip.shape[-1], clip.device)
    labels = []
    for part in torch.split(clip, clips_per_pass(clip.device)):
        colours = vote_colours(part, cells) if colour == "vote" else exact_colours(part)
        labels.append(_pick(_stability(part), colours))
    return torch.cat(labels)


@torch.no_grad()
def colour_stability(clip: Tensor) -> Tensor:
    """How little the colours of each region change over time: 1 for a still region, 0 when no colour is kept.

    With h_t the 256-bin histogram of a channel over the region's pixels in frame t:
    IoU = mean over R, G, B of (sum_b min_t h_t(b)) / (sum_b max_t h_t(b)) (Eqs. 4, 5).

    Args:
        clip: uint8 [B, 3, T, S, S].

    Returns:
        float32 [B, 28]: regions of the patterns 1 (16), 2 (4) and 3 (8).
    """
    _check_clip(clip)
    return torch.cat([_stability(part) for part in torch.split(clip, clips_per_pass(clip.device))])


def _check_clip(clip: Tensor) -> None:
    if clip.dtype != torch.uint8:
        raise ValueError(f"appearance labels count uint8 values 0 .. 255; the clip is {clip.dtype}")
    if clip.ndim != 5 or clip.shape[1] != 3 or clip.shape[3] != clip.shape[4]:
        raise ValueError(f"clip must be [B, 3, T, S, S], not {list(clip.shape)}")
    check_size(clip.shape[-1])


def _stability(clip: Tensor) -> Tensor:
    red, green, blue = (_overlap(channel) for channel in clip.unbind(1))
    return (red + green + blue) / 3


def _overlap(channel: Tensor) -> Tensor:
    """IoU of the frames' histograms in each region, for one colour channel: uint8 [b, T, S, S] to float32 [b, 28]."""
    clips, frames, size, _ = channel.shape
    cells = joint_cells(size, channel.device)
    index = channel.flatten(2) + _histogram_rows(clips, frames, size, channel.device)
    ones = torch.ones(1, device=channel.device).expand(index.numel())
    table = tally(index, clips * frames * cells.total * 256, ones).view(-1, cells.total, 256)
    histograms = cells.sum_regions(table).view(clips, frames, -1, 256)
    return histograms.amin(1).sum(2) / histograms.amax(1).sum(2)


@lru_cache(maxsize=4)
def _histogram_rows(clips: int, frames: int, size: int, device: torch.device) -> Tensor:
    """Where the histogram of each (clip, frame, pixel) starts in a table [clip, frame, cell, 256]."""
    cells = joint_cells(size, device)
    series = torch.arange(clips * frames, device=device).view(clips, frames, 1)
    rows = (series * cells.total + cells.of_pixel) * 256
    return rows.int() if device.type == "cpu" else rows


def _pick(stability: Tensor, colours: DominantColours) -> Tensor:
    """IoU [b, 28] and colours to the labels [b, 13]."""
    labels = []
    for overlap, colour in zip(by_pattern(stability, 1), by_pattern(colours.regions, 1), strict=True):
        for place in (overlap.argmin(1, keepdim=True), overlap.argmax(1, keepdim=True)):
            labels += [place + 1, colour.gather(1, place)]
    return torch.cat([*labels, colours.whole[:, None]], 1)
