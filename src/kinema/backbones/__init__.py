"""Video ConvNets behind one interface (`Backbone`): clips [B, 3, T, H, W] to maps [B, C, T', H', W']."""

from __future__ import annotations

import inspect
from typing import Any

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
    "Backbone",
    "C3DLight",
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
    "build_backbone",
    "count_macs",
    "count_parameters",
    "formula_clip",
    "formula_fill",
]

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


def build_backbone(name: str, **options: Any) -> Backbone:
    """The backbone `name` of `BACKBONES`, freshly initialised, for example `build_backbone("r3d", width=16)`.

    Raises:
        RecipeError: when the name or an option is unknown, or an option's value is out of range.
    """
    if name not in BACKBONES:
        raise RecipeError(f"there is no backbone '{name}'.{suggest(name, BACKBONES)}")
    known = inspect.signature(BACKBONES[name]).parameters
    for option in options:
        if option not in known:
            raise RecipeError(f"backbone '{name}' has no option '{option}'.{suggest(option, known)}")
    return BACKBONES[name](**options)
