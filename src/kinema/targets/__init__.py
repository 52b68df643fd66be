"""Labels computed from the signal itself."""

from kinema.targets.order import permutation_rank
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
    "MotionLabels",
    "SlowMotion",
    "all_turns",
    "appearance_labels",
    "class_counts",
    "curriculum_order",
    "curriculum_score",
    "gauss_mask",
    "motion_boundaries",
    "motion_labels",
    "partition",
    "permutation_rank",
    "pooled_mask",
    "slow_motion_target",
    "to_2d",
    "turn",
    "turn_each",
    "window_differences",
]
