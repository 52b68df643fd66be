"""Nearest neighbours: votes for a class (DINO)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kinema.evaluation.tasks import Protocol, Scores, Task
from kinema.metrics import Neighbours, nearest_neighbours, neighbour_votes

KNN_K = 20
OTHER_K = (1, 5, 10, 100, 200)


def run_knn(task: Task) -> Scores:
    """DINO's rule; training videos are averaged over views, test clips are judged singly and averaged."""
    gallery = torch.from_numpy(task.train.averaged).to(task.device)
    views = task.test.features
    sizes = {"": min(KNN_K, len(gallery))} | {f"k={k}": k for k in OTHER_K if k <= len(gallery)}

    def votes(queries: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.generic]]:
        near = nearest_neighbours(queries, gallery, max(sizes.values()))
        kept = {name: Neighbours(near.similarity[:, :k], near.position[:, :k]) for name, k in sizes.items()}
        return {n: neighbour_votes(found, task.train.labels, classes=task.classes) for n, found in kept.items()}

    single = votes(views.reshape(-1, views.shape[2]))
    clip = {name: scores.reshape(*views.shape[:2], -1) for name, scores in single.items()}
    return Scores(votes(task.test.averaged), clip, {"k": sizes[""]})


KNN = (Protocol("knn", run_knn, card={"temperature": 0.07, "aggregation": "mean over views", "normalisation": "L2"}),)
