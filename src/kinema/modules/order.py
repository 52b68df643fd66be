"""Heads that tell in which order the clips of a tuple stand (VCOP, CVPR 2019)."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn


class PairwiseOrderHead(nn.Module):
    """h_ij = ReLU(W7 [f_i; f_j] + b7) for all pairs i < j, the same layer for all; their concatenation to N! logits.

    With 512 features and N = 3: fc7 524,800 parameters, fc8 9,222.

    Args:
        feature_dim: width of a clip's vector, and of h_ij.
        clips: N.
        dropout: between concatenation and fc8.
        init: first weights: "torch"'s own (official code), or "ctp": fc7 by He et al.'s rule, fc8 N(0, 0.001), and
            biases 0.
    """

    def __init__(
        self, feature_dim: int, clips: int, *, dropout: float = 0.5, init: Literal["torch", "ctp"] = "torch"
    ) -> None:
        super().__init__()
        self.pairs = tuple(combinations(range(clips), 2))
        self.fc7 = nn.Linear(2 * feature_dim, feature_dim)
        self.fc8 = nn.Linear(feature_dim * len(self.pairs), math.factorial(clips))
        self.dropout = nn.Dropout(dropout)
        if init == "ctp":
            nn.init.kaiming_normal_(self.fc7.weight, nonlinearity="relu")
            nn.init.normal_(self.fc8.weight, std=0.001)
            nn.init.zeros_(self.fc7.bias)
            nn.init.zeros_(self.fc8.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[B, N, D] to logits [B, N!]."""
        paired = torch.stack([features[:, list(pair)].flatten(1) for pair in self.pairs], 1)
        logits: Tensor = self.fc8(self.dropout(self.fc7(paired).relu().flatten(1)))
        return logits


class RecurrentOrderHead(nn.Module):
    """An LSTM or GRU over the N vectors; its last state to N! logits (the official code's other head).

    Args:
        feature_dim: width of a clip's vector.
        clips: N.
        hidden: width of the state.
        kind: the recurrent layer.
    """

    def __init__(
        self, feature_dim: int, clips: int, *, hidden: int = 512, kind: Literal["lstm", "gru"] = "lstm"
    ) -> None:
        super().__init__()
        layer = nn.LSTM if kind == "lstm" else nn.GRU
        self.recurrent = layer(feature_dim, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, math.factorial(clips))

    def forward(self, features: Tensor) -> Tensor:
        """[B, N, D] to logits [B, N!]."""
        logits: Tensor = self.fc(self.recurrent(features)[0][:, -1])
        return logits
