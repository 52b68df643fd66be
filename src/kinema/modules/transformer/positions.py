"""Where a token is: fixed sine-cosine tables, learned ones, and their resampling to other clips."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kinema.errors import RecipeError
from kinema.modules.transformer.patches import Grid

Kind = Literal["index", "line", "space", "separable", "learned"]


def sincos(positions: Tensor, width: int, *, interleaved: bool = False) -> Tensor:
    """Sines and cosines of `positions` [N] at width / 2 frequencies 10000^(-j / (width / 2)): [N, width].

    Sines first, then cosines; or, `interleaved`, the sine and cosine of each frequency beside each other.

    Raises:
        RecipeError: `width` is odd.
    """
    if width % 2:
        raise RecipeError(f"a sine-cosine table needs an even width, not {width}")
    half = width // 2
    # In double precision: an angle of 1567 rad in single precision is off by 1e-4.
    rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions.double().flatten()[:, None] * rates
    parts = (angles.sin(), angles.cos())
    table = torch.stack(parts, -1).flatten(1) if interleaved else torch.cat(parts, 1)
    return table.float()


def index_table(count: int, width: int) -> Tensor:
    """VideoMAE's table [count, width]: row n has sin and cos of n x 10000^(-2i / width), interleaved (its §3.1)."""
    return sincos(torch.arange(count), width, interleaved=True)


def space_table(height: int, width_tokens: int, width: int) -> Tensor:
    """The image MAE's table [height x width_tokens, width]: first half of a row the column, second half the row.

    Raises:
        RecipeError: `width` is no multiple of 4.
    """
    if width % 4:
        raise RecipeError(f"a table over rows and columns needs a width that 4 divides, not {width}")
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width_tokens), indexing="ij")
    return torch.cat([sincos(columns, width // 2), sincos(rows, width // 2)], 1)


def resample(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """A table [N, D] over `old` positions, stretched to `new`: [N', D]. Bicubic in space, then linear in time."""
    if old == new:
        return table
    maps = table.float().reshape(*old, -1).permute(0, 3, 1, 2)
    if old[1:] != new[1:]:
        maps = interpolate(maps, new[1:], mode="bicubic", align_corners=False)
    if old[0] != new[0]:
        rows = maps.permute(1, 2, 3, 0).flatten(0, 2)[:, None]
        rows = interpolate(rows, new[0], mode="linear", align_corners=False)
        maps = rows.reshape(maps.shape[1], *new[1:], new[0]).permute(3, 0, 1, 2)
    return maps.permute(0, 2, 3, 1).reshape(math.prod(new), -1).to(table.dtype)


class Positions(nn.Module):
    """A table of positions for tokens on a grid; clips of another size get a resampled one.

    Args:
        grid: (time, height, width) for which the table is made.
        width: D.
        kind: "index", sine-cosine over the flattened index (VideoMAE); "line", the same with all sines first, then all
            cosines (LV-MAE); "space", sine-cosine over column and row, the same at all times (image MAE); "separable",
            learned, one table over space plus one over time (MAE-ST), truncated normal with deviation 0.02 at first.
    """

    fixed: Tensor

    def __init__(self, grid: Grid, width: int, kind: Kind = "index") -> None:
        super().__init__()
        self.grid, self.kind, self.width = grid, kind, width
        if kind == "separable":
            self.spatial = nn.Parameter(torch.empty(1, grid[1] * grid[2], width))
            self.temporal = nn.Parameter(torch.empty(1, grid[0], width))
        elif kind == "learned":
            self.table = nn.Parameter(torch.empty(1, math.prod(grid), width))
        else:
            self.register_buffer("fixed", torch.empty(math.prod(grid), width), persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """First values of the learned tables; the fixed one as defined."""
        for table in self.parameters():
            nn.init.trunc_normal_(table, std=0.02)
        if self.kind in ("index", "line", "space") and not self.fixed.is_meta:
            self.fixed.copy_(self._defined(self.grid))

    @torch.no_grad()
    def start_from_waves(self) -> None:
        """First values of separable tables: sines and cosines of column and row, and of time, so that near is alike."""
        times, height, width = self.grid
        self.spatial[0].copy_(space_table(height, width, self.width))
        self.temporal[0].copy_(sincos(torch.arange(times), self.width))

    def _defined(self, grid: Grid) -> Tensor:
        if self.kind == "index":
            return index_table(math.prod(grid), self.width)
        if self.kind == "line":
            return sincos(torch.arange(math.prod(grid)), self.width)
        return space_table(grid[1], grid[2], self.width).repeat(grid[0], 1)

    def forward(self, grid: Grid | None = None) -> Tensor:
        """The table [N, D] for `grid`; None: the one it was made for."""
        grid = grid or self.grid
        if self.kind == "learned":
            return resample(self.table[0], self.grid, grid)
        if self.kind != "separable":
            return resample(self.fixed, self.grid, grid)
        old_time, *old_space = self.grid
        spatial = resample(self.spatial[0], (1, old_space[0], old_space[1]), (1, *grid[1:]))
        temporal = resample(self.temporal[0], (old_time, 1, 1), (grid[0], 1, 1))
        return (temporal[:, None] + spatial[None]).flatten(0, 1)
