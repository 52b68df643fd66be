"""Layouts of S3D and S3D-G: torchvision, CoCLR, RSPNet, video pace."""

from __future__ import annotations

from kinema.backbones.converters.layout import Identity, Layout, Rule, Weights

_PAIR = {"0": "conv", "1": "norm"}
_HALVES = {"0": "spatial", "1": "temporal"}
_STAGED = {"0": "stages.p1.conv", "2": "stages.p2.reduce", "3": "stages.p2.conv"}
_STAGED |= {str(5 + i): f"stages.p3.{name}" for i, name in enumerate("bc")}
_STAGED |= {str(8 + i): f"stages.p4.{name}" for i, name in enumerate("bcdef")}
_STAGED |= {str(14 + i): f"stages.p5.{name}" for i, name in enumerate("bc")}
"""Torchvision numbers the layers in one row, pools included."""


def _width(weights: Weights) -> dict[str, int]:
    return {"width": weights["stages.p2.reduce.conv.weight"].shape[0]}


def _torchvision(weights: Weights) -> Identity:
    return "s3d", {**_width(weights), "norm_eps": 1e-3, "norm_momentum": 1e-3}


def _coclr(weights: Weights) -> Identity:
    return "s3dg" if any(".gate." in key for key in weights) else "s3d", _width(weights)


TORCHVISION = Layout(
    name="torchvision-s3d",
    source="torchvision.models.video: s3d",
    anchors=("features.0.0.0.weight", "features.5.branch0.0.weight"),
    rules=(
        (r"^features\.(\d+)\b", lambda match: _STAGED.get(match[1], match[0])),
        (r"\.branch(\d)\.", r".branches.\1."),
        # Separable convolutions: half, then convolution or normalisation.
        (r"\.branches\.([12])\.1\.([01])\.([01])$", lambda m: f".branches.{m[1]}.conv.{_HALVES[m[2]]}.{_PAIR[m[3]]}"),
        (r"\.conv\.([01])\.([01])$", lambda match: f".conv.{_HALVES[match[1]]}.{_PAIR[match[2]]}"),
        (r"\.reduce\.([01])$", lambda match: f".reduce.{_PAIR[match[1]]}"),
        (r"\.branches\.0\.([01])$", lambda match: f".branches.0.conv.{_PAIR[match[1]]}"),
        (r"\.branches\.([12])\.0\.([01])$", lambda match: f".branches.{match[1]}.reduce.{_PAIR[match[2]]}"),
        (r"\.branches\.3\.1\.([01])$", lambda match: f".branches.3.conv.{_PAIR[match[1]]}"),
    ),
    identify=_torchvision,
)

# A separable convolution's two halves, each a convolution and its normalisation, in one module.
_SEPARABLE: tuple[Rule, ...] = (
    (r"\.conv1$", ".spatial.conv"),
    (r"\.bn1$", ".spatial.norm"),
    (r"\.conv2$", ".temporal.conv"),
    (r"\.bn2$", ".temporal.norm"),
)

COCLR = Layout(
    name="coclr",
    source="CoCLR: S3D and S3D-G",
    anchors=("Conv_1a.conv1.weight", "Mixed_3b.branch0.0.conv.weight"),
    rules=(
        (r"^Conv_1a\b", "stages.p1.conv"),
        (r"^Conv_2b\b", "stages.p2.reduce"),
        (r"^Conv_2c\b", "stages.p2.conv"),
        (r"^Mixed_(\d)(\w)\.", r"stages.p\1.\2."),
        (r"\.branch0\.0\.", ".branches.0.conv."),
        (r"\.branch([12])\.0\.", r".branches.\1.reduce."),
        (r"\.branch([12])\.1\.", r".branches.\1.conv."),
        (r"\.branch3\.1\.", ".branches.3.conv."),
        (r"\.gating_b(\d)\.fc$", r".branches.\1.gate.linear"),
        *_SEPARABLE,
        (r"\.bn$", ".norm"),
    ),
    identify=_coclr,
    dropped=r"block\d\.",  # the same modules once more, under their stages' names
)

RSPNET = Layout(
    name="rspnet-s3dg",
    source="RSPNet: S3D-G",
    anchors=("feature.sepConv1.sep_conv.0.conv3d.weight", "feature.sepConv1.excitation.weight"),
    rules=(
        (r"^feature\.sepConv1\.", "stages.p1."),
        (r"^feature\.basicConv3d\.", "stages.p2.reduce."),
        (r"^feature\.sep_conv2\.", "stages.p2."),
        (r"^feature\.sepInc_(\d)(\w)\.", r"stages.p\1.\2."),
        (r"\.branch0\.", ".branches.0.conv."),
        (r"\.branch([12])\.0\.", r".branches.\1.reduce."),
        (r"\.branch([12])\.1\.", r".branches.\1."),
        (r"\.branch3\.1\.", ".branches.3.conv."),
        (r"\.sep_conv\.([01])\.", lambda match: f".conv.{_HALVES[match[1]]}."),
        (r"\.excitation$", ".gate.linear"),
        (r"\.conv3d$", ".conv"),
        (r"\.bn$", ".norm"),
    ),
    identify=lambda weights: ("s3dg_rspnet", _width(weights)),
)

PACE = Layout(
    name="pace",
    source="video pace: S3D-G",
    anchors=("conv1.conv1.weight", "mixed_3b.conv_b0.conv1.weight"),
    rules=(
        (r"^conv1\.conv1$", "stages.p1.conv.conv"),
        (r"^conv1\.bn1$", "stages.p1.conv.norm"),
        (r"^gating\.fc$", "stages.p2.gate.linear"),
        (r"^conv_2b\b", "stages.p2.reduce"),
        (r"^conv_2c\b", "stages.p2.conv"),
        (r"^mixed_(\d)(\w)\.", r"stages.p\1.\2."),
        (r"\.conv_b0\.", ".branches.0.plain."),
        (r"\.conv_b([12])_a\.", r".branches.\1.reduce."),
        (r"\.conv_b([12])_b\.", r".branches.\1.conv."),
        (r"\.conv_b3_b\.", ".branches.3.plain."),
        (r"\.gating_b(\d)\.fc$", r".branches.\1.gate.linear"),
        (r"\.(plain|reduce)\.conv1$", r".\1.conv"),
        (r"\.(plain|reduce)\.bn1$", r".\1.norm"),
        (r"\.plain\.", ".conv."),
        (
            r"\.conv\.(conv|bn)([12])$",
            lambda m: f".conv.{_HALVES[str(int(m[2]) - 1)]}.{'norm' if m[1] == 'bn' else 'conv'}",
        ),
    ),
    identify=lambda weights: ("s3dg_pace", _width(weights)),
)
