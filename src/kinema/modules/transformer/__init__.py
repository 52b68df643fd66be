"""Parts of transformers: attention, blocks, patches, positions, and decoders of masked autoencoders."""

from kinema.modules.transformer.attention import Attention, Bias, Rotation
from kinema.modules.transformer.blocks import MLP, Block, DropPath, LayerScale, drop_path_rates, initialise_xavier
from kinema.modules.transformer.cross import CrossBlock, CrossDecoder
from kinema.modules.transformer.decoder import TokenDecoder
from kinema.modules.transformer.patches import (
    Grid,
    PatchEmbedding,
    grid_of,
    patchify,
    take,
    token_grid,
    unpatchify,
)
from kinema.modules.transformer.positions import Positions, index_table, resample, sincos, space_table

__all__ = [
    "MLP",
    "Attention",
    "Bias",
    "Block",
    "CrossBlock",
    "CrossDecoder",
    "DropPath",
    "Grid",
    "LayerScale",
    "PatchEmbedding",
    "Positions",
    "Rotation",
    "TokenDecoder",
    "drop_path_rates",
    "grid_of",
    "index_table",
    "initialise_xavier",
    "patchify",
    "resample",
    "sincos",
    "space_table",
    "take",
    "token_grid",
    "unpatchify",
]
