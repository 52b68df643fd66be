"""Linear probes trained by gradient steps on stored features: the published presets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from kinema.randomness import torch_generator


@dataclass(frozen=True)
class SGDPreset:
    """A published linear probe.

    Attributes:
        optimiser: "sgd" (momentum 0.9) or "adam".
        lr, weight_decay: of the optimiser.
        epochs, milestones, gamma: the rate is multiplied by gamma at each milestone.
        batch: views per step.
        normalise: L2-normalise, then BatchNorm, before the linear layer.
    """

    optimiser: str
    lr: float
    weight_decay: float
    epochs: int
    milestones: tuple[int, ...]
    gamma: float
    batch: int = 64
    normalise: bool = False

    @property
    def normalisation(self) -> str:
        """For cards."""
        return "L2, then BatchNorm" if self.normalise else "none"


SGD_PRESETS = {
    # CoCLR, eval/main_classifier.py; the batch is ours.
    "coclr_features": SGDPreset("sgd", 1.0, 1e-3, 100, (60, 80), 0.1, normalise=True),
    # SEVERE-benchmark, action_recognition.
    "severe": SGDPreset("adam", 0.01, 0.0, 40, (10, 20, 30), 0.3),
}


class LinearHead(nn.Module):
    """Optional L2 normalisation and BatchNorm, then one linear layer; weights from N(0, 0.01^2), biases 0."""

    def __init__(self, dim: int, classes: int, *, normalise: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.normalise = normalise
        self.norm = nn.BatchNorm1d(dim) if normalise else nn.Identity()
        self.linear = nn.utils.skip_init(nn.Linear, dim, classes)  # type: ignore[no-untyped-call]
        nn.init.normal_(self.linear.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[N, D] to logits [N, classes]."""
        return self.linear(self.norm(normalize(features, dim=1) if self.normalise else features))  # type: ignore[no-any-return]


def fit_linear_sgd(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], preset: SGDPreset, *, classes: int, seed: int
) -> LinearHead:
    """Train a head on every view of every video.

    Args:
        features: [N, views, D].
        labels: [N].
        preset: optimiser and schedule.
        classes: number of classes.
        seed: key of initial weights and order.
    """
    generator = torch_generator("linear-sgd", seed)
    samples = torch.tensor(features).flatten(0, 1)
    targets = torch.tensor(labels).repeat_interleave(features.shape[1])
    head = LinearHead(samples.shape[1], classes, normalise=preset.normalise, generator=generator)
    if preset.optimiser == "sgd":
        optimiser: torch.optim.Optimizer = torch.optim.SGD(
            head.parameters(), preset.lr, momentum=0.9, weight_decay=preset.weight_decay
        )
    else:
        optimiser = torch.optim.Adam(head.parameters(), preset.lr, weight_decay=preset.weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(preset.milestones), preset.gamma)
    for _ in range(preset.epochs):
        for chosen in torch.randperm(len(samples), generator=generator).split(preset.batch):  # type: ignore[no-untyped-call]
            # BatchNorm has no statistics of a single sample.
            if len(chosen) > 1 or not preset.normalise:
                optimiser.zero_grad()
                cross_entropy(head(samples[chosen]), targets[chosen]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        schedule.step()
    return head.eval()
