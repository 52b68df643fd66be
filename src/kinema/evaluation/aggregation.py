"""How the views of a video become one answer: the mean of logits (VCOP, PRP), or of softmax (VideoMAE, CoCLR)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.evaluation.tasks import Scores
from kinema.metrics import mean_logits, mean_softmax, softmax

AGGREGATIONS = {"mean_logits": mean_logits, "mean_softmax": mean_softmax}


def joined_views(logits: npt.NDArray[np.floating], how: str, card: dict[str, Any] | None = None) -> Scores:
    """Scores of a classifier's logits [N, views, classes]: headline joined by `how`, the other way beside it.

    The two can name different classes; the metric of the other one is called, for example, "top1 mean_logits". Of a
    single view they are the same.
    """
    joined = {name: join(logits) for name, join in AGGREGATIONS.items() if name == how or logits.shape[1] > 1}
    return Scores({"": joined.pop(how), **joined}, {"": softmax(logits)}, card or {})
