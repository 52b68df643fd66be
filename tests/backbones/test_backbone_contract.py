"""The contract that every backbone keeps."""

import pytest
import torch

from kinema.backbones import BACKBONES, build_backbone
from kinema.errors import RecipeError

WIDTH = 4


@pytest.fixture(params=sorted(BACKBONES))
def backbone(request):
    torch.manual_seed(0)
    return build_backbone(request.param, width=WIDTH)


def clips(batch=2, frames=8, size=48):
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(3))


def test_shapes_dtypes_and_names(backbone):
    backbone.eval()
    x = clips()
    stages, pooled = backbone.forward_stages(x), backbone.forward_pooled(x)
    assert pooled.shape == (2, backbone.feature_dim) and pooled.dtype == torch.float32
    assert backbone.stage_names == ("p1", "p2", "p3", "p4", "p5")
    assert torch.equal(stages[-1], backbone.forward_map(x))
    assert set(backbone.tap(stages, ["p2", "p5"])) == {"p2", "p5"}
    assert backbone.tap(stages, ["p2"])["p2"] is stages[1]
    torch.testing.assert_close(pooled, stages[-1].mean((2, 3, 4)))
    assert torch.equal(backbone(x), pooled)


def test_stages_are_not_overwritten_by_later_ones(backbone):
    backbone.eval()
    whole = backbone.forward_stages(clips())
    x = clips()
    for stage, expected in zip(backbone.stages.values(), whole, strict=True):
        x = stage(x.clone())
        assert torch.equal(x, expected)


def test_same_clip_same_features(backbone):
    backbone.eval()
    assert torch.equal(backbone(clips()), backbone(clips()))


def test_gradients_reach_every_parameter_and_the_clip(backbone):
    x = clips().requires_grad_()
    (backbone(x) * torch.linspace(-1, 1, backbone.feature_dim)).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    # A bias in front of batch normalisation has no effect, hence only rounding for a gradient.
    weights = [(name, p.grad) for name, p in backbone.named_parameters() if name.endswith("weight")]
    assert all(gradient.abs().max() > 0 for _, gradient in weights)
    assert x.grad is not None and x.grad.abs().max() > 0


def test_save_and_load(backbone, tmp_path):
    backbone(clips())
    torch.save(backbone.state_dict(), tmp_path / "weights.pt")
    name = next(name for name, kind in BACKBONES.items() if type(backbone) is kind)
    other = build_backbone(name, width=WIDTH)
    assert not torch.equal(other.eval()(clips()), backbone.eval()(clips()))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(clips()), backbone(clips()))


def test_eval_mode_does_not_mix_clips(backbone):
    backbone(clips())
    backbone.eval()
    together = backbone(clips(batch=3))
    alone = torch.cat([backbone(clip[None]) for clip in clips(batch=3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_the_direction_of_time_matters(backbone):
    backbone.train()  # some networks start so small that without batch statistics all is lost in rounding
    features, reversed_features = backbone(clips()), backbone(clips().flip(2))
    assert (features - reversed_features).norm() > 0.05 * features.norm()


def test_without_temporal_kernels_the_direction_of_time_is_lost():
    """The check above has power: with temporal taps of R3D cut to the centre, reversal only reorders the map."""
    backbone = build_backbone("r3d", width=WIDTH).eval()
    with torch.no_grad():
        for part in backbone.modules():
            if isinstance(part, torch.nn.Conv3d) and part.kernel_size[0] == 3:
                part.weight[:, :, [0, 2]] = 0
                part.stride = (1, *part.stride[1:])
            elif isinstance(part, torch.nn.Conv3d):
                part.stride = (1, *part.stride[1:])
    torch.testing.assert_close(backbone(clips()), backbone(clips().flip(2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 17, 50), (1, 1, 1)])
def test_any_size_of_clip_will_do(backbone, size):
    backbone.eval()
    out = backbone.forward_map(torch.randn(1, 3, *size))
    assert tuple(out.shape[2:]) == tuple(-(-n // s) for n, s in zip(size, backbone.stride, strict=True))


@pytest.mark.parametrize("name", BACKBONES)
def test_channels_are_scaled_in_proportion(name):
    with torch.no_grad():
        stages = [build_backbone(name, width=width).forward_stages(clips(size=16)) for width in (8, 16)]
    for stage, (thin, thick) in enumerate(zip(*stages, strict=True), start=1):
        if (name, stage) == ("mobilenet_v2", 5):
            assert thin.shape[1] == thick.shape[1] == 1280  # published: never narrower
        else:
            assert 2 * thin.shape[1] == thick.shape[1]


def test_light_c3d_starts_as_in_the_paper():
    torch.manual_seed(0)
    convs = [part for part in build_backbone("c3d_light", width=16).modules() if isinstance(part, torch.nn.Conv3d)]
    assert len(convs) == 5
    for conv in convs:
        assert conv.bias.eq(0).all()
        assert abs(conv.weight.std().item() / 0.01 - 1) < 0.05


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("r3b", {}, "Did you mean 'r3d'"),
        ("r3d", {"widht": 8}, "Did you mean 'width'"),
        ("c3d", {"layers": (1, 1, 1, 1)}, "has no option 'layers'"),
        ("c3d", {"width": 0}, "width=0"),
        ("r3d", {"layers": (1, 1, 1)}, "four stages"),
        ("r2plus1d", {"layers": (1, 1, 0, 1)}, "four stages"),
        ("mobilenet_v2", {"width": -0.5}, "width=-0.5"),
        ("shufflenet", {"groups": 5}, "expected 1, 2, 3, 4, 8"),
        ("resnet3d_18", {"shortcut": "C"}, "expected 'A' or 'B'"),
        ("resnet3d_18", {"conv1_kernel": 4}, "odd number of frames"),
        ("resnet3d_18", {"conv1_stride": 0}, "conv1_stride=0"),
        ("r3d_50", {"padding": "valid"}, "'symmetric' or 'same'"),
    ],
)
def test_wrong_names_and_options_are_explained(name, options, message):
    with pytest.raises(RecipeError, match=message):
        build_backbone(name, **options)
