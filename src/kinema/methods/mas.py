"""MAS: learn from motion and appearance statistics.

Wang, Jiao et al., "Self-supervised spatio-temporal representation learning for videos by predicting motion and
appearance statistics", CVPR 2019 (arXiv 1904.03597). The predecessor of STS: a light C3D with fully connected layers
sees RGB and regresses 14 motion and 13 appearance labels, all at once, as plain numbers.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from kinema.backbones import build_backbone
from kinema.data.sample import Batch, tensor
from kinema.losses.statistics import fully_connected_penalty, statistics_regression_loss
from kinema.methods.base import Losses, Phase
from kinema.methods.encoders import ConvEncoder
from kinema.methods.statistics import Clips, LabelRules, StatisticsMethod, exactly_told, label_groups
from kinema.modules.encoder import Products
from kinema.modules.heads import C3DLightHead
from kinema.targets.statistics import Encoded


class MAS(StatisticsMethod):
    """Motion and appearance statistics.

    Args:
        width: channels of the first stage of the light C3D; 64 is the published size.
        hidden: width of fc6 and fc7; 2048 is published.
        shared_fc: one fc6 and fc7 for both kinds of labels instead of two branches (the paper could not be read).
        dropout: after fc6 and fc7; published 0 in pre-training.
        motion: which motion labels: any of "1", "2", "3" (patterns) and "global", joined by "+"; "none" for none.
        appearance: which appearance labels, likewise. The released code has none of them.
        motion_weight: lambda of the motion error.
        appearance_weight: lambda of the appearance error (0.1 is the journal's).
        fc_decay: factor on half the squared norm of the fully connected weights.
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames, where the flow is computed.
        size: side of the square crop; divisible by 8.
        flip: probability of a horizontal mirror; published 0.
        clips: "windows" visits every non-overlapping clip once an epoch, "random" one random clip per video.
        flow: preset of the optical flow that makes the labels.
        orientation: "soft" (released code) or "hard" orientation bins.
        colour: dominant colour by "vote" of octants, or the most frequent "exact" colour.
        still: labels of clips without motion: "ignore" them, or the "reference" values of STS (MAS's own code fails).
        raw_pixels: feed BGR 0..255 as published, which the initial weights are made for. False: normalised RGB, and
            initial weights by He et al.'s rule, without which signals vanish in a network without normalisation.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        hidden: int = 2048,
        shared_fc: bool = False,
        dropout: float = 0.0,
        motion: str = "1+2+3+global",
        appearance: str = "1+2+3+global",
        motion_weight: float = 1.0,
        appearance_weight: float = 0.1,
        fc_decay: float = 0.005,
        frames: int = 16,
        stride: int = 1,
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        size: int = 112,
        flip: float = 0.0,
        clips: Literal["windows", "random"] = "windows",
        flow: str = "dis-half",
        orientation: Literal["soft", "hard"] = "soft",
        colour: Literal["vote", "exact"] = "vote",
        still: Literal["ignore", "reference"] = "ignore",
        raw_pixels: bool = True,
    ) -> None:
        super().__init__(
            Clips(frames, stride, rate, resize, size, flip, clips),
            LabelRules(flow, orientation=orientation, colour=colour, still=still),
            label_groups(motion, appearance),
            raw_pixels=raw_pixels,
        )
        self.motion_weight, self.appearance_weight, self.fc_decay = motion_weight, appearance_weight, fc_decay
        trunk = build_backbone("c3d_light", width=width)
        self.encoder = ConvEncoder(trunk, self.input)
        self.outputs = tuple(map(len, self.groups.columns()))
        branches = [sum(self.outputs)] if shared_fc else [count for count in self.outputs if count]
        # The pools round up, so the map is the clip divided by the strides, rounded up.
        last = [-(-side // step) for side, step in zip((frames, size, size), trunk.stride, strict=True)]
        map_size = (last[0], last[1], last[2])
        self.heads = nn.ModuleList(
            C3DLightHead(count, channels=trunk.feature_dim, map_size=map_size, hidden=hidden, dropout=dropout)
            for count in branches
        )
        if not raw_pixels:
            for module in trunk.modules():
                if isinstance(module, nn.Conv3d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Encoded:
        """Clips [B, 3, T, S, S] as the network wants them to predictions [B, 14] and [B, 13] (or the chosen ones)."""
        features = self.encoder(x).map
        outputs = torch.cat([head(features) for head in self.heads], 1)
        return Encoded(*torch.split(outputs, list(self.outputs), 1))

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Weighted squared errors, plus the decay of the fully connected weights; "accuracy" rounds predictions."""
        predicted = self(self.input.normalise(tensor(batch, "video")))
        target, valid = self.targets(batch, "1d")
        loss = statistics_regression_loss(
            predicted.motion,
            predicted.appearance,
            target.motion,
            target.appearance,
            motion_valid=valid,
            motion_weight=self.motion_weight,
            appearance_weight=self.appearance_weight,
        )
        weights = [parameter for name, parameter in self.heads.named_parameters() if name.endswith("weight")]
        penalty = fully_connected_penalty(weights, self.fc_decay)
        accuracy = exactly_told(torch.cat(predicted, 1).round(), target, valid)
        parts = {"motion": loss.motion, "appearance": loss.appearance, "penalty": penalty, "accuracy": accuracy}
        return {"loss": loss.loss + penalty, "parts": parts}

    def products(self) -> Products:
        """The video encoder: the convolutions; the fully connected layers are left behind."""
        return Products({"video": self.encoder})
