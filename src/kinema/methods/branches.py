"""What CrossVideoMAE's two branches are made of: a masked autoencoder each, a head, and published weights to start."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from kinema.backbones.vit import VisionTransformer
from kinema.methods.masked import MaskedAutoencoder
from kinema.modules.heads import ProjectionHead
from kinema.modules.transformer import Grid, TokenDecoder

RECORD = "initial_weights.json"
"""In a run folder: which weights each branch began with."""


def clip_autoencoder(
    size: Grid, patch: Grid, outputs: int, sizes: Mapping[str, Any], decoder: Mapping[str, Any]
) -> MaskedAutoencoder:
    """MAE-ST's: learned separable positions, a class token of the decoder's own, three projections in attention."""
    kind: dict[str, Any] = {"positions": "separable", "fused": False}
    trunk = VisionTransformer(size, patch, class_token=True, bias="all", **kind, **sizes)
    made = TokenDecoder(trunk.grid, trunk.feature_dim, outputs=outputs, class_token="own", **kind, **decoder)
    return MaskedAutoencoder(trunk, made)


def frame_autoencoder(
    size: Grid, patch: Grid, outputs: int, sizes: Mapping[str, Any], decoder: Mapping[str, Any]
) -> MaskedAutoencoder:
    """The image MAE's: fixed positions, the encoder's class token goes through the decoder."""
    trunk = VisionTransformer(size, patch, positions="space", class_token=True, bias="all", **sizes)
    options = {"positions": "space", "class_token": "encoder", **decoder}
    return MaskedAutoencoder(trunk, TokenDecoder(trunk.grid, trunk.feature_dim, outputs=outputs, **options))


def projection(source: int, dim: int, norm: Literal["batch", "layer"]) -> nn.Module:
    """Linear, norm, ReLU, linear: [B, source] to [B, dim]."""
    head = ProjectionHead(source, dim, hidden=1, batch_norm=True, unit=False)
    if norm == "layer":
        head.layers[1] = nn.LayerNorm(source)
    return head


def start_branches(trunks: Mapping[str, tuple[VisionTransformer, str | None]], folder: Path) -> None:
    """Load published weights into the branches' encoders; keep what was matched in `folder`, and say it once.

    Args:
        trunks: by branch, the encoder and a file or folder of weights; None: it keeps its random ones.
        folder: the run folder.

    Raises:
        RecipeError: weights are unknown or do not fit.
    """
    from kinema.backbones.converters import start_from

    told: dict[str, Any] = {}
    for name, (trunk, source) in trunks.items():
        if source is not None:
            started = start_from(trunk, source)
            told[name] = {"file": str(source), **started._asdict(), "matched": len(started.matched)}
    path = folder / RECORD
    if not told or path.is_file():
        return
    aside = folder / f".{RECORD}.tmp"
    aside.write_text(json.dumps(told, indent=1), encoding="utf-8")
    aside.replace(path)
    for name, found in told.items():
        rest = f"missing: {', '.join(found['missing']) or 'none'}; left over: {', '.join(found['left_over']) or 'none'}"
        print(f"{name}: {found['matched']} weights of {found['file']} ({found['layout']}); {rest}", file=sys.stderr)
