"""STS: learn from spatio-temporal statistics.

Wang, Jiao et al., "Self-supervised video representation learning by uncovering spatio-temporal statistics",
IEEE TPAMI 2021 (arXiv 2008.13426). A clip is cut into regions by three fixed patterns; the network sees RGB and must
tell where the motion is largest and which way it points, where colour changes most and least and which colour it is,
and when. The answers are computed from optical flow and pixels: 14 motion and 13 appearance labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones import build_backbone
from kinema.data.index import Index, by_duration, per_row
from kinema.data.loading import Request, deliver
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Flow, Frames, Read, Sample, tensor
from kinema.errors import RecipeError
from kinema.losses.statistics import statistics_classification_loss, statistics_regression_loss
from kinema.methods.base import Losses, Method, ParamGroup, Phase, Picture
from kinema.methods.encoders import ConvEncoder
from kinema.modules.encoder import EncoderInput, Products
from kinema.randomness import numpy_generator
from kinema.targets.statistics import (
    MOTION_2D_SOURCE,
    Encoded,
    LabelGroups,
    appearance_labels,
    class_counts,
    curriculum_order,
    curriculum_score,
    motion_labels,
    motion_statistics,
    partition,
    to_2d,
)
from kinema.video.flow import decode_flow
from kinema.views.geometry import centre_crop, crop_flip, crop_flip_flow, draw_crop, draw_flip

RAW_PIXELS = EncoderInput(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=255.0, channels="bgr")
"""What the published network is fed: BGR, 0..255, nothing subtracted."""


class STS(Method):
    """Spatio-temporal statistics.

    Args:
        backbone: "r2plus1d", "r3d", "c3d" or "c3d_light".
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
        flow: preset of the optical flow that makes the labels.
        flow_fields: "n-1" (ours) sums the flows between the clip's frames; "n" adds one beyond its end, as the
            released loader does.
        orientation: "soft" (released code) or "hard" (paper) orientation bins.
        colour: dominant colour by "vote" of octants (ours, and the paper's) or the most frequent "exact" colour
            (released code).
        still: labels of clips without motion: "ignore" them (ours), or keep the released code's "reference" values.
        negate_u: negate horizontal flow in mirrored clips (ours: physically right; the released code does not).
        raw_pixels: feed BGR 0..255 as the released code does, instead of normalised RGB (ours).
        curriculum: epochs at the start that see only the easier half of the clips (Sec. 3.4); 0: none.
        reference: where flow_fields, colour, still, negate_u or raw_pixels is not given (null), take the released
            code's choice instead of ours: "n", "exact", "reference", false, true.
    """

    def __init__(
        self,
        *,
        backbone: Literal["r2plus1d", "r3d", "c3d", "c3d_light"] = "r2plus1d",
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
        flow_fields: Literal["n-1", "n"] | None = None,
        orientation: Literal["soft", "hard"] = "soft",
        colour: Literal["vote", "exact"] | None = None,
        still: Literal["ignore", "reference"] | None = None,
        negate_u: bool | None = None,
        raw_pixels: bool | None = None,
        curriculum: int = 0,
        reference: bool = False,
    ) -> None:
        super().__init__()
        self.groups = _groups(motion, appearance)
        self.motion_weight, self.appearance_weight = motion_weight, appearance_weight
        self.target, self.flip, self.clips, self.flow, self.curriculum = target, flip, clips, flow, curriculum
        self.extra_flow = (flow_fields or ("n" if reference else "n-1")) == "n"
        self.orientation = orientation
        self.colour = colour or ("exact" if reference else "vote")
        self.still = still or ("reference" if reference else "ignore")
        self.negate_u = not reference if negate_u is None else negate_u
        pixels = RAW_PIXELS if (reference if raw_pixels is None else raw_pixels) else EncoderInput()
        self.input = EncoderInput(
            "video",
            frames,
            stride,
            rate,
            resize,
            (size, size),
            pixels.mean,
            pixels.std,
            pixels.scale,
            pixels.channels,
        )
        # Refuse now what would fail when the first clip is read.
        centre_crop(self.input.resize, self.input.size)
        partition(1, size)
        if frames < 2:
            raise RecipeError(f"frames={frames}: motion needs at least two frames")
        trunk = build_backbone(backbone, width=width)
        self.encoder = ConvEncoder(trunk, self.input)
        self.outputs = self._output_sizes()
        self.head = nn.Linear(trunk.feature_dim, sum(map(sum, self.outputs)))
        self.scores: npt.NDArray[np.float64] | None = None

    def index(self, manifest: Manifest) -> Index:
        """Non-overlapping clips of every video, or one entry per video (Sec. 4.2: UCF101, Kinetics-400)."""
        if self.clips == "random":
            return per_row(manifest)
        return by_duration(manifest, frames=self._span, rate=self.input.rate)

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

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """One clip, its flow, and one crop and mirror for all of its frames."""
        available = index.frames(i, rate=self.input.rate)
        room = max(0, len(available) - self._span)
        first = int(rng.integers(room + 1)) if self.clips == "random" else 0
        top, left = draw_crop(rng, self.input.resize, self.input.size)
        return self._sample(i, index, available, first, (top, left, draw_flip(rng, self.flip)))

    def plan_centre(self, i: int, index: Index) -> Sample:
        """The same clip with a centre crop and no mirror, for what must not depend on chance."""
        available = index.frames(i, rate=self.input.rate)
        first = max(0, len(available) - self._span) // 2 if self.clips == "random" else 0
        return self._sample(i, index, available, first, (*centre_crop(self.input.resize, self.input.size), False))

    @property
    def _span(self) -> int:
        return (self.input.frames - 1) * self.input.stride + 1

    def _sample(
        self, i: int, index: Index, available: npt.NDArray[np.int64], first: int, view: tuple[int, int, bool]
    ) -> Sample:
        count = self.input.frames + self.extra_flow
        positions = first + np.arange(count) * self.input.stride
        # A video shorter than a clip shows its last frame again; the repeated frames have no flow.
        chosen = available[np.minimum(positions, len(available) - 1)]
        if self.extra_flow and positions[-1] >= len(available):
            chosen[-1] = min(2 * chosen[-2] - chosen[-3], index.video(i).frames - 1)
        top, left, flip = view
        reads: dict[str, Read] = {
            "video": Frames(int(index.rows[i]), chosen, self.input.resize),
            "flow": Flow("video", self.flow),
        }
        return Sample(reads, {"top": np.array(top), "left": np.array(left), "flip": np.array(flip)})

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Crop and mirror clip and flow alike, then compute the labels on exactly what the network sees.

        Returns "video" uint8 [B, 3, T, S, S], "motion" int64 [B, 14] with "motion_valid", "appearance" int64 [B, 13].
        """
        video, flow = self._view(batch)
        found = motion_labels(flow, rgb_frames=self.input.frames, orientation=self.orientation, zero=self.still)
        return {
            "video": video,
            "motion": found.labels,
            "motion_valid": found.valid,
            "appearance": appearance_labels(video, colour=self.colour),
        }

    def _view(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The network's clip, uint8 [B, 3, T, S, S], and its decoded flow, float [B, 2, F, S, S]."""
        top, left, flip = (tensor(batch, name) for name in ("top", "left", "flip"))
        video = crop_flip(tensor(batch, "video")[:, :, : self.input.frames], top, left, flip, self.input.size)
        flow = crop_flip_flow(tensor(batch, "flow"), top, left, flip, self.input.size, negate_u=self.negate_u)
        return video, decode_flow(flow)

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
        target, valid = self._targets(batch, "1d")
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
        return {"loss": loss.loss, "parts": {**parts, "accuracy": _accuracy(torch.stack(told, 1), target, valid)}}

    def _regress(self, predicted: Encoded, batch: Batch) -> Losses:
        target, valid = self._targets(batch, "2d" if self.target == "2d" else "1d")
        loss = statistics_regression_loss(
            *predicted,
            *target,
            motion_valid=valid,
            motion_weight=self.motion_weight,
            appearance_weight=self.appearance_weight,
        )
        told = torch.cat(predicted, 1).round()
        parts = {"motion": loss.motion, "appearance": loss.appearance}
        return {"loss": loss.loss, "parts": {**parts, "accuracy": _accuracy(told, target, valid)}}

    def _targets(self, batch: Batch, encoding: Literal["1d", "2d"]) -> tuple[Encoded, Tensor]:
        """Labels of the chosen groups, and which motion labels count."""
        motion, valid, appearance = (tensor(batch, name) for name in ("motion", "motion_valid", "appearance"))
        if encoding == "2d":
            motion, appearance = to_2d(motion, appearance)
            valid = valid[:, MOTION_2D_SOURCE]
        return self.groups.select(motion, appearance, encoding), self.groups.select(valid, appearance, encoding).motion

    def _output_sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Outputs per label of the two branches: classes, or one number each."""
        if self.target == "classification":
            return class_counts(self.groups, rgb_frames=self.input.frames)
        columns = self.groups.columns("2d" if self.target == "2d" else "1d")
        return (1,) * len(columns.motion), (1,) * len(columns.appearance)

    def pictures(self, batch: Batch) -> list[Picture]:
        """The sample with the most motion: its boundaries, the three patterns and the labels."""
        # The drawing library is only needed here.
        from kinema.targets.statistics.drawing import draw_labels

        video, flow = self._view(batch)
        found = self.prepare(batch, torch.Generator())
        best = int(motion_statistics(flow).magnitude.sum((1, 2)).argmax())
        frames = draw_labels(video[best], flow[best], tensor(found, "motion")[best], tensor(found, "appearance")[best])
        caption = (
            "One training clip and the 27 answers that the network must give for it from colour alone: where motion "
            "boundaries are strongest and which way they point, where colours change most and least and which colour "
            "dominates there, and when the motion is largest."
        )
        return [Picture("Spatio-temporal statistics of one clip", caption, frames)]

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """Biases, those of BatchNorm included, learn at twice the rate (released code)."""
        return ParamGroup(lr=2.0) if name.endswith("bias") else ParamGroup()

    def products(self) -> Products:
        """The video encoder."""
        return Products({"video": self.encoder})


class _Scoring:
    """Plans and prepares clips for nothing but their curriculum score."""

    def __init__(self, method: STS) -> None:
        self.method = method

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        return self.method.plan_centre(i, index)

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        _, flow = self.method._view(batch)
        return {"score": curriculum_score(flow), "sample": batch["sample"]}


def score_clips(method: STS, index: Index, *, workers: int = 0) -> npt.NDArray[np.float64]:
    """Eq. 6 for every sample on a centre crop: float64 [N] in [0, 1]; clips that cannot be read count as hardest."""
    scores = np.zeros(len(index))
    parts = [range(k, min(k + 32, len(index))) for k in range(0, len(index), 32)]
    requests = [Request(Clock(0, 0, 0.0), tuple(part), (0,) * len(part)) for part in parts]
    for delivery in deliver(_Scoring(method), index, requests, seed=0, workers=workers):
        if delivery.batch is not None:
            scores[tensor(delivery.batch, "sample").numpy()] = tensor(delivery.batch, "score").numpy()
    return scores


def _groups(motion: str, appearance: str) -> LabelGroups:
    """Read the switches: "1+3+global", or "none"."""
    return LabelGroups(*_switch("motion", motion), *_switch("appearance", appearance))


def _switch(option: str, text: str) -> tuple[tuple[int, ...], bool]:
    """Patterns, and whether the global labels take part."""
    parts = [] if text == "none" else text.split("+")
    if not set(parts) <= {"1", "2", "3", "global"}:
        raise RecipeError(f"{option}={text}: join any of 1, 2, 3 and global by +, or write none")
    return tuple(int(part) for part in parts if part != "global"), "global" in parts


def _accuracy(told: Tensor, target: Encoded, valid: Tensor) -> Tensor:
    """Share of labels that are told exactly, ignored ones left out; the mean over clips."""
    right = told == torch.cat(tuple(target), 1)
    counts = torch.cat([valid, torch.ones_like(target.appearance, dtype=torch.bool)], 1)
    return ((right & counts).sum(1) / counts.sum(1).clamp(min=1)).mean()
