"""Networks on clips: ConvNets behind one interface (`Backbone`), and transformers (`ClipTransformer`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kinema.backbones.base import Backbone
from kinema.backbones.c3d import C3D
from kinema.backbones.c3d_light import C3DLight
from kinema.backbones.counting import count_macs, count_parameters
from kinema.backbones.crosscheck import formula_clip, formula_fill
from kinema.backbones.mobilenet import MobileNetV2
from kinema.backbones.r2plus1d import R2Plus1D
from kinema.backbones.r3d import R3D
from kinema.backbones.r3d_50 import R3D50
from kinema.backbones.resnet3d import ResNet3D18, ResNet3D34, ResNet3D50
from kinema.backbones.s3d import S3D, S3DG, S3DGPace, S3DGRSPNet
from kinema.backbones.shufflenet import ShuffleNet
from kinema.backbones.squeezenet import SqueezeNet, SqueezeNetClassifier
from kinema.backbones.video_resnet import MC318, R3D18, R2Plus1D18
from kinema.backbones.vit import VIT_SIZES, ClipTransformer, VisionTransformer, ViTSize, vit_size
from kinema.backbones.vjepa2 import VJEPA2
from kinema.errors import RecipeError, suggest

__all__ = [
    "BACKBONES",
    "C3D",
    "MC318",
    "R3D",
    "R3D18",
    "R3D50",
    "S3D",
    "S3DG",
    "TRANSFORMERS",
    "VIT_SIZES",
    "VJEPA2",
    "Backbone",
    "C3DLight",
    "ClipTransformer",
    "MobileNetV2",
    "R2Plus1D",
    "R2Plus1D18",
    "ResNet3D18",
    "ResNet3D34",
    "ResNet3D50",
    "S3DGPace",
    "S3DGRSPNet",
    "ShuffleNet",
    "SqueezeNet",
    "SqueezeNetClassifier",
    "ViTSize",
    "VisionTransformer",
    "build_backbone",
    "build_network",
    "count_macs",
    "count_parameters",
    "formula_clip",
    "formula_fill",
    "vit_size",
]

N = TypeVar("N")

BACKBONES: dict[str, type[Backbone]] = {
    "c3d": C3D,
    "c3d_light": C3DLight,
    "r3d": R3D,
    "r2plus1d": R2Plus1D,
    "r3d_18": R3D18,
    "mc3_18": MC318,
    "r2plus1d_18": R2Plus1D18,
    "resnet3d_18": ResNet3D18,
    "resnet3d_34": ResNet3D34,
    "resnet3d_50": ResNet3D50,
    "s3d": S3D,
    "s3dg": S3DG,
    "s3dg_pace": S3DGPace,
    "s3dg_rspnet": S3DGRSPNet,
    "shufflenet": ShuffleNet,
    "mobilenet_v2": MobileNetV2,
    "squeezenet": SqueezeNet,
    "r3d_50": R3D50,
}
"""Backbone classes by the name that recipes use. Every one takes `width`, of which 64 is the published size."""


TRANSFORMERS: dict[str, type[ClipTransformer]] = {"vit": VisionTransformer, "vjepa2": VJEPA2}
"""Transformers on clips by name, for published weights; methods that train them have options of their own."""


def build_backbone(name: str, **options: Any) -> Backbone:
    """The backbone `name` of `BACKBONES`, freshly initialised, for example `build_backbone("r3d", width=16)`.

    Raises:
        RecipeError: when the name or an option is unknown, or an option's value is out of range.
    """
    return _build(BACKBONES, name, options)


def build_network(name: str, **options: Any) -> Backbone | ClipTransformer:
    """As `build_backbone`, of `BACKBONES` and `TRANSFORMERS`; lists among the options count as tuples."""
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    known: dict[str, Callable[..., Backbone | ClipTransformer]] = {**BACKBONES, **TRANSFORMERS}
    return _build(known, name, tuples)


def _build(known: Mapping[str, Callable[..., N]], name: str, options: Mapping[str, Any]) -> N:
    if name not in known:
        raise RecipeError(f"there is no backbone '{name}'.{suggest(name, known)}")
    accepted = inspect.signature(known[name]).parameters
    for option in options:
        if option not in accepted:
            raise RecipeError(f"backbone '{name}' has no option '{option}'.{suggest(option, accepted)}")
    return known[name](**options)
