"""How much of their space a set of features uses: two numbers that fall when a representation collapses."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from kinema.metrics.retrieval import Matrix, as_tensor


def feature_std(features: Matrix) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised features [N, D] (Chen and He, 2021, section 4.1).

    0 when all features point the same way; 1 / sqrt(D) when they fill the sphere evenly.
    """
    return float(normalize(as_tensor(features), dim=1).std(0, correction=0).mean())


def effective_rank(features: Matrix) -> float:
    """exp(H(p)), p the singular values of the features [N, D] divided by their sum (Roy and Vetterli, 2007).

    From 1 (all features on one line through the origin) to min(N, D). Not centred, as in RankMe (Garrido et al., 2023),
    so that a constant vector plus noise counts as collapsed. 0 when all features are zero.
    """
    values = torch.linalg.svdvals(as_tensor(features).double())
    share = values[values > 0] / values.sum()
    return float((-(share * share.log()).sum()).exp()) if len(share) else 0.0
