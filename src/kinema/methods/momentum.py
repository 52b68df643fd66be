"""Momentum contrast (He et al., CVPR 2020): what methods share that compare queries with keys of a slower network."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kinema.methods.base import Method
from kinema.methods.encoders import ConvEncoder
from kinema.modules.ema import EMA
from kinema.modules.encoder import Products
from kinema.modules.queue import FeatureQueue
from kinema.modules.shuffle import shuffled


class EmbeddingNetwork(nn.Module):
    """An encoder and its projection heads, which all see the last map."""

    def __init__(self, encoder: ConvEncoder, heads: list[nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised clips [B, 3, T, H, W] to embeddings [B, heads, D]."""
        features = self.encoder(x)
        return torch.stack([head(features.map) for head in self.heads], 1)


class MomentumContrast(Method):
    """Base of methods with a query network, its moving average for the keys, and a queue of keys.

    The key network has BatchNorm statistics of its own, from its own forward passes. Keys that `losses` hands to
    `remember` enter the queue after the step, those of all processes in every process. In eval mode (validation)
    nothing is shuffled or remembered.

    Attributes:
        keys_first: the key network moves before the losses of a step (True) or after the optimiser's step.
    """

    keys_first: ClassVar[bool] = True

    def __init__(
        self,
        network: EmbeddingNetwork,
        queue: FeatureQueue,
        *,
        momentum: float,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.input = network.encoder.input
        self.keys = EMA(network, momentum, buffers="own")
        self.queue = queue
        self.groups = groups
        self._step = 0
        self._fresh: list[Tensor] = []

    def before_step(self, step: int) -> None:
        """The key network moves, where it moves first."""
        self._step = step
        self._fresh.clear()
        if self.keys_first:
            self.keys.update(self.network, step)

    def after_step(self, step: int) -> None:
        """New keys enter the queue, and the key network moves, where it moves last."""
        if self._fresh:
            self.queue.push(torch.cat(self._fresh))
            self._fresh.clear()
        if not self.keys_first:
            self.keys.update(self.network, step)

    @torch.no_grad()
    def encode_keys(self, clips: Tensor, *, turn: int = 0) -> Tensor:
        """Embeddings [B, heads, D] by the key network, in shuffled company while training; without gradients.

        Args:
            clips: normalised [B, 3, T, H, W].
            turn: number of this call within the step, from 0 to 7; each has a permutation of its own.
        """
        if not self.training:
            found: Tensor = self.keys(clips)
            return found
        return shuffled(self.keys, clips, step=8 * self._step + turn, groups=self.groups)

    def remember(self, keys: Tensor) -> None:
        """Let keys [B, D] enter the queue after this step."""
        if self.training:
            self._fresh.append(keys.detach())

    def products(self) -> Products:
        """The video encoder of the queries; the heads are left behind."""
        return Products({"video": self.network.encoder})


HeadKind = Literal["linear", "mlp", "conv", "convbn"]
