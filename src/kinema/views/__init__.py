"""Views: what a clip is turned into before a network sees it, on numbers that were drawn before.

Everything comes in two parts: a draw with a keyed NumPy generator in `plan`, and its application to whole batches in
`prepare`, the same on every device. `ClipAugment` is the whole of it; the parts can be used alone.
"""

from kinema.views.augment import ClipAugment, MultiView
from kinema.views.colour import ColourJitter, normalise, to_uint8
from kinema.views.crops import CentreCrop, MultiScaleCrop, RandomCrop, ResizedCrop, WholeFrame, scale_box
from kinema.views.erasing import Erasing
from kinema.views.filters import Blur, Gamma
from kinema.views.geometry import centre_crop, crop_flip, crop_flip_flow, draw_crop, draw_flip
from kinema.views.mixing import Mixing, mix_frame
from kinema.views.pairs import CropPair, FramePair, Pair, draw_frames, draw_gap
from kinema.views.photometric import Photometric
from kinema.views.rand_augment import RandAugment
from kinema.views.resampling import Kernel, resample, resample_boxes, resample_flow, resample_masks

__all__ = [
    "Blur",
    "CentreCrop",
    "ClipAugment",
    "ColourJitter",
    "CropPair",
    "Erasing",
    "FramePair",
    "Gamma",
    "Kernel",
    "Mixing",
    "MultiScaleCrop",
    "MultiView",
    "Pair",
    "Photometric",
    "RandAugment",
    "RandomCrop",
    "ResizedCrop",
    "WholeFrame",
    "centre_crop",
    "crop_flip",
    "crop_flip_flow",
    "draw_crop",
    "draw_flip",
    "draw_frames",
    "draw_gap",
    "mix_frame",
    "normalise",
    "resample",
    "resample_boxes",
    "resample_flow",
    "resample_masks",
    "scale_box",
    "to_uint8",
]
