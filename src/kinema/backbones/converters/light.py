"""Layouts of the light networks of Köpüklü et al.: ShuffleNet, MobileNet V2, SqueezeNet."""

from __future__ import annotations

from kinema.backbones.converters.layout import Identity, Layout, Weights, next_stage
from kinema.backbones.layers import scaled
from kinema.backbones.mobilenet import STAGES

_WHO = "Efficient 3D CNNs of Köpüklü et al."
_UNITS = {"1": "reduce", "2": "depthwise", "3": "expand"}


def _shufflenet(weights: Weights) -> Identity:
    # The second unit of a stage has as many channels in as out.
    channels = weights["stages.p3.1.expand.norm.weight"].shape[0]
    groups = channels // weights["stages.p3.1.reduce.conv.weight"].shape[1]
    return "shufflenet", {"width": round(weights["stages.p1.norm.weight"].shape[0] * 64 / 48), "groups": groups}


SHUFFLENET = Layout(
    name="shufflenet",
    source=f"{_WHO}: ShuffleNet V1",
    anchors=("conv1.0.weight", "layer1.0.bn3.weight", "layer3.0.conv1.weight"),
    rules=(
        (r"^conv1\.0$", "stages.p1.conv"),
        (r"^conv1\.1$", "stages.p1.norm"),
        (r"^layer(\d)\.", next_stage(2)),
        (r"\.conv([123])$", lambda match: f".{_UNITS[match[1]]}.conv"),
        (r"\.bn([123])$", lambda match: f".{_UNITS[match[1]]}.norm"),
    ),
    identify=_shufflenet,
)


def _mobilenet(weights: Weights) -> Identity:
    stem, deep = (weights[f"stages.{at}.norm.weight"].shape[0] for at in ("p1.stem", "p5.0.project"))
    # Published networks are 0.2, 0.45, 0.7 and 1 times as wide; others are taken to have been made by whole numbers.
    for width in (12.8, 28.8, 44.8):
        if (stem, deep) == (scaled(32, width), scaled(160, width)):
            return "mobilenet_v2", {"width": width}
    return "mobilenet_v2", {"width": 2 * stem}


_PLACES = [
    f"stages.p{stage}.{number}"
    for stage, groups in enumerate(STAGES, start=1)
    for number in range(sum(repeats for _, _, repeats, _ in groups))
]
_STEPS = {"0": "expand.conv", "1": "expand.norm", "3": "depthwise.conv", "4": "depthwise.norm"}
_STEPS |= {"6": "project.conv", "7": "project.norm"}
_FIRST = {"0": "depthwise.conv", "1": "depthwise.norm", "3": "project.conv", "4": "project.norm"}

MOBILENET = Layout(
    name="mobilenet_v2",
    source=f"{_WHO}: MobileNet V2",
    anchors=("features.0.0.weight", "features.1.conv.0.weight"),
    rules=(
        (r"^features\.0\.0$", "stages.p1.stem.conv"),
        (r"^features\.0\.1$", "stages.p1.stem.norm"),
        (r"^features\.18\.0$", "stages.p5.project.conv"),
        (r"^features\.18\.1$", "stages.p5.project.norm"),
        (r"^features\.1\.conv\.([0134])$", lambda match: f"stages.p1.0.{_FIRST[match[1]]}"),
        (
            r"^features\.([2-9]|1[0-7])\.conv\.([013467])$",
            lambda match: f"{_PLACES[int(match[1]) - 1]}.{_STEPS[match[2]]}",
        ),
    ),
    identify=_mobilenet,
)

_FIRES = {"4": "p2.first", "5": "p2.second", "7": "p3.first", "8": "p3.second"}
_FIRES |= {"10": "p4.first", "11": "p4.second", "13": "p5.first", "14": "p5.second"}

SQUEEZENET = Layout(
    name="squeezenet",
    source=f"{_WHO}: SqueezeNet 1.1",
    anchors=("features.4.squeeze.weight", "features.0.weight"),
    rules=(
        (r"^features\.0$", "stages.p1.conv"),
        (r"^features\.1$", "stages.p1.norm"),
        (r"^features\.(4|5|7|8|10|11|13|14)\.", lambda match: f"stages.{_FIRES[match[1]]}."),
        (r"\.(squeeze|expand)(\d?)(?:x\dx?\d?)?_bn$", r".\1\2.norm"),
        (r"\.(squeeze|expand)(\d?)(?:x\dx?\d?)?$", r".\1\2.conv"),
    ),
    identify=lambda weights: ("squeezenet", {"width": weights["stages.p1.norm.weight"].shape[0]}),
)
