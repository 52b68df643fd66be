"""Pure numbers: votes, accuracy, retrieval, spread of a representation, and what a difference is worth.

Arrays or tensors in, numbers or NumPy arrays out; no files, no models. Accuracies are in percent.
"""

from kinema.metrics.classification import (
    confusion_matrix,
    knn_scores,
    mean_logits,
    mean_softmax,
    neighbour_votes,
    ranks_of,
    roc_auc,
    softmax,
    topk_accuracy,
)
from kinema.metrics.keypoints import joint_errors, joint_maps, pck, read_joints
from kinema.metrics.representation import effective_rank, feature_std
from kinema.metrics.retrieval import Neighbours, cosine_match_ranks, hit_at_k, match_ranks, nearest_neighbours
from kinema.metrics.segmentation import (
    agreement,
    boundary_accuracy,
    boundary_map,
    class_confusion,
    course,
    frame_agreement,
    mean_iou,
    region_similarity,
)
from kinema.metrics.similarity import pair_features, pair_measures
from kinema.metrics.statistics import Interval, holm, paired_bootstrap, sign_flip_test, wilson_interval

__all__ = [
    "Interval",
    "Neighbours",
    "agreement",
    "boundary_accuracy",
    "boundary_map",
    "class_confusion",
    "confusion_matrix",
    "cosine_match_ranks",
    "course",
    "effective_rank",
    "feature_std",
    "frame_agreement",
    "hit_at_k",
    "holm",
    "joint_errors",
    "joint_maps",
    "knn_scores",
    "match_ranks",
    "mean_iou",
    "mean_logits",
    "mean_softmax",
    "nearest_neighbours",
    "neighbour_votes",
    "pair_features",
    "pair_measures",
    "paired_bootstrap",
    "pck",
    "ranks_of",
    "read_joints",
    "region_similarity",
    "roc_auc",
    "sign_flip_test",
    "softmax",
    "topk_accuracy",
    "wilson_interval",
]
