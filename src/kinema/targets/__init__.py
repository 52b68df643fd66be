"""Labels computed from the signal itself."""

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
    "appearance_labels",
    "class_counts",
    "curriculum_order",
    "curriculum_score",
    "motion_boundaries",
    "motion_labels",
    "partition",
    "to_2d",
]
