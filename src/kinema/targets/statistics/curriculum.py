"""Motion-aware curriculum: clips whose motion is concentrated in one place come first (STS section 3.4)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.targets.statistics.motion import regional_sums, summed_boundaries
from kinema.targets.statistics.patterns import REGIONS


@torch.no_grad()
def curriculum_score(flow: Tensor) -> Tensor:
    """How easy the motion labels of a clip are (Eq. 6), with the blocks of pattern 1:

    s = max over w in {u, v} of (sum of |M_w| in its strongest block) / (sum of |M_w| over the clip).

    Args:
        flow: float [B, 2, F, S, S] in pixels per frame, S a multiple of 8.

    Returns:
        float32 [B] in [1/16, 1]; 0 for a clip without motion (the hardest).
    """
    blocks = regional_sums(summed_boundaries(flow))[:, :, : REGIONS[0]].sum(3)
    total = blocks.sum(2)
    share = blocks.amax(2) / torch.where(total > 0, total, 1.0)
    return share.amax(1).float()


def curriculum_order(scores: npt.NDArray[np.floating], stage: int) -> npt.NDArray[np.int64]:
    """Sample numbers of a stage of single-step pacing (Eq. 7), easiest first; equal scores keep their order.

    Args:
        scores: [N] of `curriculum_score`, computed once on a fixed crop.
        stage: 1 for the easy half (rounded up), 2 for all samples.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").astype(np.int64)
    return order[: (len(order) + 1) // 2] if stage == 1 else order
