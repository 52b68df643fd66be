"""What several backbones are made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

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


def chain(**parts: nn.Module) -> nn.Sequential:
    """The parts in order, under their own names."""
    return nn.Sequential(OrderedDict(parts))


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


def full_conv(channels: int, width: int, kernel: Triple, stride: Triple) -> nn.Module:
    """A 3D convolution without bias, padded by half its kernel: sizes out are sizes in over stride, rounded up."""
    return nn.Conv3d(channels, width, kernel, stride, half(kernel), bias=False)


def half(kernel: Triple) -> Triple:
    """The padding with which an odd `kernel` keeps sizes at stride 1."""
    return kernel[0] // 2, kernel[1] // 2, kernel[2] // 2


class ConvNorm(nn.Sequential):
    """A convolution padded by half its kernel, batch normalisation, and an activation.

    Args:
        channels: channels in.
        width: channels out.
        kernel: (time, height, width), odd.
        stride: of the same axes.
        groups: of the convolution.
        bias: whether the convolution has one.
        activation: what follows; None: nothing.
        eps, momentum: of the batch normalisation.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: Triple = (1, 1, 1),
        stride: Triple = (1, 1, 1),
        *,
        groups: int = 1,
        bias: bool = False,
        activation: type[nn.ReLU] | type[nn.ReLU6] | None = nn.ReLU,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        conv = nn.Conv3d(channels, width, kernel, stride, half(kernel), groups=groups, bias=bias)
        parts = OrderedDict[str, nn.Module](conv=conv, norm=nn.BatchNorm3d(width, eps, momentum))
        if activation is not None:
            parts["activation"] = activation(inplace=True)
        super().__init__(parts)


def padded_pool() -> nn.MaxPool3d:
    """A max pool of 3x3x3, stride 2, padded by 1: sizes are halved and rounded up."""
    return nn.MaxPool3d(3, 2, 1)


class SamePad(nn.Module):
    """TensorFlow's SAME padding: sizes out are sizes in over stride, rounded up; an odd element goes to the end.

    On even sizes a stride of 2 pads one more behind than before, which no symmetric padding does.
    """

    def __init__(self, kernel: Triple, stride: Triple, *, value: float = 0.0) -> None:
        super().__init__()
        self.kernel, self.stride, self.value = kernel, stride, value

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] with elements of `value` around the last three axes."""
        widths: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel[::-1], self.stride[::-1], strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            widths += [total // 2, total - total // 2]
        return functional.pad(x, widths, value=self.value)


class SameConv(nn.Conv3d):
    """A 3D convolution without bias under `SamePad`; its weights are those of `full_conv`."""

    def __init__(self, channels: int, width: int, kernel: Triple, stride: Triple) -> None:
        super().__init__(channels, width, kernel, stride, bias=False)
        self.pad = SamePad(kernel, stride)

    def forward(self, input: Tensor) -> Tensor:
        """[B, channels, T, H, W] to [B, width, T', H', W']."""
        return super().forward(self.pad(input))


def check_width(width: float, *, whole: bool = True) -> None:
    """Raise RecipeError unless `width` is a positive number (an integer, if `whole`)."""
    if not isinstance(width, int if whole else (int, float)) or width <= 0:
        raise RecipeError(
            f"backbone option width={width!r}: expected a positive {'integer' if whole else 'number'}; "
            "64 is the published size"
        )


def scaled(channels: int, width: float) -> int:
    """`channels` of the published network at `width`, where 64 is the published size; at least 1."""
    return max(1, int(channels * width / 64))


def kaiming(module: nn.Module) -> None:
    """Start all convolutions of `module` as N(0, 2 / fan_out) with biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
