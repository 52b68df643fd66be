"""STS: learn from spatio-temporal statistics.

Wang, Jiao et al., "Self-supervised video representation learning by uncovering spatio-temporal statistics",
IEEE TPAMI 2021 (arXiv 2008.13426). A clip is cut into regions by three fixed patterns; the network sees RGB and must
tell where the motion is largest and which way it points, where colour changes most and least and which colour it is,
and when. The answers are computed from optical flow and pixels: 14 motion and 13 appearance labels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones import build_backbone
from kinema.data.index import Index
from kinema.data.sample import Batch, tensor
from kinema.losses.statistics import statistics_classification_loss, statistics_regression_loss
from kinema.methods.base import Losses, Phase
from kinema.methods.encoders import ConvEncoder
from kinema.methods.statistics import Clips, LabelRules, StatisticsMethod, centre_clips, exactly_told, label_groups
from kinema.modules.encoder import Products
from kinema.randomness import numpy_generator
from kinema.targets.statistics import (
    Encoded,
    class_counts,
    curriculum_order,
    curriculum_score,
)


class STS(StatisticsMethod):
    """Spatio-temporal statistics.

    Args:
        backbone: "r2plus1d", "r3d", "c3d", "c3d_light", or "s3dg_pace": the S3D-G of the paper.
        width: channels of the first stage; 64 is the published size.
        target: "1d" regresses the 27 raw labels, "2d" 35 with (row, column) locations, "classification" 27 classes.
        motion: which motion labels: any of "1", "2", "3" (patterns) and "global", joined by "+"; "none" for none.
        appearance: which appearance labels, likewise.
        motion_weight: lambda_m of Eqs. 8 and 9.
        appearance_weight: lambda_a.
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames, where the flow is computed.
        size: side of the square crop; divisible by 8.
        flip: probability of a horizontal mirror.
        clips: "windows" visits every non-overlapping clip once an epoch, "random" one random clip per video.
        flow: preset of the optical flow that makes the labels, where the data bring none of their own.
        coded_flow: take computed flow through the 8-bit coding of stored flow images, as the released code's labels
            were; false (ours) keeps its precision.
        flow_fields: "n-1" (ours) sums the flows between the clip's frames; "n" adds one beyond its end, as the
            released loader does.
        orientation: "soft" (released code) or "hard" (paper) orientation bins.
        colour: dominant colour by "vote" of octants (ours, and the paper's) or the most frequent "exact" colour
            (released code).
        still: labels of clips without motion: "ignore" them (ours), or keep the released code's "reference" values.
        negate_u: negate horizontal flow in mirrored clips (ours: physically right; the released code does not).
        raw_pixels: feed BGR 0..255 as the released code does, instead of normalised RGB (ours).
        curriculum: epochs at the start that see only the easier half of the clips (Sec. 3.4); 0: none.
        reference: where coded_flow, flow_fields, colour, still, negate_u or raw_pixels is not given (null), take the
            released code's choice instead of ours: true, "n", "exact", "reference", false, true.
    """

    def __init__(
        self,
        *,
        backbone: Literal["r2plus1d", "r3d", "c3d", "c3d_light", "s3dg_pace"] = "r2plus1d",
        width: int = 64,
        target: Literal["1d", "2d", "classification"] = "classification",
        motion: str = "1+2+3+global",
        appearance: str = "1+2+3+global",
        motion_weight: float = 1.0,
        appearance_weight: float = 0.1,
        frames: int = 16,
        stride: int = 1,
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        size: int = 112,
        flip: float = 0.5,
        clips: Literal["windows", "random"] = "windows",
        flow: str = "dis-half",
        coded_flow: bool | None = None,
        flow_fields: Literal["n-1", "n"] | None = None,
        orientation: Literal["soft", "hard"] = "soft",
        colour: Literal["vote", "exact"] | None = None,
        still: Literal["ignore", "reference"] | None = None,
        negate_u: bool | None = None,
        raw_pixels: bool | None = None,
        curriculum: int = 0,
        reference: bool = False,
    ) -> None:
        super().__init__(
            Clips(frames, stride, rate, resize, size, flip, clips),
            LabelRules(
                flow,
                coded_flow=reference if coded_flow is None else coded_flow,
                extra_flow=(flow_fields or ("n" if reference else "n-1")) == "n",
                orientation=orientation,
                colour=colour or ("exact" if reference else "vote"),
                still=still or ("reference" if reference else "ignore"),
                negate_u=not reference if negate_u is None else negate_u,
            ),
            label_groups(motion, appearance),
            raw_pixels=reference if raw_pixels is None else raw_pixels,
        )
        self.motion_weight, self.appearance_weight = motion_weight, appearance_weight
        self.target, self.curriculum = target, curriculum
        trunk = build_backbone(backbone, width=width)
        self.encoder = ConvEncoder(trunk, self.input)
        self.outputs = self._output_sizes()
        self.head = nn.Linear(trunk.feature_dim, sum(map(sum, self.outputs)))
        self.scores: npt.NDArray[np.float64] | None = None

    def setup(self, index: Index, *, folder: Path, workers: int) -> None:
        """Score every clip for the curriculum, once; kept in `folder`/curriculum.npy."""
        if self.curriculum:
            path = folder / "curriculum.npy"
            if not path.is_file():
                # Written aside: a run that is killed here must not find half a file when it goes on.
                aside = folder / ".curriculum.tmp.npy"
                np.save(aside, score_clips(self, index, workers=workers))
                aside.replace(path)
            self.scores = np.load(path)

    def order(self, index: Index, epoch: int, seed: int) -> npt.NDArray[np.int64] | None:
        """Single-step pacing (Eq. 7): the easier half of the clips first, then all."""
        if self.scores is None or epoch >= self.curriculum:
            return None
        easy = curriculum_order(self.scores, stage=1)
        return easy[numpy_generator(seed, "curriculum", epoch).permutation(len(easy))]

    def forward(self, x: Tensor) -> Encoded:
        """Normalised clips [B, 3, T, S, S] to the outputs of the two branches: [B, 14] and [B, 13] for "1d"."""
        outputs = self.head(self.encoder(x).pooled)
        return Encoded(*torch.split(outputs, [sum(sizes) for sizes in self.outputs], 1))

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Eq. 8 (regression) or Eq. 9 (classification); "accuracy" is the share of labels told exactly."""
        predicted = self(self.input.normalise(tensor(batch, "video")))
        found = self._classify if self.target == "classification" else self._regress
        return found(predicted, batch)

    def _classify(self, predicted: Encoded, batch: Batch) -> Losses:
        target, valid = self.targets(batch, "1d")
        valid = valid & (target.motion > 0)  # label 0 has no class
        motion = torch.split(predicted.motion, list(self.outputs[0]), 1)
        appearance = torch.split(predicted.appearance, list(self.outputs[1]), 1)
        loss = statistics_classification_loss(
            motion,
            appearance,
            *target,
            motion_valid=valid,
            motion_weight=self.motion_weight,
            appearance_weight=self.appearance_weight,
        )
        told = [scores.argmax(1) + 1 for scores in (*motion, *appearance)]
        parts = {"motion": loss.motion, "appearance": loss.appearance}
        return {"loss": loss.loss, "parts": {**parts, "accuracy": exactly_told(torch.stack(told, 1), target, valid)}}

    def _regress(self, predicted: Encoded, batch: Batch) -> Losses:
        target, valid = self.targets(batch, "2d" if self.target == "2d" else "1d")
        loss = statistics_regression_loss(
            *predicted,
            *target,
            motion_valid=valid,
            motion_weight=self.motion_weight,
            appearance_weight=self.appearance_weight,
        )
        told = torch.cat(predicted, 1).round()
        parts = {"motion": loss.motion, "appearance": loss.appearance}
        return {"loss": loss.loss, "parts": {**parts, "accuracy": exactly_told(told, target, valid)}}

    def _output_sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Outputs per label of the two branches: classes, or one number each."""
        if self.target == "classification":
            return class_counts(self.groups, rgb_frames=self.input.frames)
        columns = self.groups.columns("2d" if self.target == "2d" else "1d")
        return (1,) * len(columns.motion), (1,) * len(columns.appearance)

    def products(self) -> Products:
        """The video encoder."""
        return Products({"video": self.encoder})


def score_clips(method: STS, index: Index, *, workers: int = 0) -> npt.NDArray[np.float64]:
    """Eq. 6 for every sample on a centre crop: float64 [N] in [0, 1]; clips that cannot be read count as hardest."""
    scores = np.zeros(len(index))
    for found in centre_clips(method, index, partial(_score, method), workers):
        if found.batch is not None:
            scores[tensor(found.batch, "sample").numpy()] = tensor(found.batch, "score").numpy()
    return scores


def _score(method: STS, batch: Batch) -> Batch:
    return {"score": curriculum_score(method.view(batch)[1])}
