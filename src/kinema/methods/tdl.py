"""TDL: temporal discriminative learning.

Wang, Lin, Ma, Yuen, "Self-supervised temporal discriminative learning for video representation learning" (arXiv
2008.02129). Another moment of the same video is a negative, on top of a queue of keys of other videos: the scene is the
same, so only motion can tell. One frame mixed into the whole anchor takes away what stands still.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones import build_backbone
from kinema.data.index import Index, by_duration, per_row
from kinema.data.manifest import Manifest
from kinema.data.sample import Array, Batch, Clock, Frames, Read, Sample, tensor
from kinema.losses.contrastive import first_is_best, queue_logits
from kinema.methods.base import Losses, Phase, Picture
from kinema.methods.encoders import ConvEncoder
from kinema.methods.momentum import EmbeddingNetwork, MomentumContrast
from kinema.modules.encoder import EncoderInput
from kinema.modules.heads import ProjectionHead
from kinema.modules.queue import FeatureQueue
from kinema.randomness import numpy_generator
from kinema.views.augment import ClipAugment
from kinema.views.colour import ColourJitter, normalise, to_uint8
from kinema.views.crops import RandomCrop
from kinema.views.mixing import mix_frame
from kinema.views.photometric import Photometric

CLIPS = ("anchor", "positive", "negative")

Positions = npt.NDArray[np.int64]


class TDL(MomentumContrast):
    """Temporal discriminative learning.

    Args:
        backbone: any of `kinema.backbones.BACKBONES`; published I3D ("s3d" is nearest), Hara's "resnet3d_18",
            "r2plus1d", "c3d".
        width: channels of the first stage; 64 is the published size.
        init: first weights of convolutions and BatchNorm: "xavier" as in the released code, or the "backbone"'s own.
        dropout: of the pooled features before the head of the query network; the key network has none.
        dim: length of the embeddings.
        queue: K, keys of other clips; published 16384 and less, about the size of the data.
        momentum: m of the key network, which moves after each step.
        temperature: tau.
        own_negative: the other moment of the same video is a negative. False: plain momentum contrast.
        mask_equal: leave out own negatives that show the anchor's frames, as in very short videos; the released code
            keeps them.
        mix: largest share of one frame that is mixed into the whole anchor (TCA); 0: none.
        bn_groups: groups of each process that the key network's BatchNorm sees apart, after shuffling.
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        window: frames x stride that a start is drawn for; 32 is published, whatever the clips have.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames as read.
        short_side: of frames, in their own shape, before the random crop.
        size: side of the square clips.
        clips: "random" takes one triplet of each video once an epoch; "windows" one of each stretch of `window` x
            stride x 2 frames.
        rotation: largest turn in degrees, either way.
        jitter: largest change of brightness, contrast, saturation (factors) and hue (turns, at most a half).
        exact_colours: cut to [0, 1] after each operation and turn hue in HSV, as published, instead of one matrix.
    """

    keys_first = False

    def __init__(
        self,
        *,
        backbone: str = "resnet3d_18",
        width: int = 64,
        init: Literal["xavier", "backbone"] = "xavier",
        dropout: float = 0.5,
        dim: int = 128,
        queue: int = 16384,
        momentum: float = 0.999,
        temperature: float = 0.07,
        own_negative: bool = True,
        mask_equal: bool = True,
        mix: float = 0.1,
        bn_groups: int = 1,
        frames: int = 16,
        stride: int = 4,
        window: int = 32,
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        short_side: int = 128,
        size: int = 112,
        clips: Literal["random", "windows"] = "random",
        rotation: float = 10.0,
        jitter: tuple[float, float, float, float] = (0.5, 0.5, 0.25, 0.5),
        exact_colours: bool = False,
    ) -> None:
        view = EncoderInput("video", frames, stride, rate, resize, (size, size))
        encoder = ConvEncoder(build_backbone(backbone, width=width), view)
        network = EmbeddingNetwork(encoder, [ProjectionHead(encoder.feature_dim, dim, dropout=dropout)])
        if init == "xavier":
            initialise(network.encoder)
        super().__init__(network, FeatureQueue(queue, dim, start="uniform"), momentum=momentum, groups=bn_groups)
        self.temperature, self.own_negative, self.mask_equal, self.mix = temperature, own_negative, mask_equal, mix
        self.window, self.clips = window, clips
        self.augment = ClipAugment(
            (size, size),
            RandomCrop(short_side=(short_side, short_side)),
            flip=0.0,
            rotation=rotation,
            photometric=Photometric(ColourJitter(*jitter, exact=exact_colours) if any(jitter) else None),
        )

    def train(self, mode: bool = True) -> TDL:
        """The key network stays in eval mode but for its BatchNorm layers (no dropout in keys)."""
        super().train(mode)
        self.keys.eval()
        for part in self.keys.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.train(mode)
        return self

    def index(self, manifest: Manifest) -> Index:
        """One entry per video, or one per stretch of two windows."""
        if self.clips == "random":
            return per_row(manifest)
        return by_duration(manifest, frames=2 * self.window * self.input.stride, rate=self.input.rate)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Three clips of one video, each with its own view (Sec. 3.1), and what is mixed into the anchor (Sec. 3.2)."""
        available, video = index.frames(i, rate=self.input.rate), index.video(i)
        starts = draw_starts(rng, len(available), self.window * self.input.stride)
        found = [positions(start, len(available), self.input.frames, self.input.stride) for start in starts]
        draws: dict[str, Array] = {
            "distinct": np.array(not np.array_equal(found[0], found[2])),
            "frame": np.array(rng.integers(self.input.frames)),
            # Once per batch, and the same in every process.
            "amount": np.array(numpy_generator("mix", clock.step).uniform(0, self.mix), np.float32),
        }
        reads: dict[str, Read] = {}
        for name, chosen in zip(CLIPS, found, strict=True):
            reads[name] = Frames(int(index.rows[i]), available[chosen], self.input.resize)
            shape = (video.height, video.width)
            draws |= self.augment.draw(rng, self.input.resize, measured=shape, prefix=f"{name}_")
        return Sample(reads, draws)

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The three clips, normalised [B, 3, T, S, S], one frame mixed into the anchor; "distinct" bool [B]."""
        seen = {name: self._view(batch, name) for name in CLIPS}
        seen["anchor"] = mix_frame(seen["anchor"], tensor(batch, "frame"), tensor(batch, "amount"))
        ready = {name: normalise(view, self.input.mean, self.input.std, overwrite=True) for name, view in seen.items()}
        return {**ready, "distinct": tensor(batch, "distinct")}

    def _view(self, batch: Batch, name: str) -> Tensor:
        return self.augment.apply(tensor(batch, name), batch, prefix=f"{name}_")

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Cross-entropy over positive, queue and own negative (Sec. 3.4).

        Parts: "top1" and "top5" among all, "positive" and "negative": mean logits, "order": how often the positive is
        closer than the own negative.
        """
        query = self.network(tensor(batch, "anchor"))[:, 0]
        negative = self.network(tensor(batch, "negative")) if self.own_negative else None
        key = self.encode_keys(tensor(batch, "positive"))[:, 0]
        valid = tensor(batch, "distinct")[:, None] if self.mask_equal else None
        logits = queue_logits(
            query,
            key,
            self.queue.rows,
            negatives=negative,
            negatives_valid=valid,
            temperature=self.temperature,
        )
        self.remember(key)
        found = first_is_best(logits)
        parts = {"top1": found.top1, "top5": found.top5, "positive": logits[:, 0].mean()}
        if negative is not None:
            # What is masked is minus infinity, which no mean should meet.
            own = (query * negative[:, 0]).sum(1) / self.temperature
            parts |= {"negative": own.mean(), "order": (logits[:, 0] > own).float().mean()}
        return {"loss": found.loss, "parts": parts}

    def pictures(self, batch: Batch) -> list[Picture]:
        """Anchor, positive and negative of the first video."""
        seen = [to_uint8(self._view(batch, name)[0]) for name in CLIPS]
        frames = torch.cat(seen, 3).permute(1, 2, 3, 0).numpy()
        caption = (
            "Three clips of one video. The first two show the same moment in different colours and crops and belong "
            "together; the third shows another moment, and must be told apart by motion, since the scene is the same."
        )
        return [Picture("Another moment of the same video", caption, frames)]


class Starts(NamedTuple):
    """First frames of the three clips, counted from 1."""

    anchor: int
    positive: int
    negative: int


def draw_starts(rng: np.random.Generator, total: int, window: int) -> Starts:
    """Where the clips of a triplet begin in `total` frames (Sec. 3.1), from 1; uniform over windows that fit."""
    last = max(total - window, 0) + 1
    anchor, negative = (int(rng.integers(1, last + 1)) for _ in range(2))
    return Starts(anchor, anchor, other_moment(anchor, negative, total))


def other_moment(anchor: int, negative: int, total: int) -> int:
    """The negative's start, moved on by a third of the video where it lies at the anchor's; all counted from 1."""
    if abs(negative - anchor) < 2:
        negative = (negative + total // 3) % total
    return negative or 1


def positions(start: int, total: int, frames: int, stride: int) -> Positions:
    """The frames of a clip, counted from 0, for a `start` counted from 1.

    A next frame beyond total - stride + 1 (from 1) jumps back to the first one.
    """
    found, place = [], start
    for _ in range(frames):
        found.append(place - 1)
        place = place + stride if place + stride <= total - stride + 1 else 1
    return np.array(found, np.int64)


def initialise(network: nn.Module) -> None:
    """First weights of the released code: convolutions Xavier-uniform, gain sqrt(2); BatchNorm scales N(1, 0.02)."""
    for part in network.modules():
        if isinstance(part, nn.Conv3d):
            nn.init.xavier_uniform_(part.weight, gain=math.sqrt(2))
        elif isinstance(part, nn.BatchNorm3d):
            nn.init.normal_(part.weight, 1.0, 0.02)
