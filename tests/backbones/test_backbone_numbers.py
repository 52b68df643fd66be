"""Published numbers of every backbone: parameters, multiply-accumulates, map sizes, and values by formula."""

import pytest
import torch
from torch import nn

from kinema.backbones import build_backbone, formula_clip, formula_fill
from kinema.backbones.r2plus1d import FactoredConv

WIDTHS_16 = {
    "c3d": [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7), (512, 2, 7, 7)],
    "c3d_light": [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (256, 2, 7, 7), (256, 1, 4, 4)],
    "r3d": [(64, 16, 56, 56), (64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7)],
}
WIDTHS_8 = {
    "c3d": [(64, 8, 28, 28), (128, 4, 14, 14), (256, 2, 7, 7), (512, 1, 4, 4), (512, 1, 4, 4)],
    "c3d_light": [(64, 8, 28, 28), (128, 4, 14, 14), (256, 2, 7, 7), (256, 1, 4, 4), (256, 1, 2, 2)],
    "r3d": [(64, 8, 28, 28), (64, 8, 28, 28), (128, 4, 14, 14), (256, 2, 7, 7), (512, 1, 4, 4)],
}
for table in (WIDTHS_16, WIDTHS_8):
    table["r2plus1d"] = table["r3d"]


def meta(name, **options):
    with torch.device("meta"):
        return build_backbone(name, **options)


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def count_macs(module, x):
    """Multiply-accumulates of all convolutions for the input `x`, by hooks."""
    macs = []

    def hook(part, inputs, out):
        macs.append(out[0].numel() * part.weight[0].numel())

    handles = [part.register_forward_hook(hook) for part in module.modules() if isinstance(part, nn.Conv3d)]
    module(x)
    for handle in handles:
        handle.remove()
    return sum(macs)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("c3d", {}, 27_661_440),
        ("c3d_light", {}, 5_248 + 221_312 + 884_992 + 1_769_728 + 1_769_728),
        ("r3d", {}, 14_361_792),
        ("r2plus1d", {}, 14_365_303),
        ("r3d", {"layers": [2, 2, 2, 2]}, 33_166_272),
        ("r2plus1d", {"layers": (2, 2, 2, 2)}, 33_178_423),
    ],
)
def test_parameter_counts(name, options, parameters):
    assert count(meta(name, **options)) == parameters


@pytest.mark.parametrize(("name", "total"), [("c3d", 27_675_291), ("r3d", 14_375_643), ("r2plus1d", 14_379_154)])
def test_parameter_counts_with_two_statistics_heads(name, total):
    backbone = meta(name)
    with torch.device("meta"):
        heads = [nn.Linear(backbone.feature_dim, outputs) for outputs in (14, 13)]
    assert count(backbone, *heads) == total


@pytest.mark.parametrize(("name", "giga"), [("c3d", 38.50), ("r3d", 19.89), ("r2plus1d", 21.36)])
def test_multiply_accumulates(name, giga):
    clip = torch.empty(1, 3, 16, 112, 112, device="meta")
    assert count_macs(meta(name), clip) / 1e9 == pytest.approx(giga, abs=0.005)


@pytest.mark.parametrize("name", WIDTHS_16)
@pytest.mark.parametrize(("size", "table"), [((16, 112, 112), WIDTHS_16), ((8, 56, 56), WIDTHS_8)])
def test_map_sizes(name, size, table):
    backbone = meta(name)
    maps = backbone.forward_stages(torch.empty(2, 3, *size, device="meta"))
    assert [tuple(x.shape) for x in maps] == [(2, *shape) for shape in table[name]]
    expected = tuple(-(-length // stride) for length, stride in zip(size, backbone.stride, strict=True))
    assert tuple(maps[-1].shape[2:]) == expected


def test_middle_widths():
    convs = [part for part in meta("r2plus1d", layers=(2, 2, 2, 2)).modules() if isinstance(part, FactoredConv)]
    assert [conv.spatial.out_channels for conv in convs] == [
        *(83, 144, 144, 144, 144),
        *(230, 288, 42, 288, 288),
        *(460, 576, 85, 576, 576),
        *(921, 1152, 170, 1152, 1152),
    ]


def test_formula_clip_and_other_parameters():
    clip = formula_clip((1, 3, 2, 2, 2)).flatten()
    k = torch.arange(24.0)
    torch.testing.assert_close(clip, torch.sin(0.05 * k) + 0.5 * torch.cos(0.0031 * k))
    norm = nn.BatchNorm3d(2)
    norm(torch.randn(2, 2, 2, 2, 2) + 4)
    part = nn.ModuleList([norm, nn.LayerNorm(3), nn.PReLU(3)])
    formula_fill(part)
    k = torch.arange(3.0)
    torch.testing.assert_close(part[1].weight.data, 1 + 0.05 * torch.cos(k))
    torch.testing.assert_close(part[1].bias.data, 0.02 * torch.sin(k))
    torch.testing.assert_close(part[2].weight.data, 0.02 * torch.sin(k))
    assert norm.running_mean.eq(0).all() and norm.running_var.eq(1).all()
