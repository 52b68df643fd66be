"""Spatio-temporal statistics of a clip as labels (MAS, CVPR 2019; STS, TPAMI 2021), batched and exact."""

from kinema.targets.statistics.appearance import appearance_labels, colour_stability
from kinema.targets.statistics.colours import COLOURS
from kinema.targets.statistics.curriculum import curriculum_order, curriculum_score
from kinema.targets.statistics.encode import (
    APPEARANCE_2D_SOURCE,
    APPEARANCE_NAMES,
    MOTION_2D_SOURCE,
    MOTION_NAMES,
    ClassCounts,
    Columns,
    Encoded,
    LabelGroups,
    class_counts,
    to_2d,
)
from kinema.targets.statistics.motion import (
    Boundaries,
    MotionLabels,
    MotionStatistics,
    motion_boundaries,
    motion_labels,
    motion_statistics,
    summed_boundaries,
)
from kinema.targets.statistics.patterns import PATTERNS, REGIONS, partition

__all__ = [
    "APPEARANCE_2D_SOURCE",
    "APPEARANCE_NAMES",
    "COLOURS",
    "MOTION_2D_SOURCE",
    "MOTION_NAMES",
    "PATTERNS",
    "REGIONS",
    "Boundaries",
    "ClassCounts",
    "Columns",
    "Encoded",
    "LabelGroups",
    "MotionLabels",
    "MotionStatistics",
    "appearance_labels",
    "class_counts",
    "colour_stability",
    "curriculum_order",
    "curriculum_score",
    "motion_boundaries",
    "motion_labels",
    "motion_statistics",
    "partition",
    "summed_boundaries",
    "to_2d",
]
