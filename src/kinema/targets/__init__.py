"""Labels computed from the signal itself."""

from kinema.targets.masking import (
    Masking,
    centre_masking,
    frame_masking,
    keep_smallest,
    neighbour_similarity,
    padded_masking,
    random_masking,
    temporal_masking,
    tube_count,
    tube_masking,
    visible_count,
)
from kinema.targets.order import permutation_rank
from kinema.targets.patches import standardise, unstandardise
from kinema.targets.playback import SlowMotion, gauss_mask, pooled_mask, slow_motion_target, window_differences
from kinema.targets.rotation import all_turns, turn, turn_each
from kinema.targets.statistics import (
    LabelGroups,
    MotionLabels,
    appearance_labels,
    class_counts,
    curriculum_order,
    curriculum_score,
    motion_boundaries,
    motion_labels,
    partition,
    to_2d,
)

__all__ = [
    "LabelGroups",
    "Masking",
    "MotionLabels",
    "SlowMotion",
    "all_turns",
    "appearance_labels",
    "centre_masking",
    "class_counts",
    "curriculum_order",
    "curriculum_score",
    "frame_masking",
    "gauss_mask",
    "keep_smallest",
    "motion_boundaries",
    "motion_labels",
    "neighbour_similarity",
    "padded_masking",
    "partition",
    "permutation_rank",
    "pooled_mask",
    "random_masking",
    "slow_motion_target",
    "standardise",
    "temporal_masking",
    "to_2d",
    "tube_count",
    "tube_masking",
    "turn",
    "turn_each",
    "unstandardise",
    "visible_count",
    "window_differences",
]
