"""Video ConvNets behind one interface (`Backbone`): clips [B, 3, T, H, W] to maps [B, C, T', H', W']."""

from __future__ import annotations

import inspect
from typing import Any

from kinema.backbones.base import Backbone
from kinema.backbones.c3d import C3D
from kinema.backbones.c3d_light import C3DLight
from kinema.backbones.crosscheck import formula_clip, formula_fill
from kinema.backbones.r2plus1d import R2Plus1D
from kinema.backbones.r3d import R3D
from kinema.errors import RecipeError, suggest

__all__ = [
    "BACKBONES",
    "C3D",
    "R3D",
    "Backbone",
    "C3DLight",
    "R2Plus1D",
    "build_backbone",
    "formula_clip",
    "formula_fill",
]

BACKBONES: dict[str, type[Backbone]] = {"c3d": C3D, "c3d_light": C3DLight, "r3d": R3D, "r2plus1d": R2Plus1D}
"""Backbone classes by the name that recipes use."""


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
