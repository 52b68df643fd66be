"""The protocols: features of training and test videos in, scores of the test videos out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from kinema.errors import RecipeError, suggest
from kinema.evaluation import logistic
from kinema.evaluation.linear_sgd import SGD_PRESETS, SGDPreset, fit_linear_sgd
from kinema.metrics import Neighbours, cosine_match_ranks, nearest_neighbours, neighbour_votes, softmax

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
KNN_K = 20
OTHER_K = (1, 5, 10, 100, 200)
HIT_K = (1, 5, 10, 20, 50)


class Part(NamedTuple):
    """Videos of one side of a fold: features [N, views, D], labels int64 [N], groups [N]."""

    features: npt.NDArray[np.float32]
    labels: IntArray
    groups: tuple[str, ...]

    @property
    def averaged(self) -> npt.NDArray[np.float32]:
        """[N, D], the mean over views."""
        return np.asarray(self.features.mean(1))


class Task(NamedTuple):
    """One fold: `validation` may be empty; `seed` keys what is drawn; similarities are computed on `device`."""

    train: Part
    test: Part
    validation: Part
    classes: int
    seed: int
    device: str = "cpu"


class Scores(NamedTuple):
    """What a protocol says of the test videos.

    Attributes:
        video: by metric family ("" is the headline): scores [N, classes] of a classifier, or int64 ranks [N].
        clip: the same for single views, [N, views, classes] or [N, views].
        card: what was chosen in this fold.
    """

    video: dict[str, npt.NDArray[np.generic]]
    clip: dict[str, npt.NDArray[np.generic]]
    card: dict[str, Any]


@dataclass(frozen=True)
class Protocol:
    """A named way of judging features.

    Attributes:
        name: as in result rows.
        run: from a fold to scores.
        retrieves: scores are ranks, metrics R@k; else class scores and top-k.
        card: facts that hold for every fold.
        tap: stage output to judge instead of the pooled feature; "map" is the last one.
        every_view: the tap is needed of every view, not only their mean.
    """

    name: str
    run: Callable[[Task], Scores]
    retrieves: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    tap: str | None = None
    every_view: bool = False


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


def run_logistic(task: Task) -> Scores:
    """Logistic regression on averaged features; the same classifier judges single clips."""
    train = task.train
    if len(task.validation.labels):
        held = (task.validation.averaged, task.validation.labels)
        choice = logistic.compare_strengths((train.averaged, train.labels), held, classes=task.classes)
    else:
        choice = logistic.choose_strength(
            train.averaged, train.labels, train.groups, classes=task.classes, seed=task.seed
        )
    model = logistic.fit_logistic(train.averaged, train.labels, [choice.C], classes=task.classes)[0]
    video, clip = model.probabilities(task.test.averaged), model.probabilities(task.test.features)
    return Scores({"": video}, {"": clip}, {"C": choice.C, "held out": choice.held_out})


def run_sgd(task: Task, *, preset: SGDPreset) -> Scores:
    """A linear layer trained on every view; the softmax of the views is averaged."""
    head = fit_linear_sgd(task.train.features, task.train.labels, preset, classes=task.classes, seed=task.seed)
    with torch.no_grad():
        logits = head(torch.tensor(task.test.features).flatten(0, 1)).view(*task.test.features.shape[:2], -1)
    clip = softmax(logits.numpy())
    # A published rate can be too high for some features; what broke down is counted as wrong, and said.
    return Scores({"": clip.mean(1)}, {"": clip}, {"diverged": not np.isfinite(clip).all().item()})


def run_retrieval(task: Task, *, centred: bool = False, levels: tuple[str, ...] = ("video", "clip")) -> Scores:
    """Ranks of the first partner by cosine similarity.

    Video: averaged features against averaged features. Clip: each test clip against every training clip. `centred`
    subtracts from each side its own mean, which looks at the test set as a whole.
    """
    train, test = task.train, task.test
    views = test.features.shape[1]
    gallery, queries = train.features, test.features
    if centred:
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
_FOUND = (
    Protocol("knn", run_knn, card={"temperature": 0.07, "aggregation": "mean over views", "normalisation": "L2"}),
    Protocol(
        "linear",
        run_logistic,
        card={
            "preset": "logreg",
            "aggregation": "mean over views",
            "normalisation": "standardised by training statistics",
            "C grid": list(logistic.GRID),
            "C chosen by": "log loss on split val, or on held-out tenths of the training set in whole groups",
        },
    ),
    *(
        Protocol(
            f"linear-sgd:{name}",
            partial(run_sgd, preset=preset),
            card={"preset": name, "aggregation": "mean_softmax", "normalisation": preset.normalisation},
        )
        for name, preset in SGD_PRESETS.items()
    ),
    Protocol("retrieval:benchmark", run_retrieval, True, _POOLED),
    Protocol("retrieval:rspnet", run_retrieval, True, _POOLED),
    Protocol("retrieval:coclr", partial(run_retrieval, centred=True), True, _POOLED | _CENTRED),
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
PROTOCOLS = {found.name: found for found in _FOUND}
_SHORT = {"linear-sgd": "linear-sgd:coclr_features", "retrieval": "retrieval:benchmark"}


def protocol(name: str) -> Protocol:
    """The protocol called `name`; "linear-sgd" and "retrieval" are short for their first preset.

    Raises:
        RecipeError: there is none.
    """
    full = _SHORT.get(name, name)
    if full not in PROTOCOLS:
        raise RecipeError(f"there is no protocol called '{name}'.{suggest(name, [*PROTOCOLS, *_SHORT])}")
    return PROTOCOLS[full]
