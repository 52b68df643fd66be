"""Parts that methods share: encoders, heads, momentum copies, and what crosses processes."""

from kinema.modules.decoders import DoublingDecoder
from kinema.modules.ema import EMA, cosine_momentum
from kinema.modules.encoder import Encoder, EncoderInput, Features, Products
from kinema.modules.gather import Joined, all_gather, gather_rows
from kinema.modules.heads import C3DLightHead, ConvProjectionHead, ProjectionHead
from kinema.modules.order import PairwiseOrderHead, RecurrentOrderHead
from kinema.modules.queue import FeatureQueue, whole_batches
from kinema.modules.shuffle import shuffled
from kinema.modules.sync_bn import SyncBatchNorm, convert_sync_batchnorm

__all__ = [
    "EMA",
    "C3DLightHead",
    "ConvProjectionHead",
    "DoublingDecoder",
    "Encoder",
    "EncoderInput",
    "FeatureQueue",
    "Features",
    "Joined",
    "PairwiseOrderHead",
    "Products",
    "ProjectionHead",
    "RecurrentOrderHead",
    "SyncBatchNorm",
    "all_gather",
    "convert_sync_batchnorm",
    "cosine_momentum",
    "gather_rows",
    "shuffled",
    "whole_batches",
]
