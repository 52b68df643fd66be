"""A trained network as a model folder of Hugging Face transformers: which class takes it, or why none does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kinema.backbones.converters.videomae_hf import to_transformers
from kinema.backbones.vit import VisionTransformer
from kinema.backbones.vjepa2 import VJEPA2
from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.methods.encoders import ViTEncoder
from kinema.methods.masked import MaskedAutoencoder
from kinema.modules.encoder import Encoder, EncoderInput
from kinema.modules.transformer.blocks import Block
from kinema.modules.transformer.decoder import TokenDecoder


@dataclass(frozen=True)
class TransformersModel:
    """What a model folder of transformers holds.

    Attributes:
        architecture: class that the weights are of.
        config: of config.json.
        processor: of preprocessor_config.json.
        weights: of model.safetensors.
    """

    architecture: str
    config: dict[str, Any]
    processor: dict[str, Any]
    weights: dict[str, Tensor]


def as_transformers(method: Method, encoder: Encoder) -> TransformersModel:
    """The encoder as a VideoMAEModel of transformers, with its decoder as a VideoMAEForPreTraining.

    Args:
        method: that yielded the encoder; a decoder is looked for in it.
        encoder: what is exported.

    Raises:
        RecipeError: transformers has no class for this network; every reason is named.
    """
    reasons = list(_obstacles(encoder))
    if reasons:
        raise RecipeError(
            f"transformers has no class for this network: {'; '.join(reasons)}. Export it with --format safetensors"
        )
    trunk = encoder.trunk
    assert isinstance(trunk, VisionTransformer)
    decoder = _decoder(method, trunk)
    weights = {f"trunk.{key}": value for key, value in trunk.state_dict().items()}
    if decoder is not None:
        weights |= {f"decoder.{key}": value for key, value in decoder.state_dict().items()}
    architecture = "VideoMAEModel" if decoder is None else "VideoMAEForPreTraining"
    config = {"architectures": [architecture], **_config(trunk)}
    if decoder is not None:
        config |= _decoder_config(decoder) | {"norm_pix_loss": getattr(method, "target", "channel") == "channel"}
    return TransformersModel(architecture, config, _processor(encoder.input), to_transformers(weights))


def _obstacles(encoder: Encoder) -> Iterator[str]:
    """Why no class of transformers computes what this encoder does."""
    trunk = getattr(encoder, "trunk", None)
    if not isinstance(encoder, ViTEncoder) or not isinstance(trunk, VisionTransformer):
        if isinstance(trunk, VJEPA2):
            yield "VJEPA2Model comes with a predictor, which is not kept"
            return
        network = trunk if trunk is not None else getattr(encoder, "backbone", encoder)
        yield f"a {type(network).__name__} is no vision transformer of VideoMAE's kind"
        return
    if trunk.positions.kind != "index":
        yield f"its positions are '{trunk.positions.kind}', VideoMAE's are sines and cosines of the patch's number"
    if trunk.class_token:
        yield "it has a class token"
    attention = _block(trunk).attn
    if attention.bias == "all" or not attention.fused:
        yield "its keys have a bias" if attention.bias == "all" else "its projections are not joined"
    if hasattr(_block(trunk).scale1, "gamma"):
        yield "its branches have factors (layer scale)"
    if encoder.pool != "mean":
        yield f"pool={encoder.pool}, where VideoMAEModel yields tokens after the last LayerNorm"
    if (encoder.input.frames, *encoder.input.size) != trunk.size:
        yield f"it is fed {(encoder.input.frames, *encoder.input.size)}, with positions made for {trunk.size}"
    if encoder.input.channels != "rgb":
        yield f"channels={encoder.input.channels}: processors of transformers hand over red first"
    if trunk.size[1] != trunk.size[2] or trunk.patch[1] != trunk.patch[2]:
        yield "its clips or patches are not square"


def _decoder(method: Method, trunk: VisionTransformer) -> TokenDecoder | None:
    """The decoder that was trained with this encoder, where VideoMAEForPreTraining can hold it."""
    pairs = (part for part in method.modules() if isinstance(part, MaskedAutoencoder))
    decoder = next((pair.decoder for pair in pairs if pair.trunk is trunk), None)
    if not isinstance(decoder, TokenDecoder):
        return None
    fits = decoder.positions.kind == "index" and decoder.class_token == "none" and decoder.project.bias is None
    return decoder if fits and _block(decoder).attn.bias == _block(trunk).attn.bias else None


def _block(network: VisionTransformer | TokenDecoder) -> Block:
    first = network.blocks[0]
    assert isinstance(first, Block)
    return first


def _config(trunk: VisionTransformer) -> dict[str, Any]:
    return {
        "model_type": "videomae",
        "image_size": trunk.size[1],
        "patch_size": trunk.patch[1],
        "num_channels": 3,
        "num_frames": trunk.size[0],
        "tubelet_size": trunk.patch[0],
        "hidden_size": trunk.feature_dim,
        "num_hidden_layers": len(trunk.blocks),
        "num_attention_heads": trunk.heads,
        "intermediate_size": _block(trunk).mlp.fc1.out_features,
        "hidden_act": "gelu",
        "layer_norm_eps": trunk.norm.eps,
        "qv_bias": _block(trunk).attn.bias == "qv",
        # With the mean as pool a VideoMAEModel has no LayerNorm at its end.
        "use_mean_pooling": False,
    }


def _decoder_config(decoder: TokenDecoder) -> dict[str, Any]:
    return {
        "decoder_hidden_size": decoder.project.out_features,
        "decoder_num_hidden_layers": len(decoder.blocks),
        "decoder_num_attention_heads": _block(decoder).attn.heads,
        "decoder_intermediate_size": _block(decoder).mlp.fc1.out_features,
    }


def _processor(input: EncoderInput) -> dict[str, Any]:
    """Whole frames scaled, the middle cut out, normalised: what kinema's encoder is shown at its centre view."""
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"height": input.resize[0], "width": input.resize[1]},
        "resample": 2,
        "do_center_crop": True,
        "crop_size": {"height": input.size[0], "width": input.size[1]},
        "do_rescale": True,
        "rescale_factor": input.scale / 255,
        "do_normalize": True,
        "image_mean": list(input.mean),
        "image_std": list(input.std),
    }
