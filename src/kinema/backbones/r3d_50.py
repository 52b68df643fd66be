"""R3D-50 of CVRL: a slow 3D-ResNet-50."""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import nn

from kinema.backbones.layers import SameConv, SamePad, StagedBackbone, Triple, chain, check_width, full_conv
from kinema.backbones.residual import Bottleneck, Convolution
from kinema.errors import RecipeError

STAGES = ((1, 3, 1, 1), (2, 4, 1, 2), (4, 6, 3, 2), (8, 3, 3, 2))
"""Of the four stages: width over the first one's, blocks, temporal kernel, spatial stride."""


class R3D50(StagedBackbone):
    """The slow 3D-ResNet-50 of CVRL (Qian et al., CVPR 2021) (31,672,128 parameters).

    Bottlenecks of a temporal k x 1 x 1, a spatial 1x3x3 and a 1x1x1 convolution; k is 3 in the last two stages only,
    and time is strided in the stem alone. Stage p1 is the stem, p2 its max pool and the first blocks. A clip
    [B, 3, 16, 224, 224] gives the map [B, 2048, 8, 7, 7]. Convolutions start as truncated N(0, 1 / fan_in).

    Args:
        width: channels of the stem; 64 is published, 128 the paper's 2x form.
        padding: "symmetric" (PyTorch's), or "same" (TensorFlow's, one element more behind than before on even sizes),
            with which weights from TensorFlow give their numbers. Parameters are the same.
    """

    def __init__(self, *, width: int = 64, padding: Literal["symmetric", "same"] = "symmetric") -> None:
        check_width(width)
        if padding not in ("symmetric", "same"):
            raise RecipeError(f"backbone option padding={padding!r}: expected 'symmetric' or 'same'")
        same = padding == "same"
        convolution: Convolution = SameConv if same else full_conv
        stem = convolution(3, width, (5, 7, 7), (2, 2, 2))
        stages: dict[str, nn.Module] = {"p1": chain(conv=stem, norm=nn.BatchNorm3d(width), relu=nn.ReLU(inplace=True))}
        channels = width
        for number, (factor, blocks, time, stride) in enumerate(STAGES, start=2):
            parts: dict[str, nn.Module] = {"pool": _pool(same)} if number == 2 else {}
            kernels: tuple[Triple, Triple] = ((time, 1, 1), (1, 3, 3))
            build = partial(Bottleneck, convolution=convolution, kernels=kernels)
            for block in range(blocks):
                steps: Triple = (1, stride, stride) if block == 0 else (1, 1, 1)
                parts[str(block)] = build(channels, width * factor, stride=steps)
                channels = width * factor * Bottleneck.expansion
            stages[f"p{number}"] = chain(**parts)
        super().__init__(stages, feature_dim=channels, stride=(2, 32, 32))
        _start(self)


def _pool(same: bool) -> nn.Module:
    kernel: Triple = (1, 3, 3)
    stride: Triple = (1, 2, 2)
    if same:
        return nn.Sequential(SamePad(kernel, stride, value=float("-inf")), nn.MaxPool3d(kernel, stride))
    return nn.MaxPool3d(kernel, stride, (0, 1, 1))


def _start(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            # Cutting a normal distribution at two standard deviations leaves 0.8796 of its spread.
            std = module.weight[0].numel() ** -0.5 / 0.87962566
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
