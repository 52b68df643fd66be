"""What MAS and STS share: clips with their flow, one crop and mirror for both, and labels of what the network sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.data.index import Index, by_duration, per_row
from kinema.data.loading import Delivery, Request, deliver
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Flow, Frames, Read, Sample, tensor
from kinema.errors import RecipeError
from kinema.methods.base import Method, ParamGroup, Picture
from kinema.modules.encoder import EncoderInput
from kinema.targets.statistics import (
    MOTION_2D_SOURCE,
    Encoded,
    LabelGroups,
    appearance_labels,
    motion_labels,
    motion_statistics,
    partition,
    to_2d,
)
from kinema.video.flow import decode_flow
from kinema.views.geometry import centre_crop, crop_flip, crop_flip_flow, draw_crop, draw_flip

Size = tuple[int, int]
Compute = Callable[[Batch], Batch]


@dataclass(frozen=True)
class Clips:
    """Which clips are cut from videos.

    Args:
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; None: each video's own.
        resize: (height, width) of whole frames, where the flow is computed.
        size: side of the square crop; divisible by 8.
        flip: probability of a horizontal mirror.
        sampling: "windows" visits every non-overlapping clip once an epoch, "random" one random clip per video.
    """

    frames: int
    stride: int
    rate: float | None
    resize: Size
    size: int
    flip: float
    sampling: Literal["windows", "random"]

    @property
    def span(self) -> int:
        """Frames of the sampled rate from a clip's first to its last."""
        return (self.frames - 1) * self.stride + 1

    def input(self, *, raw_pixels: bool) -> EncoderInput:
        """What the network is fed: normalised RGB, or as published BGR 0..255 with nothing subtracted.

        Raises:
            RecipeError: the crop does not fit or is not divisible by 8, the clip has no two frames, or `flip` is no
                probability.
        """
        # Refuse now what would fail when the first clip is read.
        centre_crop(self.resize, (self.size, self.size))
        partition(1, self.size)
        if self.frames < 2:
            raise RecipeError(f"frames={self.frames}: motion needs at least two frames")
        if not 0 <= self.flip <= 1:
            raise RecipeError(f"flip={self.flip:g}: a probability lies in [0, 1]")
        view = ("video", self.frames, self.stride, self.rate, self.resize, (self.size, self.size))
        return EncoderInput(*view, (0.0,) * 3, (1.0,) * 3, 255.0, "bgr") if raw_pixels else EncoderInput(*view)


@dataclass(frozen=True)
class LabelRules:
    """How labels are computed; the meanings are those of the options of `kinema.methods.sts.STS`.

    Attributes:
        flow: preset of the optical flow, where the data bring none of their own.
        coded_flow: take computed flow through the 8-bit coding.
        extra_flow: one flow field more than the clip has steps ("n").
        orientation: soft or hard bins.
        colour: dominant colour by vote, or the most frequent one.
        still: what becomes of clips without motion.
        negate_u: negate horizontal flow in mirrored clips.
    """

    flow: str
    coded_flow: bool = False
    extra_flow: bool = False
    orientation: Literal["soft", "hard"] = "soft"
    colour: Literal["vote", "exact"] = "vote"
    still: Literal["ignore", "reference"] = "ignore"
    negate_u: bool = True


class StatisticsMethod(Method):
    """Base of the methods that predict motion and appearance statistics: everything but network and loss."""

    optional = ("flow",)

    def __init__(self, clips: Clips, rules: LabelRules, groups: LabelGroups, *, raw_pixels: bool) -> None:
        super().__init__()
        self.clips, self.rules, self.groups = clips, rules, groups
        self.input = clips.input(raw_pixels=raw_pixels)

    def index(self, manifest: Manifest) -> Index:
        """Non-overlapping clips of every video, or one entry per video."""
        if self.clips.sampling == "random":
            return per_row(manifest)
        return by_duration(manifest, frames=self.clips.span, rate=self.input.rate)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """One clip, its flow, and one crop and mirror for all of its frames."""
        available = index.frames(i, rate=self.input.rate)
        room = max(0, len(available) - self.clips.span)
        first = int(rng.integers(room + 1)) if self.clips.sampling == "random" else 0
        top, left = draw_crop(rng, self.input.resize, self.input.size)
        return self._sample(i, index, available, first, (top, left, draw_flip(rng, self.clips.flip)))

    def plan_centre(self, i: int, index: Index) -> Sample:
        """The same clip with a centre crop and no mirror, for what must not depend on chance."""
        available = index.frames(i, rate=self.input.rate)
        first = max(0, len(available) - self.clips.span) // 2 if self.clips.sampling == "random" else 0
        return self._sample(i, index, available, first, (*centre_crop(self.input.resize, self.input.size), False))

    def _sample(
        self, i: int, index: Index, available: npt.NDArray[np.int64], first: int, view: tuple[int, int, bool]
    ) -> Sample:
        extra = self.rules.extra_flow
        stride = self.input.stride
        positions = first + np.arange(self.input.frames + extra) * stride
        # A video shorter than a clip shows its last frame at this stride again; the repeated frames have no flow.
        last = first + (len(available) - 1 - first) // stride * stride
        chosen = available[np.minimum(positions, last)]
        if extra and positions[-1] >= len(available):
            chosen[-1] = min(2 * chosen[-2] - chosen[-3], index.video(i).frames - 1)
        top, left, flip = view
        reads: dict[str, Read] = {
            "video": Frames(int(index.rows[i]), chosen, self.input.resize),
            "flow": Flow("video", self.rules.flow, self.rules.coded_flow),
        }
        return Sample(reads, {"top": np.array(top), "left": np.array(left), "flip": np.array(flip)})

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Crop and mirror clip and flow alike, then compute the labels on exactly what the network sees.

        Returns "video" uint8 [B, 3, T, S, S], "motion" int64 [B, 14] with "motion_valid", "appearance" int64 [B, 13].
        """
        video, flow = self.view(batch)
        rules = self.rules
        found = motion_labels(flow, rgb_frames=self.input.frames, orientation=rules.orientation, zero=rules.still)
        return {
            "video": video,
            "motion": found.labels,
            "motion_valid": found.valid,
            "appearance": appearance_labels(video, colour=rules.colour),
        }

    def view(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The network's clip, uint8 [B, 3, T, S, S], and its flow in pixels per frame, float [B, 2, F, S, S]."""
        top, left, flip = (tensor(batch, name) for name in ("top", "left", "flip"))
        video = crop_flip(tensor(batch, "video")[:, :, : self.input.frames], top, left, flip, self.input.size)
        flow = tensor(batch, "flow")
        flow = crop_flip_flow(flow, top, left, flip, self.input.size, negate_u=self.rules.negate_u)
        return video, decode_flow(flow)

    def targets(self, batch: Batch, encoding: Literal["1d", "2d"]) -> tuple[Encoded, Tensor]:
        """Labels of the chosen groups, and which motion labels count."""
        motion, valid, appearance = (tensor(batch, name) for name in ("motion", "motion_valid", "appearance"))
        if encoding == "2d":
            motion, appearance = to_2d(motion, appearance)
            valid = valid[:, MOTION_2D_SOURCE]
        return self.groups.select(motion, appearance, encoding), self.groups.select(valid, appearance, encoding).motion

    def pictures(self, batch: Batch) -> list[Picture]:
        """The sample with the most motion: its boundaries, the three patterns and the labels."""
        # The drawing library is only needed here.
        from kinema.targets.statistics.drawing import draw_labels

        video, flow = self.view(batch)
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
        """Biases, those of BatchNorm included, learn at twice the rate (released code of both methods)."""
        return ParamGroup(lr=2.0) if name.endswith("bias") else ParamGroup()


class _Centre:
    """Plans centre crops without mirror, and prepares them in a way of its own."""

    def __init__(self, method: StatisticsMethod, compute: Compute) -> None:
        self.method, self.compute = method, compute

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        return self.method.plan_centre(i, index)

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        return self.compute(batch) | {"sample": batch["sample"]}


def centre_clips(
    method: StatisticsMethod, index: Index, compute: Compute, workers: int = 0, *, batch: int = 32
) -> Iterator[Delivery]:
    """What `compute` makes of every clip, without chance: centre crop, no mirror; in order, `batch` at a time.

    A delivery's batch holds what `compute` returns for a batch as read, and "sample", the clips' numbers. `compute`
    runs in the workers where there are any.
    """
    parts = [range(k, min(k + batch, len(index))) for k in range(0, len(index), batch)]
    requests = [Request(Clock(0, 0, 0.0), tuple(part), (0,) * len(part)) for part in parts]
    yield from deliver(_Centre(method, compute), index, requests, seed=0, workers=workers)


def label_groups(motion: str, appearance: str) -> LabelGroups:
    """Read the switches: any of "1", "2", "3" (patterns) and "global", joined by "+"; "none" for none.

    Raises:
        RecipeError: another word, or nothing left to predict.
    """
    return LabelGroups(*_switch("motion", motion), *_switch("appearance", appearance))


def exactly_told(told: Tensor, target: Encoded, valid: Tensor) -> Tensor:
    """Share of labels [B, D] that are told exactly, ignored ones left out; the mean over clips."""
    right = told == torch.cat(tuple(target), 1)
    counts = torch.cat([valid, torch.ones_like(target.appearance, dtype=torch.bool)], 1)
    return ((right & counts).sum(1) / counts.sum(1).clamp(min=1)).mean()


def _switch(option: str, text: str) -> tuple[tuple[int, ...], bool]:
    """Patterns, and whether the global labels take part."""
    parts = [] if text == "none" else text.split("+")
    if not set(parts) <= {"1", "2", "3", "global"}:
        raise RecipeError(f"{option}={text}: join any of 1, 2, 3 and global by +, or write none")
    return tuple(int(part) for part in parts if part != "global"), "global" in parts
