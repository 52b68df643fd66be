"""Layouts of transformers: VideoMAE, MAE-ST, V-JEPA 2 and image MAE, in their authors' names and in transformers'."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kinema.backbones.converters.layout import Identity, Layout, Rule, Weights, no_place
from kinema.backbones.converters.videomae_hf import from_transformers
from kinema.backbones.vit import VIT_SIZES, Pool
from kinema.backbones.vjepa2 import VJEPA2_SIZES
from kinema.errors import RecipeError

_PLACES = re.compile(r"(patch_embed\.proj|blocks|(fc_)?norm|decoder|positions)\.|cls_(token|position)$")
_PROJECTIONS = re.compile(r"(.*\.attn\.)q\.(weight|bias)")
FRAMES, SIDE = 16, 224
"""Of clips for which fixed positions are made, where nothing tells."""


@dataclass(frozen=True)
class TokenLayout(Layout):
    """A layout of a transformer; rules and what is dropped match whole keys.

    Attributes:
        beside: regular expression of keys that belong to it though they do not begin with the common prefix.
        joined: three projections of queries, keys and values become one.
        late: the last LayerNorm is one of the mean where there is no decoder (classifiers of MAE-ST).
    """

    beside: str = r"(?!)"
    joined: bool = False
    late: bool = False

    def rename(self, key: str) -> str | None:
        """A key without prefix in kinema's form; None for one that is dropped."""
        if re.match(self.dropped, key):
            return None
        for pattern, replacement in self.rules:
            key = re.sub(pattern, replacement, key)
        return key

    def translate(self, tensors: Weights, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
        """All tensors in kinema's form, those of a decoder behind "decoder.", and the keys that are left out."""
        weights: dict[str, Tensor] = {}
        dropped: list[str] = []
        unknown: list[str] = []
        for key, value in tensors.items():
            inside = key.startswith(prefix) or re.match(self.beside, key) is not None
            renamed = self.rename(key.removeprefix(prefix)) if inside else None
            if renamed is None:
                dropped.append(key)
            elif not _PLACES.match(renamed):
                unknown.append(key)
            else:
                weights[renamed] = value
        if unknown:
            raise no_place(self.name, unknown)
        return _join(weights) if self.joined else weights, dropped

    def parted(self, weights: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor], Pool]:
        """The network's weights, those of the decoder, and the pool.

        Raises:
            RecipeError: there is no LayerNorm at the end.
        """
        found = {key: value for key, value in weights.items() if not key.startswith("decoder.")}
        decoder = {key.removeprefix("decoder."): value for key, value in weights.items() if key not in found}
        late = "fc_norm.weight" in found or (self.late and not decoder)
        found = {re.sub("^fc_norm", "norm", key): value for key, value in found.items()}
        if "norm.weight" not in found:
            raise RecipeError(
                f"the weights ({self.name}) have no last LayerNorm: they are of a classifier that averages "
                "tokens, without its head. Take the file of the whole classifier, or that of pre-training"
            )
        kernel = found.get("patch_embed.proj.weight")
        if kernel is not None and kernel.ndim == 4:
            found["patch_embed.proj.weight"] = kernel.unsqueeze(2)
        for part in (found, decoder) if "cls_token" in found else ():
            _part_table(part)
        return found, decoder, "late" if late else "mean"


def _part_table(part: dict[str, Tensor]) -> None:
    """A learned table whose first row is the class token's becomes two."""
    table = part.get("positions.table")
    if table is not None:
        part["cls_position"], part["positions.table"] = table[:, :1].clone(), table[:, 1:].clone()


def _join(weights: Weights) -> dict[str, Tensor]:
    """Queries, keys and values in one matrix, biases in one vector."""
    found = {key: value for key, value in weights.items() if not re.search(r"\.attn\.[qkv]\.", key)}
    for key in weights:
        match = _PROJECTIONS.fullmatch(key)
        if match:
            found[f"{match[1]}qkv.{match[2]}"] = torch.cat([weights[f"{match[1]}{part}.{match[2]}"] for part in "qkv"])
    return found


def published_heads(width: int, depth: int) -> int:
    """Heads of the published size of this width and depth; else one for 64 channels."""
    sizes = [size._asdict() for size in VIT_SIZES.values()] + list(VJEPA2_SIZES.values())
    known = [int(size["heads"]) for size in sizes if (size["width"], size["depth"]) == (width, depth)]
    return known[0] if known else max(1, width // 64)


def _common(weights: Weights) -> dict[str, Any]:
    kernel = weights["patch_embed.proj.weight"]
    width, depth = kernel.shape[0], len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
    ratio = weights["blocks.0.mlp.fc1.weight"].shape[0] / width
    sizes = {"width": width, "depth": depth, "heads": published_heads(width, depth), "mlp_ratio": ratio}
    return {"patch": tuple(kernel.shape[2:]), **sizes}


def identify_vit(weights: Weights) -> Identity:
    """Options of the `VisionTransformer` that weights are of; heads, and frames of joint positions, as published."""
    options, attention = _common(weights), "blocks.0.attn."
    time, *patch = options["patch"]
    if "positions.spatial" in weights:
        kind, places = "separable", weights["positions.spatial"].shape[1]
        frames = weights["positions.temporal"].shape[1] * time
    elif "positions.table" in weights:
        frames = 1 if time == 1 else FRAMES
        kind, places = "learned", weights["positions.table"].shape[1] // (frames // time)
    else:
        kind, places, frames = "index", (SIDE // patch[0]) * (SIDE // patch[1]), FRAMES
    side = math.isqrt(places)
    options |= {"size": (frames, side * patch[0], side * patch[1]), "positions": kind}
    options |= {"class_token": "cls_token" in weights, "fused": f"{attention}qkv.weight" in weights}
    biased = {"all": (f"{attention}qkv.bias", f"{attention}k.bias"), "qv": (f"{attention}q_bias",)}
    options["bias"] = next((name for name, keys in biased.items() if any(key in weights for key in keys)), "none")
    if "blocks.0.scale1.gamma" in weights:
        options["layer_scale"] = 1.0
    return "vit", options


def identify_vjepa2(weights: Weights) -> Identity:
    """Options of the `VJEPA2` that weights are of."""
    options = _common(weights)
    return "vjepa2", {**options, "size": (64, 256, 256)}


class _VideoMAEHF(TokenLayout):
    def translate(self, tensors: Weights, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
        weights = {key.removeprefix("trunk."): value for key, value in from_transformers(tensors).items()}
        heads = [key for key in tensors if key.startswith(("fc_norm.", "classifier."))]
        if "norm.weight" in weights:
            return weights, heads
        late = {key: tensors[key] for key in heads if key.startswith("fc_norm.")}
        return weights | late, [key for key in heads if key not in late]


_SCALES: Sequence[Rule] = ((r"\.gamma_([12])$", r".scale\1.gamma"), (r"\.ls([12])\.gamma$", r".scale\1.gamma"))
_MAE_DECODER: Sequence[Rule] = (
    (r"^decoder_embed\.", "decoder.project."),
    (r"^decoder_blocks\.", "decoder.blocks."),
    (r"^decoder_norm\.", "decoder.norm."),
    (r"^decoder_pred\.", "decoder.head."),
    (r"^decoder_cls_token$", "decoder.cls_token"),
    (r"^mask_token$", "decoder.mask_token"),
    (r"^(decoder)?_?pos_embed_spatial$", r"\1.positions.spatial"),
    (r"^(decoder)?_?pos_embed_temporal$", r"\1.positions.temporal"),
    (r"^(decoder)?_?pos_embed_class$", r"\1.cls_position"),
    (r"^(decoder)?_?pos_embed$", r"\1.positions.table"),
    (r"^\.", ""),
)
# transformers' names of a block of ViT and ViT-MAE.
_HF_BLOCK: Sequence[Rule] = (
    (r"\.attention\.attention\.(q)uery\.", r".attn.\1."),
    (r"\.attention\.attention\.(k)ey\.", r".attn.\1."),
    (r"\.attention\.attention\.(v)alue\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)

VIDEOMAE = TokenLayout(
    name="videomae",
    source="VideoMAE: its pre-training and its classifiers",
    anchors=("patch_embed.proj.weight", "blocks.0.attn.q_bias"),
    rules=(
        (r"^(module\.)?encoder_to_decoder\.", "decoder.project."),
        (r"^(module\.)?mask_token$", "decoder.mask_token"),
        (r"^module\.decoder\.", "decoder."),
        (r"^pos_embed$", "positions.table"),
        *_SCALES,
    ),
    identify=identify_vit,
    dropped=r"head\.",
    beside=r"(module\.)?(decoder\.|encoder_to_decoder\.|mask_token$)",
)
VIDEOMAE_HF = _VideoMAEHF(
    name="videomae-hf",
    source="transformers: VideoMAEModel, VideoMAEForPreTraining, VideoMAEForVideoClassification",
    anchors=("embeddings.patch_embeddings.projection.weight", "encoder.layer.0.attention.attention.key.weight"),
    rules=(),
    identify=identify_vit,
)
MAE_ST = TokenLayout(
    name="mae-st",
    source="MAE-ST (masked autoencoders as spatiotemporal learners) and child-view models: pre-training, classifiers",
    anchors=("patch_embed.proj.weight", "blocks.0.attn.q.weight", "blocks.0.attn.k.weight"),
    rules=(*_MAE_DECODER,),
    identify=identify_vit,
    dropped=r"head\.",
    late=True,
)
VJEPA2_HF = TokenLayout(
    name="vjepa2-hf",
    source="transformers: VJEPA2Model, VJEPA2ForVideoClassification",
    anchors=("embeddings.patch_embeddings.proj.weight", "layer.0.attention.query.weight"),
    rules=(
        (r"^embeddings\.patch_embeddings\.", "patch_embed."),
        (r"^layernorm\.", "norm."),
        (r"^layer\.", "blocks."),
        (r"\.attention\.(q)uery\.", r".attn.\1."),
        (r"\.attention\.(k)ey\.", r".attn.\1."),
        (r"\.attention\.(v)alue\.", r".attn.\1."),
        (r"\.attention\.proj\.", ".attn.proj."),
    ),
    identify=identify_vjepa2,
    dropped=r"(?!)",
    joined=True,
)
MAE_HF = TokenLayout(
    name="mae-hf",
    source="transformers: ViTMAEModel, ViTMAEForPreTraining, ViTModel, ViTForImageClassification",
    anchors=(
        "embeddings.cls_token",
        "embeddings.position_embeddings",
        "encoder.layer.0.attention.attention.key.weight",
    ),
    rules=(
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^embeddings\.cls_token$", "cls_token"),
        (r"^embeddings\.position_embeddings$", "positions.table"),
        (r"^layernorm\.", "norm."),
        (r"^encoder\.layer\.", "blocks."),
        (r"^decoder\.decoder_embed\.", "decoder.project."),
        (r"^decoder\.(decoder_encoder\.layer|decoder_layers)\.", "decoder.blocks."),
        (r"^decoder\.decoder_norm\.", "decoder.norm."),
        (r"^decoder\.decoder_pred\.", "decoder.head."),
        (r"^decoder\.decoder_pos_embed$", "decoder.positions.table"),
        *_HF_BLOCK,
    ),
    identify=identify_vit,
    dropped=r"(pooler|classifier)\.|embeddings\.mask_token$",
    beside=r"decoder\.",
    joined=True,
)
MAE = TokenLayout(
    name="mae",
    source="image MAE, and vision transformers of timm with a class token",
    anchors=("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.bias"),
    rules=(*_MAE_DECODER, *_SCALES),
    identify=identify_vit,
    dropped=r"head\.",
)
VJEPA2_OWN = TokenLayout(
    name="vjepa2",
    source="V-JEPA 2: its encoder (of a checkpoint the target encoder)",
    anchors=("patch_embed.proj.weight", "blocks.0.attn.qkv.bias", "blocks.0.norm1.weight"),
    rules=(),
    identify=identify_vjepa2,
    dropped=r"pos_embed$",  # left over in the files: positions are rotations
)
TOKEN_LAYOUTS = (VIDEOMAE, MAE_HF, VIDEOMAE_HF, MAE_ST, VJEPA2_HF, MAE, VJEPA2_OWN)
"""In the order in which they are tried."""
