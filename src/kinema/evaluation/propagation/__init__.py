"""Label propagation: the labels of a first frame carried on by the likeness of features, and judged."""

from kinema.evaluation.propagation.carrying import Carrier, Rule
from kinema.evaluation.propagation.features import FrameFeatures, PixelFeatures
from kinema.evaluation.propagation.masks import carry_masks
from kinema.evaluation.propagation.presets import PRESETS, Propagation, PropagationPreset, propagation

__all__ = [
    "PRESETS",
    "Carrier",
    "FrameFeatures",
    "PixelFeatures",
    "Propagation",
    "PropagationPreset",
    "Rule",
    "carry_masks",
    "propagation",
]
