"""Public weights become kinema's: every layout converts to a network that computes the same."""

import argparse
import functools

import numpy as np
import pytest
import torch

from kinema.backbones import build_backbone
from kinema.backbones.converters import LAYOUTS, c3d_light_head, convert, load_weights, read_weights
from kinema.backbones.converters.tokens import TokenLayout
from kinema.errors import RecipeError
from kinema.modules.heads import C3DLightHead
from tests.backbones import cases
from tests.backbones.public import Named


def clip(case="", size=(1, 3, 8, 32, 32)):
    if case == "shufflenet":
        size = (1, 3, 16, 48, 48)  # its second implementation takes no smaller one
    return torch.randn(size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@functools.cache
def published(case):
    """A state dict as published code would write it, the network's stages on `clip()`, and its name and options."""
    name, options, network = cases.CASES[case]
    net = Named(eps=cases.norm_eps(case))
    stages = network(net, clip(case), cases.WIDTH)
    return net.tensors, stages, name, {"width": cases.WIDTH} | options


def to_tensorflow(tensors):
    variables = {}
    for key, value in tensors.items():
        path, _, leaf = key.rpartition(".")
        value = value.permute(2, 3, 4, 1, 0) if value.ndim == 5 else value
        variables[f"C3D/{path}/{'weights' if leaf == 'weight' else 'biases'}:0"] = value.numpy()
    return variables


@pytest.mark.parametrize("case", cases.CASES)
def test_converted_weights_compute_what_the_published_network_does(case):
    tensors, stages, name, options = published(case)
    if name == "c3d_light":
        tensors = to_tensorflow(tensors)
    converted = convert(tensors)
    assert converted.backbone == name
    norm_defaults = {"norm_eps": 1e-3} if name == "s3dg_rspnet" else {}
    assert converted.options | norm_defaults == options | norm_defaults
    assert converted.dropped == ()
    backbone = build_backbone(name, **converted.options).double().eval()
    load_weights(backbone, tensors)
    for ours, theirs in zip(backbone.forward_stages(clip(case)), stages, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * theirs.abs().max().item())


def test_every_layout_is_tried():
    reached = set()
    for case in cases.CASES:
        tensors = published(case)[0]
        reached.add(convert(to_tensorflow(tensors) if case == "c3d_light" else tensors).layout)
    assert reached == {name for name, layout in LAYOUTS.items() if not isinstance(layout, TokenLayout)}


@pytest.mark.parametrize(
    ("case", "prefix", "heads"),
    [
        ("r3d", "module.base_network.", ["motion_linear.weight", "app_linear.bias"]),
        ("c3d_prp", "module.base_network.", ["linear.weight", "linear.bias"]),
        ("r2plus1d", "encoder_q.encoder.", ["linear.weight"]),
        ("s3dg_rspnet", "module.encoder_q.encoder.", ["fc.weight"]),
        ("resnet3d_18", "module.", ["fc.weight", "fc.bias"]),
        ("s3dg", "module.encoder_q.0.", []),
        ("r3d_18", "", ["fc.weight", "fc.bias"]),
        ("s3d torchvision", "", ["classifier.1.weight", "classifier.1.bias"]),
        ("mobilenet_v2", "module.", ["classifier.1.weight"]),
    ],
)
def test_prefixes_heads_copies_and_queues_are_left_out(case, prefix, heads):
    tensors, stages, name, options = published(case)
    copy = prefix.replace("encoder_q", "encoder_k").replace("base_network", "base_network_cyc")
    others = {f"{prefix}{head}": torch.zeros(101) for head in heads}
    if copy != prefix:
        others |= {f"{copy}{key}": torch.zeros_like(value) for key, value in tensors.items()}
    if prefix:
        others["queue"] = torch.zeros(9)
    state = others | {f"{prefix}{key}": value for key, value in tensors.items()}
    checkpoint = {"epoch": 3, "arch": "x", "state_dict": state, "optimizer": {"lr": 0.1}}
    backbone = build_backbone(name, **options).double().eval()
    assert set(load_weights(backbone, checkpoint).dropped) == set(others)
    torch.testing.assert_close(
        backbone.forward_map(clip(case)), stages[-1], rtol=1e-9, atol=1e-9 * stages[-1].abs().max()
    )


def test_coclr_names_its_modules_twice():
    tensors = published("s3dg")[0]
    doubles = {f"block1.0.{key.removeprefix('Conv_1a.')}": value for key, value in tensors.items() if "Conv_1a" in key}
    converted = convert(tensors | doubles)
    assert converted.dropped == tuple(doubles)


def test_files_of_all_kinds_load(tmp_path):
    from safetensors.torch import save_file

    tensors, stages, name, options = published("squeezenet")
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    torch.save({"state_dict": tensors, "epoch": 1}, tmp_path / "checkpoint.pth")
    torch.save({"model": tensors, "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.95))}, tmp_path / "arguments.pth")
    save_file(tensors, tmp_path / "weights.safetensors")
    np.savez(tmp_path / "weights.npz", **{key: value.numpy() for key, value in tensors.items()})
    for file in sorted(tmp_path.iterdir()):
        backbone = build_backbone(name, **options).double().eval()
        assert load_weights(backbone, file).layout == "squeezenet"
        torch.testing.assert_close(backbone.forward_map(clip()), stages[-1], rtol=1e-9, atol=1e-9)


class Malicious:
    def __reduce__(self):
        return print, ("executed",)


def test_files_that_would_execute_code_are_refused(tmp_path, capsys):
    torch.save({"state_dict": Malicious()}, tmp_path / "evil.pth")
    with pytest.raises(RecipeError, match=r"evil\.pth cannot be read as plain weights"):
        read_weights(tmp_path / "evil.pth")
    assert "executed" not in capsys.readouterr().out


def test_broken_files_are_named(tmp_path):
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(RecipeError, match=r"torn\.pth cannot be read"):
        read_weights(tmp_path / "torn.pth")
    with pytest.raises(RecipeError, match="no such file"):
        read_weights(tmp_path / "absent.pth")
    torch.save({"epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(RecipeError, match="holds no tensors: its keys are epoch"):
        read_weights(tmp_path / "empty.pth")


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("layer2.1.conv1.0.weight", {}, r"1 missing: stages\.p3\.1\.conv1\.weight"),
        ("layer2.0.conv1.0.weight", {}, r"needs stages\.p3\.0\.conv1\.weight, which the weights lack"),
        (
            None,
            {"attention.weight": torch.zeros(2), "queue": torch.zeros(2)},
            r"2 tensors: attention\.weight, queue\. Name another",
        ),
        (None, {"layer4.7.conv1.0.weight": torch.zeros(2)}, r"1 left over: stages\.p5\.7\.conv1\.weight"),
        (None, {"stem.1.bias": torch.zeros(3)}, r"of the wrong shape: stages\.p1\.norm\.bias \[3\] instead of \[8\]"),
    ],
)
def test_what_does_not_fit_is_listed(removed, added, message):
    tensors = {key: value for key, value in published("r3d_18")[0].items() if key != removed}
    with pytest.raises(RecipeError, match=message):
        convert(tensors | added)


def test_unknown_layouts_and_wrong_networks_are_explained():
    tensors = published("r3d_18")[0]
    with pytest.raises(RecipeError, match=r"keys \(a\.weight\) are not of any known layout.*torchvision-r3d"):
        convert({"a.weight": torch.zeros(1)})
    with pytest.raises(RecipeError, match="Did you mean 'hara'"):
        convert(tensors, "harra")
    with pytest.raises(RecipeError, match="not of layout 'hara'"):
        convert(tensors, "hara")
    with pytest.raises(RecipeError, match=r"made for build_network\('r3d_18', width=8\)\) do not fit R2Plus1D18"):
        load_weights(build_backbone("r2plus1d_18", width=8), tensors)
    flat = {key: value[:, :, 0] if value.ndim == 5 else value for key, value in published("resnet3d_18")[0].items()}
    with pytest.raises(RecipeError, match="2D ResNet"):
        convert(flat)


def test_weights_that_need_another_epsilon_are_refused():
    tensors = published("s3d torchvision")[0]
    with pytest.raises(RecipeError, match=r"eps=0\.001: build_network\('s3d', width=8, norm_eps=0\.001"):
        load_weights(build_backbone("s3d", width=8), tensors)
    load_weights(build_backbone("s3d", width=8, norm_eps=1e-3), tensors)


@pytest.mark.parametrize("factor", [0.2, 0.45, 0.7, 1.0, 2.0])
def test_published_widths_of_mobilenet_are_recognised(factor):
    width = factor * 64
    net = Named()
    cases.CASES["mobilenet_v2"][2](net, clip(size=(1, 3, 2, 8, 8)), width)
    assert convert(net.tensors).options["width"] == pytest.approx(width)


def test_an_unnamed_count_of_batches_starts_at_zero():
    tensors = published("squeezenet")[0]
    backbone = build_backbone("squeezenet", width=8)
    backbone(torch.randn(2, 3, 4, 32, 32))
    load_weights(backbone, tensors)
    assert backbone.stages.p1.norm.num_batches_tracked == 0


def test_the_light_c3d_brings_its_head_in_the_order_time_height_width_channel():
    draw = torch.Generator().manual_seed(1)
    channels, sizes, hidden = 3, (1, 2, 2), 5
    shapes = {"fc6": (12, hidden), "fc7": (hidden, hidden), "fc8": (hidden, 14)}
    variables = {}
    for layer, shape in shapes.items():
        variables[f"C3D/{layer}/weight"] = torch.randn(shape, generator=draw).numpy()
        variables[f"C3D/{layer}/bias"] = torch.randn(shape[1], generator=draw).numpy()
    head = C3DLightHead(14, channels=channels, map_size=sizes, hidden=hidden)
    head.load_state_dict(c3d_light_head(variables))
    x = torch.randn(2, channels, *sizes, generator=draw)
    flat = np.stack(
        [[x[b, c, t, h, w] for t in range(1) for h in range(2) for w in range(2) for c in range(3)] for b in (0, 1)]
    )
    y = np.maximum(flat @ variables["C3D/fc6/weight"] + variables["C3D/fc6/bias"], 0)
    y = np.maximum(y @ variables["C3D/fc7/weight"] + variables["C3D/fc7/bias"], 0)
    y = y @ variables["C3D/fc8/weight"] + variables["C3D/fc8/bias"]
    np.testing.assert_allclose(head(x).detach().numpy(), y, rtol=1e-5, atol=1e-5)
    with pytest.raises(RecipeError, match=r"no fc7\.bias"):
        c3d_light_head({key: value for key, value in variables.items() if key != "C3D/fc7/bias"})
