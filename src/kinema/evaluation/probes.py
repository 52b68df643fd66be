"""Linear probes on stored features: logistic regression, and layers trained by gradient steps."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from kinema.evaluation import logistic
from kinema.evaluation.linear_sgd import SGD_PRESETS, SGDPreset, fit_linear_sgd
from kinema.evaluation.tasks import Protocol, Scores, Task
from kinema.metrics import softmax


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


LINEAR = (
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
)
