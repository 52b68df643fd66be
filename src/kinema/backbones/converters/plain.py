"""Layouts of C3D: clip-order prediction and its successors, PRP, and the light C3D from TensorFlow."""

from __future__ import annotations

import re

from kinema.backbones.converters.layout import Identity, Layout, Weights

_KINDS = {"conv": "conv", "bn": "norm", "0": "conv", "1": "norm"}
_NUMBERS = {"": "1", "a": "1", "b": "2", "1": "1", "2": "2"}


def _c3d(weights: Weights) -> Identity:
    return "c3d", {"width": weights["stages.p1.conv1.weight"].shape[0]}


def _clip_order(match: re.Match[str]) -> str:
    return f"stages.p{match[2]}.{_KINDS[match[1]]}{_NUMBERS[match[3]]}"


def _prp(match: re.Match[str]) -> str:
    return f"stages.p{match[1]}.{_KINDS[match[3]]}{_NUMBERS[match[2] or '']}"


CLIP_ORDER = Layout(
    name="vcop-c3d",
    source="clip-order prediction, its successors (STS, RSPNet): C3D",
    anchors=("conv3a.weight", "bn3a.weight"),
    rules=((r"^(conv|bn)([1-5])([ab]?)$", _clip_order),),
    identify=_c3d,
    dropped=r"(fc\d*|linear|motion_linear|app_linear)(\.|$)",
)
PRP = Layout(
    name="prp-c3d",
    source="PRP: C3D",
    anchors=("conv1.conv3d.0.weight", "conv3_1.conv3d.0.weight"),
    rules=((r"^conv([1-5])(?:_([12]))?\.conv3d\.([01])$", _prp),),
    identify=_c3d,
)
LIGHT = Layout(
    name="mas",
    source="motion-appearance statistics in TensorFlow: the light C3D [unverified: no weights are published]",
    anchors=("conv_1.weight", "conv_5.weight"),
    rules=((r"^conv_([1-5])$", r"stages.p\1.conv1"),),
    identify=lambda weights: ("c3d_light", {"width": weights["stages.p1.conv1.weight"].shape[0]}),
    dropped=r"(fc[678]|.*\.(weight|bias))(\.|$)",  # heads, and optimiser slots below a variable's name
)
