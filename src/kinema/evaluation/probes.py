"""Linear probes on stored features: logistic regression, and layers trained by gradient steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kinema.evaluation import logistic
from kinema.evaluation.aggregation import joined_views
from kinema.evaluation.linear_sgd import LINEAR_PRESETS, NORMS, Heads, LinearPreset, Setting, fit_heads
from kinema.evaluation.rows import plain
from kinema.evaluation.tasks import Part, Protocol, Scores, Task
from kinema.metrics import softmax

Features = npt.NDArray[np.float32]


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


def run_linear(task: Task, *, preset: LinearPreset) -> Scores:
    """A linear layer trained on every view; the softmax of the views is averaged.

    Where the preset's grid has several settings, all of them are trained together without a part of the training
    videos, and the one with the least log loss on that part is trained again on all of them.
    """
    grid = preset.settings()
    setting, card = _chosen(task, preset, grid) if len(grid) > 1 else (grid[0], {})
    heads = _fit(task, task.train, preset, [setting])
    logits = _logits(heads, _feature(task.test, setting.tap), task.device)[0]
    card |= {"lr": preset.lr * setting.lr, "weight decay": setting.weight_decay, "tap": setting.tap}
    # A published rate can be too high for some features; what broke down is counted as wrong, and said.
    card |= {"diverged": not np.isfinite(logits).all().item()}
    return joined_views(logits, "mean_softmax", card)


def linear_protocol(name: str, preset: LinearPreset) -> Protocol:
    """The probe as a protocol, "linear:" before its name."""
    card: dict[str, Any] = {"preset": name, "aggregation": "mean_softmax", "normalisation": NORMS[preset.norm]}
    card |= {"probe": plain(preset), "lr scaled": f"per {preset.per} views a step" if preset.per else "no"}
    stages = tuple(f"{tap}.mean" for tap in preset.taps if tap != "pooled")
    return Protocol(
        f"linear:{name}", partial(run_linear, preset=preset), card=card, every_view=bool(stages), taps=stages
    )


def _chosen(task: Task, preset: LinearPreset, grid: list[Setting]) -> tuple[Setting, dict[str, Any]]:
    """The setting with the least log loss on split val, or on held-out tenths; the preset's first where none can be."""
    parts = [(task.train, task.validation)] if len(task.validation.labels) else _held_out(task)
    if not parts:
        return grid[0], {"held out": 0}
    losses = np.zeros(len(grid))
    for train, held in parts:
        for tap in preset.taps:
            chosen = [k for k, setting in enumerate(grid) if setting.tap == tap]
            heads = _fit(task, train, preset, [grid[k] for k in chosen])
            video = softmax(_logits(heads, _feature(held, tap), task.device)).mean(2)
            own = video[:, np.arange(len(held.labels)), held.labels]
            losses[chosen] += -np.log(np.maximum(own, 1e-12)).sum(1)
    counted = sum(len(held.labels) for _, held in parts)
    table = [[*setting, float(loss)] for setting, loss in zip(grid, losses / counted, strict=True)]
    # Divergence is no number, which argmin would take for the least.
    best = int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))
    return grid[best], {"held out": counted, "grid (tap, lr factor, decay, held-out log loss)": table}


def _held_out(task: Task) -> list[tuple[Part, Part]]:
    parts = logistic.hold_outs(task.train.labels, task.train.groups, seed=task.seed)
    return [(task.train.keep(~held), task.train.keep(held)) for held in parts]


def _fit(task: Task, part: Part, preset: LinearPreset, grid: list[Setting]) -> Heads:
    features = _feature(part, grid[0].tap)
    labels, options = part.labels, {"classes": task.classes, "seed": task.seed, "device": task.device}
    return fit_heads(features, labels, preset, grid=grid, **options)  # type: ignore[arg-type]


def _feature(part: Part, tap: str) -> Features:
    return part.features if tap == "pooled" else part.taps[f"{tap}.mean"]


def _logits(heads: Heads, features: Features, device: str) -> npt.NDArray[np.float32]:
    """[N, views, D] to [P, N, views, classes]."""
    with torch.no_grad():
        logits = heads.logits(torch.from_numpy(np.ascontiguousarray(features)).flatten(0, 1).to(device)).cpu()
    return np.asarray(logits.view(len(logits), *features.shape[:2], -1).numpy())


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
    *(linear_protocol(name, preset) for name, preset in LINEAR_PRESETS.items()),
)
