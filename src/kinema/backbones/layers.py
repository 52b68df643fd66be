"""What several backbones are made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kinema.backbones.base import Backbone
from kinema.errors import RecipeError

Triple = tuple[int, int, int]


class StagedBackbone(Backbone):
    """A backbone that is a chain of stages; `stages` maps each stage's name to its module, shallow to deep."""

    def __init__(self, stages: Mapping[str, nn.Module], *, feature_dim: int, stride: Triple) -> None:
        super().__init__()
        self.feature_dim, self.stride = feature_dim, stride
        self.stages = nn.ModuleDict(stages)
        self.stage_names = tuple(stages)

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """The output map of every stage, in the order of `stage_names`."""
        maps = []
        for stage in self.stages.values():
            x = stage(x)
            maps.append(x)
        return maps


def conv_stage(channels: int, widths: Sequence[int], *, norm: bool, pool: Triple | None) -> nn.Sequential:
    """3x3x3 convolutions with bias, each followed by (batch normalisation and) ReLU, then a max pool.

    Args:
        channels: channels of the stage's input.
        widths: output channels of each convolution.
        norm: whether batch normalisation follows each convolution.
        pool: kernel and stride of the max pool, or None. Sizes are rounded up, so that no input is too small.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(widths, start=1):
        parts[f"conv{number}"] = nn.Conv3d(channels, width, 3, padding=1)
        if norm:
            parts[f"norm{number}"] = nn.BatchNorm3d(width)
        parts[f"relu{number}"] = nn.ReLU(inplace=True)
        channels = width
    if pool is not None:
        parts["pool"] = nn.MaxPool3d(pool, ceil_mode=True)
    return nn.Sequential(parts)


def check_width(width: int) -> None:
    """Raise RecipeError unless `width`, the channels of a backbone's first stage, is a positive integer."""
    if not isinstance(width, int) or width < 1:
        raise RecipeError(f"backbone option width={width!r}: expected the channels of the first stage, 1 or more")
