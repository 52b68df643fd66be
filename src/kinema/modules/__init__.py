"""Parts that methods share: encoders, heads, momentum copies, and what crosses processes."""

from kinema.modules.ema import EMA, cosine_momentum
from kinema.modules.encoder import Encoder, EncoderInput, Features, Products
from kinema.modules.gather import all_gather
from kinema.modules.heads import C3DLightHead
from kinema.modules.sync_bn import SyncBatchNorm, convert_sync_batchnorm

__all__ = [
    "EMA",
    "C3DLightHead",
    "Encoder",
    "EncoderInput",
    "Features",
    "Products",
    "SyncBatchNorm",
    "all_gather",
    "convert_sync_batchnorm",
    "cosine_momentum",
]
