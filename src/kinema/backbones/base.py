"""The one interface of all video ConvNets."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module):
    """A trunk without a head: clips [B, 3, T, H, W] to a map [B, C, T', H', W'].

    Attributes:
        feature_dim: C.
        stride: total (time, height, width) stride of the map.
        stage_names: names of the stages, shallow to deep, for feature taps ("p1" … "p5").
    """

    feature_dim: int
    stride: tuple[int, int, int]
    stage_names: tuple[str, ...]

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """The output map of every stage, in the order of `stage_names`; the last one is `forward_map`."""
        raise NotImplementedError

    def forward_map(self, x: Tensor) -> Tensor:
        """[B, 3, T, H, W] to [B, C, T', H', W']."""
        return self.forward_stages(x)[-1]

    def forward_pooled(self, x: Tensor) -> Tensor:
        """[B, 3, T, H, W] to [B, C]: the global average of the map."""
        return self.forward_map(x).mean((2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Same as `forward_pooled`."""
        return self.forward_pooled(x)

    def tap(self, stages: Sequence[Tensor], names: Sequence[str]) -> dict[str, Tensor]:
        """The named maps out of what `forward_stages` returned."""
        return {name: stages[self.stage_names.index(name)] for name in names}
