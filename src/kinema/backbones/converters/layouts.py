"""All known layouts."""

from __future__ import annotations

from kinema.backbones.converters import inception, light, plain, resnets, tokens
from kinema.backbones.converters.layout import Layout

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        resnets.TORCHVISION,
        resnets.TORCHVISION_FACTORED,
        inception.TORCHVISION,
        resnets.CLIP_ORDER,
        resnets.CLIP_ORDER_FACTORED,
        plain.CLIP_ORDER,
        plain.PRP,
        plain.LIGHT,
        resnets.HARA,
        inception.COCLR,
        inception.RSPNET,
        inception.PACE,
        light.SHUFFLENET,
        light.MOBILENET,
        light.SQUEEZENET,
        *tokens.TOKEN_LAYOUTS,
    )
}
"""Layouts by name, in the order in which they are tried."""
