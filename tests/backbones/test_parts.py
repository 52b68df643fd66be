"""Parts of single networks: shuffling, gates, shortcuts, paddings, classifiers, starts, precision."""

import pytest
import torch
from torch import nn

from kinema.backbones import BACKBONES, SqueezeNetClassifier, build_backbone
from kinema.backbones.layers import SamePad
from kinema.backbones.residual import ZeroPadShortcut
from kinema.backbones.s3d import Gate, SeparableConv
from kinema.backbones.shufflenet import Unit, channel_shuffle


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def test_channels_are_shuffled_as_published():
    x = torch.arange(6.0).view(1, 6, 1, 1, 1)
    shuffled = channel_shuffle(x, 3)
    assert shuffled.flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(channel_shuffle(shuffled, 2), x)


def test_a_strided_unit_ends_with_its_pooled_input():
    unit = Unit(6, 24, stride=2, groups=3).eval()
    x = noise(2, 6, 4, 8, 8)
    pooled = torch.relu(nn.functional.avg_pool3d(x, (2, 3, 3), 2, (0, 1, 1)))
    torch.testing.assert_close(unit(x)[:, -6:], pooled)
    last = unit(x[:, :, :3])[:, -6:, -1]  # of three frames the last stands alone
    torch.testing.assert_close(last, torch.relu(nn.functional.avg_pool2d(x[:, :, 2], 3, 2, 1)))


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("width", [5, 32, 48])
def test_shufflenet_takes_all_groups_at_all_widths(groups, width):
    with torch.device("meta"):
        network = build_backbone("shufflenet", groups=groups, width=width)
        stages = network.forward_stages(torch.empty(1, 3, 16, 112, 112))
    assert stages[-1].shape == (1, network.feature_dim, 1, 4, 4)
    published = {1: (24, 567), 2: (24, 800), 3: (24, 960), 4: (24, 1088), 8: (24, 1536)}[groups]
    if width == 32:
        assert (stages[0].shape[1], network.feature_dim) == (published[0], -(-published[1] // groups) * groups)
        # At 1.0x the first unit's input is too narrow to be grouped.
        assert network.stages.p3[0].reduce.conv.groups == 1
        assert network.stages.p3[1].reduce.conv.groups == groups


def test_only_the_published_classifier_is_never_negative():
    network = build_backbone("squeezenet", width=8).eval()
    x = network.forward_map(noise(4, 3, 8, 64, 64))
    torch.manual_seed(0)
    scores = SqueezeNetClassifier(5, channels=64).eval()(x)
    assert scores.shape == (4, 5) and scores.min() >= 0
    assert nn.Linear(64, 5)(x.mean((2, 3, 4))).min() < 0


def test_a_gate_without_weights_halves_its_branch():
    gate = Gate(4)
    nn.init.zeros_(gate.linear.weight)
    nn.init.zeros_(gate.linear.bias)
    x = noise(2, 4, 2, 3, 3)
    torch.testing.assert_close(gate(x), x / 2)


def test_gates_sit_where_each_flavour_has_them():
    gates = {}
    for name in ("s3d", "s3dg", "s3dg_pace", "s3dg_rspnet"):
        modules = build_backbone(name, width=4).named_modules()
        gates[name] = {part for part, module in modules if isinstance(module, Gate)}
    blocks = [f"stages.p{stage}.{block}" for stage, names in ((3, "bc"), (4, "bcdef"), (5, "bc")) for block in names]
    branches = {f"{block}.branches.{branch}.gate" for block in blocks for branch in range(4)}
    assert gates["s3d"] == set()
    assert gates["s3dg"] == branches
    assert gates["s3dg_pace"] == branches | {"stages.p2.gate"}
    inner = {gate for gate in branches if gate.split(".")[-2] in "12"}
    assert gates["s3dg_rspnet"] == inner | {"stages.p1.gate", "stages.p2.gate"}


def test_stems_stride_time_where_each_flavour_does():
    strides = {}
    for name in ("s3d", "s3dg", "s3dg_rspnet"):
        stem = build_backbone(name, width=4).stages.p1.conv
        assert isinstance(stem, SeparableConv)
        strides[name] = (stem.spatial.conv.stride, stem.temporal.conv.stride)
    assert strides["s3d"] == strides["s3dg"] == ((1, 2, 2), (2, 1, 1))
    assert strides["s3dg_rspnet"] == ((2, 2, 2), (1, 1, 1))


def test_shortcut_a_copies_pads_and_keeps_its_gradient():
    x = noise(1, 3, 5, 6, 7).requires_grad_()
    y = ZeroPadShortcut(3, 8, (2, 2, 2))(x)
    assert y.shape == (1, 8, 3, 3, 4)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2, ::2]) and y[:, 3:].eq(0).all()
    y.sum().backward()
    assert x.grad[:, :, ::2, ::2, ::2].eq(1).all() and x.grad.sum() == y[:, :3].numel()


@pytest.mark.parametrize(("size", "widths"), [(8, (2, 3)), (7, (3, 3)), (1, (3, 3)), (10, (2, 3))])
def test_same_padding_puts_the_odd_element_behind(size, widths):
    x = torch.ones(1, 1, size, size, size)
    padded = SamePad((7, 1, 7), (2, 2, 2))(x)
    total = size + sum(widths)
    assert padded.shape[2:] == (total, size, total)
    assert padded[0, 0, :, 0, widths[0]].tolist() == [0.0] * widths[0] + [1.0] * size + [0.0] * widths[1]


def test_paddings_share_weights_but_not_values():
    torch.manual_seed(0)
    symmetric, same = (build_backbone("r3d_50", width=4, padding=padding).eval() for padding in ("symmetric", "same"))
    same.load_state_dict(symmetric.state_dict())
    even, odd = noise(1, 3, 8, 32, 32), noise(1, 3, 1, 1, 1)
    assert not torch.allclose(symmetric(even), same(even), rtol=1e-3)
    torch.testing.assert_close(symmetric(odd), same(odd))  # odd sizes are padded alike


@pytest.mark.parametrize(
    ("name", "spread"),
    [
        ("r3d_18", lambda conv: (2 / (conv.out_channels * 27)) ** 0.5),
        ("resnet3d_18", lambda conv: (2 / (conv.out_channels * 27)) ** 0.5),
        ("squeezenet", lambda conv: (2 / (conv.out_channels * 27)) ** 0.5),
        ("mobilenet_v2", lambda conv: (2 / (conv.out_channels * 27)) ** 0.5),
        ("s3d", lambda conv: 0.01),
        ("r3d_50", lambda conv: conv.weight[0].numel() ** -0.5),
    ],
)
def test_networks_start_as_published(name, spread):
    torch.manual_seed(0)
    checked = 0
    for conv in build_backbone(name, width=32).modules():
        if isinstance(conv, nn.Conv3d) and conv.weight.numel() > 20_000 and conv.groups == 1:
            if name in ("s3d", "r3d_50") or conv.kernel_size == (3, 3, 3):
                assert conv.weight.std().item() == pytest.approx(spread(conv), rel=0.03)
                checked += 1
            if name == "r3d_50":
                assert conv.weight.abs().max() <= 2.01 * spread(conv) / 0.8796
    assert checked or name == "mobilenet_v2"


@pytest.mark.parametrize("name", BACKBONES)
def test_half_precision_on_the_cpu_runs_and_begins_alike(name):
    torch.manual_seed(0)
    network = build_backbone(name, width=8)
    x = noise(2, 3, 8, 48, 48)
    with torch.no_grad():
        exact = network.forward_stages(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network.forward_stages(x)
    assert rough[-1].isfinite().all()
    # An untrained network magnifies rounding from stage to stage; the first one is still close.
    assert nn.functional.cosine_similarity(exact[0].flatten(), rough[0].float().flatten(), 0) > 0.99
