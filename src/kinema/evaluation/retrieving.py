"""Retrieval: the test videos ask the training videos for one of their class."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from kinema.errors import RecipeError
from kinema.evaluation.tasks import Protocol, Scores, Task
from kinema.metrics import cosine_match_ranks

HIT_K = (1, 5, 10, 20, 50)


def run_retrieval(task: Task, *, centred: bool = False, levels: tuple[str, ...] = ("video", "clip")) -> Scores:
    """Ranks of the first partner by cosine similarity.

    Video: averaged features against averaged features. Clip: each test clip against every training clip. `centred`
    subtracts from each side its own mean, which looks at the test set as a whole.

    Raises:
        RecipeError: `centred`, and a fold tests one video.
    """
    train, test = task.train, task.test
    views = test.features.shape[1]
    gallery, queries = train.features, test.features
    if centred:
        if len(test.labels) < 2:
            raise RecipeError("retrieval:coclr subtracts the mean of the test videos: a single one is nothing then")
        gallery, queries = gallery - gallery.mean((0, 1)), queries - queries.mean((0, 1))
    video: dict[str, npt.NDArray[np.generic]] = {}
    clip: dict[str, npt.NDArray[np.generic]] = {}
    if "video" in levels:
        known = torch.from_numpy(gallery.mean(1)).to(task.device)
        video[""] = cosine_match_ranks(queries.mean(1), known, test.labels, train.labels)
    if "clip" in levels:
        labels = test.labels.repeat(views), train.labels.repeat(gallery.shape[1])
        known = torch.from_numpy(gallery.reshape(-1, gallery.shape[2])).to(task.device)
        ranks = cosine_match_ranks(queries.reshape(-1, queries.shape[2]), known, *labels)
        clip[""] = ranks.reshape(-1, views)
    return Scores(video, clip, {"gallery": len(train.labels)})


_COSINE = {"distance": "cosine", "gallery and queries": "train and test"}
_POOLED = _COSINE | {"feature": "pooled", "aggregation": "mean over views"}
_MAP = _COSINE | {"feature": "last map, max pool (1, 2, 2), flattened"}
_CENTRED = {"centring": "each side minus its own mean, which uses statistics of the test set"}
RETRIEVAL = (
    Protocol("retrieval:benchmark", run_retrieval, True, _POOLED),
    Protocol("retrieval:rspnet", run_retrieval, True, _POOLED),
    Protocol("retrieval:coclr", partial(run_retrieval, centred=True), True, _POOLED | _CENTRED, views="coclr"),
    Protocol(
        "retrieval:vcop",
        partial(run_retrieval, levels=("video",)),
        True,
        _MAP | {"aggregation": "mean over views"},
        "map",
    ),
    Protocol(
        "retrieval:vcop_clip",
        partial(run_retrieval, levels=("clip",)),
        True,
        _MAP | {"aggregation": "none"},
        "map",
        True,
    ),
)
