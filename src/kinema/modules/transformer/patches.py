"""Clips as tokens: cubes of pixels, cut out, put back, and embedded."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import linear

from kinema.errors import RecipeError

Grid = tuple[int, int, int]
"""(time, height, width): tokens along each axis, or frames and pixels of one token."""


def grid_of(size: Grid, patch: Grid) -> Grid:
    """How many cubes of `patch` a clip of `size` (frames, height, width) has along each axis.

    Raises:
        RecipeError: the cubes do not fill the clip.
    """
    if any(side < 1 or whole < side or whole % side for whole, side in zip(size, patch, strict=True)):
        raise RecipeError(f"a clip of {size} (frames, height, width) cannot be cut into cubes of {patch}")
    t, h, w = (whole // side for whole, side in zip(size, patch, strict=True))
    return t, h, w


def patchify(clips: Tensor, patch: Grid) -> Tensor:
    """Clips [B, C, T, H, W] as tokens [B, N, P] of pixels, N in the order (time, height, width).

    Within a token the order is (frame, row, column, channel), the channel fastest: P = t p q C.
    """
    b, c, *size = clips.shape
    t, h, w = grid_of((size[0], size[1], size[2]), patch)
    cut = clips.reshape(b, c, t, patch[0], h, patch[1], w, patch[2])
    return cut.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(b, t * h * w, math.prod(patch) * c)


def unpatchify(tokens: Tensor, grid: Grid, patch: Grid) -> Tensor:
    """The inverse of `patchify`: [B, N, P] to [B, C, T, H, W], for N tokens on `grid`."""
    b = len(tokens)
    (t, h, w), (p, q, r) = grid, patch
    cut = tokens.reshape(b, t, h, w, p, q, r, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return cut.reshape(b, -1, t * p, h * q, w * r)


def take(tokens: Tensor, chosen: Tensor) -> Tensor:
    """tokens[b, chosen[b]]: [B, N, D] and int64 [B, K] to [B, K, D]."""
    return tokens.gather(1, chosen.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


class PatchEmbedding(nn.Module):
    """A linear map of every cube: the convolution whose kernel is its stride, computed for chosen cubes only.

    Args:
        width: D.
        patch: (frames, height, width) of a cube.
        channels: of the clips.
    """

    def __init__(self, width: int, patch: Grid = (2, 16, 16), channels: int = 3) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(channels, width, patch, patch)

    def forward(self, patches: Tensor) -> Tensor:
        """Tokens of pixels [B, N, P], from `patchify`, to [B, N, D]."""
        kernel = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return linear(patches, kernel, self.proj.bias)

    def initialise_xavier(self) -> None:
        """Xavier-uniform of the kernel as a matrix [D, C t p q], zero bias."""
        nn.init.xavier_uniform_(self.proj.weight.flatten(1))
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)


def token_grid(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens [B, N, D] as a map [B, D, T', H', W'] (a view)."""
    return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[-1], *grid)
