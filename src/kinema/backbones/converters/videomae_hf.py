"""VideoMAE's weights between kinema and `transformers`: the encoder, and the decoder of pre-training where it is there.

kinema's side is the state dict of a `MaskedAutoencoder`, "trunk.…" and "decoder.…"; the other that of a VideoMAEModel
(names without prefix), VideoMAEForPreTraining or VideoMAEForVideoClassification ("videomae.…"). kinema keeps queries,
keys and values in one matrix; `transformers` keeps three, and older files of it name two biases `q_bias` and `v_bias`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from kinema.errors import RecipeError

Weights = Mapping[str, Tensor]

ENCODER, DECODER = "trunk.", "decoder."
"""Prefixes of kinema's names."""

_HEADS = ("fc_norm.", "classifier.")
# kinema's name, and that of transformers with {} for the prefix of its encoder.
_PARTS = (
    ("trunk.patch_embed.proj.", "{}embeddings.patch_embeddings.projection."),
    ("trunk.norm.", "{}layernorm."),
    ("decoder.project.", "encoder_to_decoder."),
    ("decoder.mask_token", "mask_token"),
    ("decoder.norm.", "decoder.norm."),
    ("decoder.head.", "decoder.head."),
)
_BLOCKS = (("trunk.blocks.", "{}encoder.layer."), ("decoder.blocks.", "decoder.decoder_layers."))
# Inside a block.
_LAYERS = (
    ("norm1.", "layernorm_before."),
    ("attn.proj.", "attention.output.dense."),
    ("norm2.", "layernorm_after."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
)
_QKV = "attention.attention."
_JOINED = ("query", "key", "value")


def from_transformers(state: Weights) -> dict[str, Tensor]:
    """Names and tensors of `transformers` in kinema's form; those of a classifier are left out.

    The matrices of queries, keys and values are joined (copied), all else is shared. A model that takes the mean of its
    tokens has no last LayerNorm, so that "trunk.norm.…" is missing from the result, too.

    Raises:
        RecipeError: tensors have no place in a VideoMAE; they are listed.
    """
    prefix = "videomae." if any(key.startswith("videomae.") for key in state) else ""
    inside = {_separated(key): value for key, value in state.items() if not key.startswith(_HEADS)}
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    for key, value in inside.items():
        renamed = _ours(key, prefix)
        if renamed is None:
            unknown.append(key)
        elif not renamed.partition(_QKV)[1]:
            found[renamed] = value
        else:
            _join(found, inside, key, renamed)
    if unknown:
        raise RecipeError(f"not weights of a VideoMAE of transformers: {', '.join(unknown[:5])}")
    return found


def to_transformers(weights: Weights, *, prefix: str | None = None) -> dict[str, Tensor]:
    """The inverse of `from_transformers`, as `transformers` names its tensors today.

    Args:
        weights: "trunk.…" and, where it is to be kept, "decoder.…".
        prefix: of the encoder's names; None: "videomae." where a decoder is among the weights, else "".

    Raises:
        RecipeError: tensors that a VideoMAE of transformers has no place for (class token, learned positions, a bias
            of the keys).
    """
    if prefix is None:
        prefix = "videomae." if any(key.startswith(DECODER) for key in weights) else ""
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    for key, value in weights.items():
        split = re.fullmatch(r"(.*\.)attn\.(qkv\.weight|q_bias|v_bias)", key)
        renamed = _theirs(split[1] if split else key, prefix)
        if renamed is None:
            unknown.append(key)
        elif split is None:
            found[renamed] = value
        elif split[2] == "qkv.weight":
            for name, part in zip(_JOINED, value.chunk(3), strict=True):
                found[f"{renamed}{_QKV}{name}.weight"] = part.contiguous()
        else:
            found[f"{renamed}{_QKV}{'query' if split[2] == 'q_bias' else 'value'}.bias"] = value
    if unknown:
        raise RecipeError(f"a VideoMAE of transformers has no place for {', '.join(unknown[:5])}")
    return found


def _separated(key: str) -> str:
    """The biases' names of older files as they are today."""
    return key.replace(f"{_QKV}q_bias", f"{_QKV}query.bias").replace(f"{_QKV}v_bias", f"{_QKV}value.bias")


def _join(found: dict[str, Tensor], inside: Weights, key: str, renamed: str) -> None:
    """Put one of three projections where it belongs; the matrices when the first of them comes by."""
    block, _, name = renamed.partition(_QKV)
    if name == "query.weight":
        start = key.removesuffix(name)
        found[f"{block}attn.qkv.weight"] = torch.cat([inside[f"{start}{part}.weight"] for part in _JOINED])
    elif name in ("query.bias", "value.bias"):
        found[f"{block}attn.{name[0]}_bias"] = inside[key]


def _ours(key: str, prefix: str) -> str | None:
    """A name of transformers in kinema's form, projections of the attention left as they are; None: unknown."""
    for ours, theirs in _PARTS:
        if key.startswith(start := theirs.format(prefix)):
            return ours + key.removeprefix(start)
    for ours, theirs in _BLOCKS:
        if not key.startswith(start := theirs.format(prefix)):
            continue
        number, _, inner = key.removeprefix(start).partition(".")
        layer = next((mine + inner.removeprefix(other) for mine, other in _LAYERS if inner.startswith(other)), None)
        known = re.fullmatch(
            rf"{re.escape(_QKV)}(query\.weight|key\.weight|value\.weight|query\.bias|value\.bias)", inner
        )
        return f"{ours}{number}.{inner}" if known else (layer and f"{ours}{number}.{layer}")
    return None


def _theirs(key: str, prefix: str) -> str | None:
    """A name, or the beginning "….blocks.3." of several, in the form of transformers; None: unknown."""
    for ours, theirs in _PARTS:
        if key.startswith(ours):
            return theirs.format(prefix) + key.removeprefix(ours)
    for ours, theirs in _BLOCKS:
        if not key.startswith(ours):
            continue
        number, _, inner = key.removeprefix(ours).partition(".")
        layer = next((other + inner.removeprefix(mine) for mine, other in _LAYERS if inner.startswith(mine)), None)
        return f"{theirs.format(prefix)}{number}.{layer or ''}" if layer or not inner else None
    return None
