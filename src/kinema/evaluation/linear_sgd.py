"""Linear probes trained by gradient steps on stored features: many settings at once, from one pass over the data.

The weights of P probes are stacked, [P, classes, D], so that a step of all of them is one product of matrices; each one
moves exactly as it would alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from kinema.evaluation.stacked_optimisers import StackedOptimiser
from kinema.randomness import torch_generator
from kinema.training.recipe import ScheduleConfig
from kinema.training.schedules import lr_factor

_CONSTANT = ScheduleConfig("constant")
Norm = Literal["none", "l2", "l2+batch", "batch"]
NORMS = {
    "none": "none",
    "l2": "L2",
    "l2+batch": "L2, then BatchNorm",
    "batch": "BatchNorm without scale and shift",
}
_EPSILON = 1e-5


@dataclass(frozen=True)
class LinearPreset:
    """A published linear probe on features of a frozen network.

    Attributes:
        optimiser: "sgd" (momentum 0.9), "adam" or "lars" (momentum 0.9, trust 0.001).
        lr: learning rate at `per` views a step; scaled in proportion to the views of a step. None: as written.
        lrs: factors on `lr` that are tried; chosen on held-out training groups where there are several settings.
        weight_decays: tried likewise.
        epochs, schedule, batch: passes over the views, course of the rate, views per step (at most all).
        norm: what happens to features before the linear layer.
        taps: features that are tried: "pooled", or stage outputs ("p4") averaged over the map.
    """

    optimiser: Literal["sgd", "adam", "lars"] = "sgd"
    lr: float = 1.0
    per: int | None = None
    lrs: tuple[float, ...] = (1.0,)
    weight_decays: tuple[float, ...] = (0.0,)
    epochs: int = 100
    schedule: ScheduleConfig = _CONSTANT
    batch: int = 64
    norm: Norm = "none"
    taps: tuple[str, ...] = ("pooled",)

    def settings(self) -> list[Setting]:
        """Every combination of the grid, taps outermost."""
        return [Setting(tap, lr, decay) for tap in self.taps for lr in self.lrs for decay in self.weight_decays]


class Setting(NamedTuple):
    """One point of the grid: the tap, the factor on the preset's learning rate, and the weight decay."""

    tap: str
    lr: float
    weight_decay: float


_COCLR = ScheduleConfig("step", milestones=(60, 80), gamma=0.1)
LINEAR_PRESETS = {
    # CoCLR, eval/main_classifier.py and its README: rate and decay must be tuned for each set; the batch is ours.
    "coclr_features": LinearPreset(
        lrs=(1.0, 0.3, 0.1), weight_decays=(1e-3, 1e-4, 1e-2, 1e-1), schedule=_COCLR, norm="l2+batch"
    ),
    # SEVERE-benchmark, action_recognition.
    "severe": LinearPreset(
        "adam", 0.01, epochs=40, schedule=ScheduleConfig("step", milestones=(10, 20, 30), gamma=0.3)
    ),
    # CVRL, tensorflow/models video_ssl: 32 at 1024 clips, 5 of 100 epochs of warm-up. Small sets need other rates.
    "cvrl": LinearPreset(
        lr=32.0, per=1024, lrs=(1.0, 0.1, 10.0), schedule=ScheduleConfig("cosine", warmup=5), batch=1024, norm="l2"
    ),
    # LV-MAE, supplement.
    "lv_mae": LinearPreset("adam", 1e-4, epochs=30, batch=16),
    # He et al., CVPR 2022, appendix A.1 [unverified]; the batch is ours, and with it the need for higher rates.
    "mae": LinearPreset(
        "lars",
        0.1,
        256,
        (1.0, 10.0, 100.0, 300.0),
        epochs=90,
        schedule=ScheduleConfig("cosine", warmup=10),
        norm="batch",
    ),
}


class Heads(NamedTuple):
    """P linear classifiers over the same normalised features.

    Attributes:
        weight, bias: [P, classes, D] and [P, classes], scale and shift of BatchNorm folded in.
        norm: how features are normalised.
        mean, scale: [D], the running statistics of BatchNorm.
    """

    weight: Tensor
    bias: Tensor
    norm: Norm
    mean: Tensor
    scale: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """[N, D] to [P, N, classes]."""
        if self.norm.startswith("l2"):
            features = normalize(features, dim=1)
        return torch.einsum("nd,pcd->pnc", (features - self.mean) / self.scale, self.weight) + self.bias[:, None]


def fit_heads(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    preset: LinearPreset,
    *,
    grid: Sequence[Setting],
    classes: int,
    seed: int,
    device: str = "cpu",
) -> Heads:
    """Train one head for each setting of `grid` on every view of every video.

    All heads begin with the same weights, N(0, 0.01^2), and see the same views in the same order.

    Args:
        features: [N, views, D].
        labels: [N].
        preset: optimiser, schedule and normalisation.
        grid: settings that share these features.
        classes: number of classes.
        seed: key of initial weights and order.
        device: where the heads are trained.
    """
    views = torch.from_numpy(np.ascontiguousarray(features)).flatten(0, 1).to(device)
    targets = torch.from_numpy(labels).repeat_interleave(features.shape[1]).to(device)
    if preset.norm.startswith("l2"):
        views = normalize(views, dim=1)
    stack = _Stack(views.shape[1], len(grid), classes, preset.norm, torch_generator("linear", seed))
    stack.to(device)
    batch = min(preset.batch, len(views))
    rate = preset.lr * (batch / preset.per if preset.per else 1.0)
    rates = torch.tensor([rate * setting.lr for setting in grid], device=device)
    decays = torch.tensor([setting.weight_decay for setting in grid], device=device)
    optimiser = StackedOptimiser(preset.optimiser, stack.parameters, rates, decays)
    # A rest of one view is left out: BatchNorm has no statistics of it.
    per_epoch = max(1, len(views) // batch + (len(views) % batch > 1))
    for step, chosen in enumerate(_orders(len(views), batch, preset.epochs, torch_generator("order", seed))):
        factor = lr_factor(preset.schedule, step, per_epoch, per_epoch * preset.epochs)
        optimiser.step(stack.gradients(views[chosen.to(device)], targets[chosen.to(device)]), factor)
    return stack.heads()


class _Stack:
    """The parameters of P heads while they are trained, and the shared statistics of BatchNorm."""

    def __init__(self, dim: int, count: int, classes: int, norm: Norm, generator: torch.Generator) -> None:
        first = torch.empty(classes, dim).normal_(std=0.01, generator=generator)
        self.parameters = [first.repeat(count, 1, 1), torch.zeros(count, classes)]
        if norm == "l2+batch":
            self.parameters += [torch.ones(count, dim), torch.zeros(count, dim)]
        self.norm, self.has_batch = norm, norm.endswith("batch")
        self.mean, self.variance = torch.zeros(dim), torch.ones(dim)

    def to(self, device: str) -> None:
        self.parameters = [value.to(device).requires_grad_() for value in self.parameters]
        self.mean, self.variance = self.mean.to(device), self.variance.to(device)

    def gradients(self, views: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Of the mean cross-entropy of every head; the sum over heads keeps them apart."""
        if self.has_batch:
            views = self._normalised(views)
        weight, bias = self._folded()
        logits = torch.einsum("nd,pcd->pnc", views, weight) + bias[:, None]
        count = len(logits)
        loss = cross_entropy(logits.flatten(0, 1), targets.repeat(count), reduction="sum") / len(targets)
        return torch.autograd.grad(loss, self.parameters)

    def heads(self) -> Heads:
        with torch.no_grad():
            weight, bias = self._folded()
            scale = (self.variance + _EPSILON).sqrt() if self.has_batch else torch.ones_like(self.variance)
        return Heads(weight.detach(), bias.detach(), self.norm, self.mean, scale)

    def _folded(self) -> tuple[Tensor, Tensor]:
        weight, bias, *affine = self.parameters
        if not affine:
            return weight, bias
        return weight * affine[0][:, None], bias + torch.einsum("pcd,pd->pc", weight, affine[1])

    def _normalised(self, views: Tensor) -> Tensor:
        """With the statistics of the batch; the running ones follow at the usual tenth."""
        variance, mean = torch.var_mean(views, 0, unbiased=False)
        self.mean = torch.lerp(self.mean, mean, 0.1)
        self.variance = torch.lerp(self.variance, variance * (len(views) / max(1, len(views) - 1)), 0.1)
        return (views - mean) / (variance + _EPSILON).sqrt()


def _orders(count: int, batch: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Views of every step."""
    for _ in range(epochs):
        for chosen in torch.randperm(count, generator=generator).split(batch):  # type: ignore[no-untyped-call]
            if len(chosen) > 1 or batch == 1:
                yield chosen
