"""Motion statistics of a clip: where its motion boundaries are strongest, which way they point, and when.

Constant flow (a panning camera) has no derivative, so motion boundaries show what moves against its surroundings.
Reference: Wang et al., "Self-supervised Video Representation Learning by Uncovering Spatio-temporal Statistics",
IEEE TPAMI 2021 (STS), section 3.2; the labels equal those of the conference version (MAS, CVPR 2019).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from kinema.errors import RecipeError, suggest
from kinema.targets.statistics.patterns import by_pattern, check_size, clips_per_pass, joint_cells, tally

Orientation = Literal["soft", "hard"]
Zero = Literal["reference", "ignore"]

# Steps of the angle within one of the eight bins (0.022 degrees). Coarser than rounding noise and than the differences
# between implementations of the arctangent, so that a pixel on the edge of a bin is on the edge everywhere; a power of
# two, so that the shares of two bins are exact.
_STEP_BITS = 11
_STEPS = 1 << _STEP_BITS

# Values treated at once on the CPU: intermediate results then stay in the cache and in memory that is already mapped.
_CPU_PASS = 80_000


class Boundaries(NamedTuple):
    """Derivatives of one flow component along x (to the right) and y (downwards), float32, shaped like the input."""

    x: Tensor
    y: Tensor


class MotionStatistics(NamedTuple):
    """The sums behind the labels, float32; index w is the flow component: 0 = u (horizontal), 1 = v (vertical).

    Attributes:
        magnitude: [B, 2, 28], mean of |M_w| over each region of the patterns 1 (16), 2 (4) and 3 (8).
        orientation: [B, 2, 28, 8], |M_w| summed by direction over each region.
        energy: [B, 2, N - 1], sum over all pixels of the boundary magnitude of each single flow field.
    """

    magnitude: Tensor
    orientation: Tensor
    energy: Tensor


class MotionLabels(NamedTuple):
    """The 14 motion labels.

    Attributes:
        labels: int64 [B, 14] = [p_u, o_u, p_v, o_v] for pattern 1, then 2, then 3, then [I_u, I_v]. 1-based:
            p up to 16, 4, 8; o up to 8; I up to N - 1. 0 where there is no label.
        valid: bool [B, 14], False where a label says nothing and must not be learned.
    """

    labels: Tensor
    valid: Tensor


def motion_boundaries(w: Tensor, sign: int = -1) -> Boundaries:
    """Spatial derivatives of a flow component (Prewitt, 3 x 3), borders mirrored about the pixel edge.

    w_x(y, x) = sign * sum_{j=-1..1} (w(y + j, x + 1) - w(y + j, x - 1)), and w_y with the axes exchanged: six times the
    slope of a ramp. Constant input gives exactly zero.

    Args:
        w: [..., H, W], any float type; computed in single precision.
        sign: -1 (the published labels, a true convolution) or +1 (the derivative); turns every angle by 180 degrees.
    """
    padded = functional.pad(w.float().reshape(1, -1, *w.shape[-2:]), (1, 1, 1, 1), mode="replicate")
    across = padded[..., 2:] - padded[..., :-2] if sign > 0 else padded[..., :-2] - padded[..., 2:]
    x = across[..., :-2, :] + across[..., 1:-1, :]
    x += across[..., 2:, :]
    rows = padded[..., :-2] + padded[..., 1:-1]
    rows += padded[..., 2:]
    y = rows[..., 2:, :] - rows[..., :-2, :] if sign > 0 else rows[..., :-2, :] - rows[..., 2:, :]
    return Boundaries(x.view(w.shape), y.view(w.shape))


def summed_boundaries(flow: Tensor, sign: int = -1) -> Boundaries:
    """M_w: motion boundaries summed over the clip (Eq. 2); opposite motions cancel.

    Args:
        flow: [B, 2, F, H, W].
        sign: see `motion_boundaries`.

    Returns:
        x and y parts, float32 [B, 2, H, W].
    """
    flow = flow.float()
    total = flow[:, :, 0].clone()
    for field in flow.unbind(2)[1:]:  # one order of summation on every device; the derivative is linear
        total += field
    return motion_boundaries(total, sign)


@torch.no_grad()
def motion_statistics(
    flow: Tensor, *, rgb_frames: int | None = None, sign: int = -1, orientation: Orientation = "soft"
) -> MotionStatistics:
    """The regional and temporal sums of which `motion_labels` takes the largest; arguments as there."""
    fields = _check_flow(flow, rgb_frames)
    _check_option("orientation", orientation, get_args(Orientation))
    passes = torch.split(flow, clips_per_pass(flow.device))
    regional = [regional_sums(summed_boundaries(part, sign), orientation) for part in passes]
    energy = [_energy(part[:, :, :fields]) for part in passes]
    histogram = torch.cat(regional)
    areas = joint_cells(flow.shape[-1], flow.device).areas
    return MotionStatistics((histogram.sum(-1) / areas).float(), histogram.float(), torch.cat(energy))


@torch.no_grad()
def motion_labels(
    flow: Tensor,
    *,
    rgb_frames: int | None = None,
    sign: int = -1,
    orientation: Orientation = "soft",
    zero: Zero = "reference",
) -> MotionLabels:
    """The 14 motion labels of each clip (STS section 3.2). The defaults reproduce the published labels.

    With M_w the boundaries of component w summed over all fields given: p_w is the region with the largest mean |M_w|,
    o_w the strongest of eight directions in that region, weighted by |M_w|. I_w is the field with the most boundary
    energy among the first `rgb_frames` - 1. The first of equals wins.

    Args:
        flow: float [B, 2, F, S, S] in pixels per frame, (u, v), cropped as the network sees the clip; S % 8 = 0.
        rgb_frames: N, frames of the RGB clip; None = F + 1. Local labels always sum all F fields.
        sign: -1 (published) or +1, see `motion_boundaries`.
        orientation: "soft" shares a pixel between the two nearest directions, so that label k is centred on
            (k - 1) * 45 degrees (the released code); "hard": label k covers (k - 1) * 45 to k * 45 degrees (the paper).
            Angles are rounded to 0.022 degrees.
        zero: what a component without any motion gets. "reference": 0 for pattern 1, else 1, all labels valid;
            "ignore": label 0 and valid False.

    Raises:
        RecipeError: S is not a multiple of 8, or an unknown option.
        ValueError: another shape, or fewer flow fields than `rgb_frames` - 1.
    """
    _check_option("zero", zero, get_args(Zero))
    statistics = motion_statistics(flow, rgb_frames=rgb_frames, sign=sign, orientation=orientation)
    places, directions = [], []
    for means, histograms in zip(
        by_pattern(statistics.magnitude, 2), by_pattern(statistics.orientation, 2), strict=True
    ):
        place = means.argmax(2)
        winner = place[:, :, None, None].expand(-1, -1, 1, 8)
        places.append(place)
        directions.append(histograms.gather(2, winner)[:, :, 0].argmax(2))
    local = torch.stack((torch.stack(places, 1), torch.stack(directions, 1)), 3) + 1  # [B, pattern, w, (p, o)]
    instant = statistics.energy.argmax(2) + 1
    moving = (statistics.magnitude > 0).any(2)[:, None, :, None].expand_as(local)
    lively = (statistics.energy > 0).any(2)
    valid = torch.cat((moving.flatten(1), lively), 1)
    if zero == "ignore":
        return MotionLabels(torch.cat((local.flatten(1), instant), 1) * valid, valid)
    local[:, 0] *= moving[:, 0]
    return MotionLabels(torch.cat((local.flatten(1), instant), 1), torch.ones_like(valid))


def _check_option(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RecipeError(f"{name} '{value}' is unknown.{suggest(value, known)}")


def _check_flow(flow: Tensor, rgb_frames: int | None) -> int:
    """Number of fields among which I_w is sought."""
    if flow.ndim != 5 or flow.shape[1] != 2 or flow.shape[2] < 1 or flow.shape[3] != flow.shape[4]:
        raise ValueError(f"flow must be [B, 2, F, S, S] with F >= 1, not {list(flow.shape)}")
    check_size(flow.shape[-1])
    fields = flow.shape[2] if rgb_frames is None else rgb_frames - 1
    if not 1 <= fields <= flow.shape[2]:
        raise ValueError(f"a clip of {rgb_frames} frames needs {fields} flow fields, but {flow.shape[2]} were given")
    return fields


def _energy(flow: Tensor) -> Tensor:
    """[b, 2, F, S, S] to float32 [b, 2, F]: boundary magnitude summed over the pixels of each field (Eq. 3)."""
    few = max(1, _CPU_PASS // flow[:, :, 0].numel()) if flow.device.type == "cpu" else flow.shape[2]
    sums = [
        _magnitude(*motion_boundaries(part)).flatten(3).sum(3, dtype=torch.float64)
        for part in torch.split(flow, few, 2)
    ]
    return torch.cat(sums, 2).float()


def regional_sums(boundaries: Boundaries, orientation: Orientation = "soft") -> Tensor:
    """M_w, [b, 2, S, S], to float64 [b, 2, 28, 8]: |M_w| summed per region and direction.

    Summed in double precision: then the order of summation, and so the device, does not show in single precision.
    """
    x, y = boundaries
    maps = x.shape[0] * 2
    cells = joint_cells(x.shape[-1], x.device)
    magnitude = _magnitude(x, y).double().view(maps, -1)
    steps = (torch.atan2(y, x) * (4 * _STEPS / math.pi)).round_().to(torch.int32).view(maps, -1)
    first = (steps >> _STEP_BITS) & 7
    row = (cells.of_pixel.int() + torch.arange(maps, device=x.device, dtype=torch.int32)[:, None] * cells.total) * 8
    size = cells.total * maps * 8
    if orientation == "hard":
        table = tally(row + first, size, magnitude)
    else:
        second = magnitude * ((steps & (_STEPS - 1)).double() / _STEPS)
        table = tally(row + first, size, magnitude - second)
        table += tally(row + ((first + 1) & 7), size, second)
    return cells.sum_regions(table.view(maps, cells.total, 8)).view(-1, 2, 28, 8)


def _magnitude(x: Tensor, y: Tensor) -> Tensor:
    # separate operations: a fused multiply-add would round differently on another device
    return x.square().add_(y.square()).sqrt_()
