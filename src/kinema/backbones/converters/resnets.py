"""Layouts of the residual networks: torchvision, clip-order prediction and its successors, Hara et al., RSPNet."""

from __future__ import annotations

import re

from kinema.backbones.converters.layout import Identity, Layout, Rule, Weights, layers, next_stage
from kinema.errors import RecipeError

_SHORTCUT: tuple[Rule, ...] = ((r"\.downsample\.0$", ".shortcut.conv"), (r"\.downsample\.1$", ".shortcut.norm"))


def _torchvision(weights: Weights) -> Identity:
    width = weights["stages.p1.norm.weight"].shape[0]
    if "stages.p1.conv.spatial.weight" in weights:
        return "r2plus1d_18", {"width": width}
    flat = weights["stages.p3.0.conv1.weight"].shape[2] == 1
    return "mc3_18" if flat else "r3d_18", {"width": width}


TORCHVISION = Layout(
    name="torchvision-r3d",
    source="torchvision.models.video: r3d_18, mc3_18",
    anchors=("stem.0.weight", "layer1.0.conv1.0.weight"),
    rules=(
        (r"^stem\.0$", "stages.p1.conv"),
        (r"^stem\.1$", "stages.p1.norm"),
        (r"^layer(\d)\.", next_stage(1)),
        (r"\.conv(\d)\.0$", r".conv\1"),
        (r"\.conv(\d)\.1$", r".norm\1"),
        *_SHORTCUT,
    ),
    identify=_torchvision,
)

_FACTORS = {"0": "spatial", "1": "norm", "3": "temporal"}

TORCHVISION_FACTORED = Layout(
    name="torchvision-r2plus1d",
    source="torchvision.models.video: r2plus1d_18",
    anchors=("stem.3.weight", "layer1.0.conv1.0.0.weight"),
    rules=(
        (r"^stem\.([013])$", lambda match: f"stages.p1.conv.{_FACTORS[match[1]]}"),
        (r"^stem\.4$", "stages.p1.norm"),
        (r"^layer(\d)\.", next_stage(1)),
        (r"\.conv(\d)\.0\.([013])$", lambda match: f".conv{match[1]}.{_FACTORS[match[2]]}"),
        (r"\.conv(\d)\.1$", r".norm\1"),
        *_SHORTCUT,
    ),
    identify=_torchvision,
)


def _clip_order(weights: Weights) -> Identity:
    width = weights["stages.p1.norm.weight"].shape[0]
    factored = "stages.p1.conv.spatial.weight" in weights
    return "r2plus1d" if factored else "r3d", {"layers": layers(weights), "width": width}


_CLIP_ORDER: tuple[Rule, ...] = (
    (r"^conv(\d)\.block1\.", r"stages.p\1.0."),
    (r"^conv(\d)\.blocks\.(\d+)\.", lambda match: f"stages.p{match[1]}.{int(match[2]) + 1}."),
    (r"^conv1\b", "stages.p1.conv"),
    (r"^bn1$", "stages.p1.norm"),
    (r"\.downsampleconv\b", ".shortcut.conv"),
    (r"\.downsamplebn$", ".shortcut.norm"),
    (r"\.temporal_spatial_conv$", ""),
    (r"\.(spatial|temporal)_conv$", r".\1"),
    (r"\.bn(\d?)$", r".norm\1"),
)
_HEADS = r"(fc\d*|linear|motion_linear|app_linear)(\.|$)"
_WHO = "clip-order prediction, its successors (PRP, STS, RSPNet)"

CLIP_ORDER = Layout(
    name="vcop-r3d",
    source=f"{_WHO}: R3D",
    anchors=("conv1.temporal_spatial_conv.weight", "conv2.block1.bn1.weight"),
    rules=_CLIP_ORDER,
    identify=_clip_order,
    dropped=_HEADS,
)
CLIP_ORDER_FACTORED = Layout(
    name="vcop-r2plus1d",
    source=f"{_WHO}: R(2+1)D",
    anchors=("conv1.spatial_conv.weight", "conv2.block1.bn1.weight"),
    rules=_CLIP_ORDER,
    identify=_clip_order,
    dropped=_HEADS,
)

_DEPTHS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "18",
    ((3, 4, 6, 3), False): "34",
    ((3, 4, 6, 3), True): "50",
}


def _hara(weights: Weights) -> Identity:
    stem = weights["stages.p1.conv.weight"]
    if stem.ndim != 5:
        raise RecipeError("these are weights of a 2D ResNet: a video network's first convolution has five axes")
    counts, bottleneck = layers(weights), "stages.p2.0.conv3.weight" in weights
    if (counts, bottleneck) not in _DEPTHS:
        kind = "bottlenecks" if bottleneck else "basic blocks"
        raise RecipeError(f"a 3D-ResNet of {counts} {kind} is not among kinema's (18, 34 or 50 layers)")
    shortcut = "B" if any(re.search(r"\.shortcut\.", key) for key in weights) else "A"
    options = {"width": stem.shape[0], "shortcut": shortcut, "conv1_kernel": stem.shape[2]}
    return f"resnet3d_{_DEPTHS[counts, bottleneck]}", options


HARA = Layout(
    name="hara",
    source="3D-ResNets of Hara et al., RSPNet: 18, 34 and 50 layers",
    anchors=("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.weight"),
    rules=(
        (r"^conv1$", "stages.p1.conv"),
        (r"^bn1$", "stages.p1.norm"),
        (r"^layer(\d)\.", next_stage(1)),
        (r"\.bn(\d)$", r".norm\1"),
        *_SHORTCUT,
    ),
    identify=_hara,
    dropped=r"fc\d*(\.|$)",
)
