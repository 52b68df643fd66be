"""Published numbers of every backbone: parameters, multiply-accumulates, map sizes, and values by formula."""

import functools
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from kinema.backbones import (
    BACKBONES,
    SqueezeNetClassifier,
    build_backbone,
    count_macs,
    count_parameters,
    formula_clip,
    formula_fill,
)
from kinema.backbones.r2plus1d import FactoredConv

RESNET = [(64, 16, 56, 56), (64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7)]
SHORT = [(64, 16, 56, 56), (64, 8, 28, 28), (128, 4, 14, 14), (256, 2, 7, 7), (512, 1, 4, 4)]
DEEP = [(64, 16, 56, 56), (256, 8, 28, 28), (512, 4, 14, 14), (1024, 2, 7, 7), (2048, 1, 4, 4)]
INCEPTION = [(64, 8, 56, 56), (192, 8, 28, 28), (480, 8, 14, 14), (832, 4, 7, 7), (1024, 2, 4, 4)]
MAPS = {
    "c3d": [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7), (512, 2, 7, 7)],
    "c3d_light": [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (256, 2, 7, 7), (256, 1, 4, 4)],
    **dict.fromkeys(("r3d", "r2plus1d", "r3d_18", "r2plus1d_18"), RESNET),
    "mc3_18": [(64, 16, 56, 56), (64, 16, 56, 56), (128, 16, 28, 28), (256, 16, 14, 14), (512, 16, 7, 7)],
    **dict.fromkeys(("resnet3d_18", "resnet3d_34"), SHORT),
    "resnet3d_50": DEEP,
    **dict.fromkeys(("s3d", "s3dg", "s3dg_pace", "s3dg_rspnet"), INCEPTION),
    "shufflenet": [(48, 16, 56, 56), (48, 8, 28, 28), (480, 4, 14, 14), (960, 2, 7, 7), (1920, 1, 4, 4)],
    "mobilenet_v2": [(16, 16, 56, 56), (24, 8, 28, 28), (32, 4, 14, 14), (96, 2, 7, 7), (1280, 1, 4, 4)],
    "squeezenet": [(64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (384, 2, 7, 7), (512, 1, 4, 4)],
    "r3d_50": [(64, 8, 56, 56), (256, 8, 28, 28), (512, 8, 14, 14), (1024, 8, 7, 7), (2048, 8, 4, 4)],
}
"""Stage outputs for a clip of 16 x 112 x 112."""


@functools.cache
def meta(name, **options):
    with torch.device("meta"):
        return build_backbone(name, **options)


@functools.cache
def giga_macs(name, size, **options):
    return count_macs(meta(name, **options), clip(*size)) / 1e9


def clip(*size):
    return torch.empty(1, 3, *size, device="meta")


def head(backbone, outputs=101):
    return nn.Linear(backbone.feature_dim, outputs, device="meta")


@pytest.mark.parametrize(
    ("name", "options", "parameters", "classes", "with_head"),
    [
        ("c3d", {}, 27_661_440, 101, 27_713_253),
        ("c3d_light", {}, 5_248 + 221_312 + 884_992 + 1_769_728 + 1_769_728, None, None),
        ("r3d", {}, 14_361_792, 101, 14_413_605),
        ("r2plus1d", {}, 14_365_303, 101, 14_417_116),
        ("r3d", {"layers": (2, 2, 2, 2)}, 33_166_272, 101, 33_218_085),
        ("r2plus1d", {"layers": (2, 2, 2, 2)}, 33_178_423, 101, 33_230_236),
        ("r3d_18", {}, 33_166_272, 101, 33_218_085),
        ("r3d_18", {}, 33_166_272, 400, 33_371_472),
        ("r2plus1d_18", {}, 31_300_125, 101, 31_351_938),
        ("r2plus1d_18", {}, 31_300_125, 400, 31_505_325),
        ("mc3_18", {}, 11_490_240, 101, 11_542_053),
        ("resnet3d_18", {}, 33_203_904, 101, 33_255_717),
        ("resnet3d_18", {}, 33_203_904, 400, 33_409_104),
        ("resnet3d_34", {}, 63_513_536, 101, 63_565_349),
        ("resnet3d_50", {}, 46_198_976, 101, 46_405_925),
        ("shufflenet", {}, 3_606_288, 101, 3_800_309),
        ("shufflenet", {}, 3_606_288, 400, 4_374_688),
        ("shufflenet", {}, 3_606_288, 600, 4_758_888),
        ("mobilenet_v2", {}, 2_354_048, 101, 2_483_429),
        ("mobilenet_v2", {}, 2_354_048, 400, 2_866_448),
        ("mobilenet_v2", {}, 2_354_048, 600, 3_122_648),
        ("squeezenet", {}, 1_837_760, 101, 1_889_573),
        ("s3d", {}, 7_910_048, 400, 8_320_048),
        ("s3dg", {}, 7_910_048 + 1_187_952, None, None),
        # The separable stem's 38,336 make place for a full one of 28,352, and layer 2c gets a gate.
        ("s3dg_pace", {}, 9_098_000 - 38_336 + 28_352 + 192 * 193, None, None),
        ("r3d_50", {}, 31_672_128, None, None),
        ("r3d_50", {"padding": "same"}, 31_672_128, None, None),
    ],
)
def test_parameter_counts(name, options, parameters, classes, with_head):
    backbone = meta(name, **options)
    assert count_parameters(backbone) == parameters
    if classes is not None:
        assert count_parameters(backbone, head(backbone, classes)) == with_head


def test_parameter_counts_that_are_printed_in_millions():
    assert round(count_parameters(meta("s3dg_rspnet")) / 1e6, 2) == 8.68
    assert round(count_parameters(meta("s3dg_pace")) / 1e6, 1) == 9.1
    shortcuts = count_parameters(meta("resnet3d_18")) - count_parameters(meta("resnet3d_18", shortcut="A"))
    assert shortcuts == sum(low * high + 2 * high for low, high in ((64, 128), (128, 256), (256, 512)))


@pytest.mark.parametrize(("name", "total"), [("c3d", 27_675_291), ("r3d", 14_375_643), ("r2plus1d", 14_379_154)])
def test_parameter_counts_with_two_statistics_heads(name, total):
    backbone = meta(name)
    assert count_parameters(backbone, head(backbone, 14), head(backbone, 13)) == total


@pytest.mark.parametrize(
    ("name", "options", "size", "printed"),
    [
        ("c3d", {}, (16, 112, 112), "38.50"),
        ("r3d", {}, (16, 112, 112), "19.89"),
        ("r2plus1d", {}, (16, 112, 112), "21.36"),
        ("r3d", {"layers": (2, 2, 2, 2)}, (16, 112, 112), "40.70"),
        ("r2plus1d", {"layers": (2, 2, 2, 2)}, (16, 112, 112), "42.17"),
        ("r3d_18", {}, (16, 112, 112), "40.70"),
        ("r2plus1d_18", {}, (16, 112, 112), "40.52"),
        ("mc3_18", {}, (16, 112, 112), "43.34"),
        ("resnet3d_18", {}, (16, 112, 112), "8.31"),
        ("resnet3d_34", {}, (16, 112, 112), "12.70"),
        ("resnet3d_50", {}, (16, 112, 112), "10.07"),
        ("shufflenet", {}, (16, 112, 112), "0.513"),
        ("mobilenet_v2", {}, (16, 112, 112), "0.518"),
        ("s3d", {}, (16, 224, 224), "17.98"),
        ("s3dg", {}, (16, 224, 224), "17.98"),
        ("s3d", {}, (64, 224, 224), "71.9"),
        ("r3d_50", {}, (16, 224, 224), "45.5"),
    ],
)
def test_multiply_accumulates(name, options, size, printed):
    digits = len(printed.partition(".")[2])
    assert f"{giga_macs(name, size, **options):.{digits}f}" == printed


def test_multiply_accumulates_with_the_published_classifier():
    backbone = meta("squeezenet")
    with torch.device("meta"):
        classifier = SqueezeNetClassifier(101)
    whole = nn.Sequential(*backbone.stages.values(), classifier)
    assert f"{count_macs(whole, clip(16, 112, 112)) / 1e9:.3f}" == "0.899"
    assert count_parameters(whole) == 1_889_573


def test_multiply_accumulates_by_hand():
    layers = nn.Sequential(nn.Conv3d(4, 6, (1, 3, 3), groups=2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 5))
    assert count_macs(layers, torch.zeros(2, 4, 3, 8, 8)) == 2 * (6 * 3 * 6 * 6 * 2 * 9 + 6 * 5)
    assert not layers[0]._forward_hooks


@pytest.mark.parametrize("name", BACKBONES)
def test_map_sizes(name):
    backbone = meta(name)
    assert [tuple(x.shape[1:]) for x in backbone.forward_stages(clip(16, 112, 112))] == MAPS[name]


@pytest.mark.parametrize("name", BACKBONES)
def test_half_the_clip_in_all_axes_halves_all_maps_and_rounds_up(name):
    halved = [tuple(-(-size // 2) for size in sizes) for _, *sizes in MAPS[name]]
    backbone = build_backbone(name, width=4).eval()
    with torch.no_grad():
        assert [tuple(x.shape[2:]) for x in backbone.forward_stages(torch.zeros(1, 3, 8, 56, 56))] == halved
    expected = tuple(-(-length // stride) for length, stride in zip((8, 56, 56), backbone.stride, strict=True))
    assert halved[-1] == expected


def test_map_sizes_at_224():
    inception = [(64, 8, 112, 112), (192, 8, 56, 56), (480, 8, 28, 28), (832, 4, 14, 14), (1024, 2, 7, 7)]
    for name in ("s3dg", "s3dg_pace", "s3dg_rspnet"):
        assert [tuple(x.shape[1:]) for x in meta(name).forward_stages(clip(16, 224, 224))] == inception
    slow = [(64, 8, 112, 112), (256, 8, 56, 56), (512, 8, 28, 28), (1024, 8, 14, 14), (2048, 8, 7, 7)]
    for padding in ("symmetric", "same"):
        stages = meta("r3d_50", padding=padding).forward_stages(clip(16, 224, 224))
        assert [tuple(x.shape[1:]) for x in stages] == slow


def test_all_maps_of_mobilenet():
    found = []
    backbone = meta("mobilenet_v2")
    for stage in backbone.stages.values():
        for part in stage:
            part.register_forward_hook(lambda part, inputs, out: found.append(tuple(out.shape[1:])))
    backbone(clip(16, 112, 112))
    assert list(dict.fromkeys(found)) == [
        *((32, 16, 56, 56), (16, 16, 56, 56), (24, 8, 28, 28), (32, 4, 14, 14), (64, 2, 7, 7), (96, 2, 7, 7)),
        *((160, 1, 4, 4), (320, 1, 4, 4), (1280, 1, 4, 4)),
    ]


def test_middle_widths():
    convs = [part for part in meta("r2plus1d", layers=(2, 2, 2, 2)).modules() if isinstance(part, FactoredConv)]
    assert [conv.spatial.out_channels for conv in convs] == [
        *(83, 144, 144, 144, 144),
        *(230, 288, 42, 288, 288),
        *(460, 576, 85, 576, 576),
        *(921, 1152, 170, 1152, 1152),
    ]


def test_middle_widths_of_torchvision():
    convs = [part for part in meta("r2plus1d_18").modules() if isinstance(part, FactoredConv)]
    widths = [45, *[144] * 4, *(230, 230, 288, 288), *(460, 460, 576, 576), *(921, 921, 1152, 1152)]
    assert [conv.spatial.out_channels for conv in convs] == widths


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


def test_the_documented_table_is_that_of_the_code():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \| ([\d x]+) \| .* \| (\d+) \|$", page, re.MULTILINE
    )
    assert [row[0] for row in rows] == list(BACKBONES)
    for name, parameters, with_head, macs, size, features in rows:
        backbone = meta(name)
        assert int(parameters.replace(",", "")) == count_parameters(backbone)
        assert int(with_head.replace(",", "")) == count_parameters(backbone, head(backbone))
        digits = len(macs.partition(".")[2])
        assert f"{giga_macs(name, (16, 112, 112)):.{digits}f}" == macs
        assert (
            size == " x ".join(str(length) for length in MAPS[name][-1][1:]) and int(features) == backbone.feature_dim
        )
