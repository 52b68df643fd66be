"""VCOP: learn by telling in which order clips were shown.

Xu, Xiao, Zhao, Shao, Xie, Zhuang, "Self-supervised spatiotemporal learning via video clip order prediction", CVPR 2019.
A few short clips are cut out of one video and shuffled; a shared network sees each of them, and a small head compares
them in pairs and names the order, one of N!.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kinema.backbones import build_backbone
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Frames, Read, Sample, tensor
from kinema.data.sampling import clip_span, draw_start, long_enough, spread_positions, tuple_positions, tuple_span
from kinema.errors import RecipeError
from kinema.methods.base import Losses, Method, Phase, Picture
from kinema.methods.encoders import ConvEncoder
from kinema.methods.pretext import PIXELS, UNCHANGED, Look, drawn_per_clip, sampled_index, side_by_side
from kinema.modules.encoder import Products
from kinema.modules.order import PairwiseOrderHead, RecurrentOrderHead
from kinema.targets.order import permutation_rank


class VCOP(Method):
    """Video clip order prediction.

    Args:
        backbone: a name of `kinema.backbones.BACKBONES`; c3d, r3d and r2plus1d are published.
        width: channels of the first stage; 64 is the published size.
        tuple_length: clips that are shuffled, 2 to 5. The benchmark's complexity levels are 3, 4 and 5.
        interval: frames left out between clips; the least where `max_interval` is given.
        max_interval: largest interval, drawn uniformly up to what the video allows (CtP); null: always `interval`.
        short: videos too short for a tuple: "exclude" them (official lists), or "spread" the clips evenly, overlapping
            where they must (CtP).
        head: "pairwise", or "lstm" or "gru" over the clips' vectors, in the official code but not its default.
        hidden: width of the recurrent heads' state.
        dropout: before the pairwise head's last layer (official 0.5; CtP's class 0.25, its configuration 0.5).
        init: first weights of the pairwise head, "torch"'s own (official) or "ctp".
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames as read.
        resizes: sizes to which they are scaled before the crop, one of which is drawn; empty: none.
        size: side of the square crop.
        flip: probability of a horizontal mirror of a clip; published 0.
        rotation: largest small turn in degrees, either way; published 0.
        colour: largest change of brightness (added, share of white), contrast and saturation (factors), hue (turns).
        colour_p: probability of each of the four.
        imagenet: subtract ImageNet's mean and divide by its deviation, instead of values in [0, 1] as published.
        clips: "random" is one random tuple per video, "windows" one in every window of a tuple's length.
    """

    def __init__(
        self,
        *,
        backbone: str = "r3d",
        width: int = 64,
        tuple_length: int = 3,
        interval: int = 8,
        max_interval: int | None = None,
        short: Literal["exclude", "spread"] = "exclude",
        head: Literal["pairwise", "lstm", "gru"] = "pairwise",
        hidden: int = 512,
        dropout: float = 0.5,
        init: Literal["torch", "ctp"] = "torch",
        frames: int = 16,
        stride: int = 1,
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        resizes: tuple[tuple[int, int], ...] = (),
        size: int = 112,
        flip: float = 0.0,
        rotation: float = 0.0,
        colour: tuple[float, float, float, float] = UNCHANGED,
        colour_p: float = 0.2,
        imagenet: bool = False,
        clips: Literal["random", "windows"] = "random",
    ) -> None:
        super().__init__()
        if not 2 <= tuple_length <= 5:
            raise RecipeError(f"tuple_length={tuple_length}: 2 to 5 clips, which have 2 to 120 orders")
        if interval < 0 or (max_interval is not None and max_interval < interval):
            raise RecipeError(
                f"interval={interval}, max_interval={max_interval}: give 0 or more, the smaller one first"
            )
        self.look = Look(resize, size, resizes=resizes, flip=flip, rotation=rotation, colour=colour, colour_p=colour_p)
        self.tuple_length, self.interval, self.short, self.sampling = tuple_length, interval, short, clips
        self.max_interval = interval if max_interval is None else max_interval
        self.input = self.look.input(frames, stride, rate, normalisation=None if imagenet else PIXELS)
        trunk = build_backbone(backbone, width=width)
        self.encoder = ConvEncoder(trunk, self.input)
        self.head: nn.Module
        if head == "pairwise":
            self.head = PairwiseOrderHead(trunk.feature_dim, tuple_length, dropout=dropout, init=init)
        else:
            self.head = RecurrentOrderHead(trunk.feature_dim, tuple_length, hidden=hidden, kind=head)

    def need(self, interval: int) -> int:
        """Frames of a tuple: N spans of a clip and N - 1 intervals; 64 for the published three clips."""
        return tuple_span(self.tuple_length, self.input.frames, stride=self.input.stride, interval=interval)

    def index(self, manifest: Manifest) -> Index:
        """One sample per video, or per window of a tuple; what is too short is left out and counted, or kept."""
        rate = self.input.rate
        index = sampled_index(manifest, self.sampling, frames=self.need(self.max_interval), rate=rate)
        return long_enough(index, self.need(self.interval), rate=rate) if self.short == "exclude" else index

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """The clips in shuffled order, one read; a look for each of them; the order and its class."""
        available = index.frames(i, rate=self.input.rate)
        order = rng.permutation(self.tuple_length)
        chosen = available[self._positions(len(available), rng)[order]]
        looks = drawn_per_clip([self.look.draw(rng) for _ in range(self.tuple_length)])
        reads: dict[str, Read] = {"video": Frames(int(index.rows[i]), chosen.ravel(), self.look.resize)}
        return Sample(reads, {**looks, "order": order, "label": np.array(permutation_rank(order.tolist()))})

    def _positions(self, total: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Clips in temporal order, [N, T]."""
        count, frames, stride = self.tuple_length, self.input.frames, self.input.stride
        if total < self.need(self.interval):
            return spread_positions(total, count, frames, stride=stride)
        room = (total - count * clip_span(frames, stride)) // (count - 1)
        interval = int(rng.integers(self.interval, min(self.max_interval, room) + 1))
        start = draw_start(rng, total, self.need(interval))
        return tuple_positions(start, count, frames, stride=stride, interval=interval)

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Every clip in its own crop.

        Returns "video" uint8 [B, N, 3, T, S, S], "label" int64 [B] in 0 … N! - 1, "order" int64 [B, N].
        """
        video = tensor(batch, "video")
        clips = video.view(*video.shape[:2], self.tuple_length, -1, *video.shape[3:]).transpose(1, 2).flatten(0, 1)
        read = {"video", "label", "order", "sample"}
        draws = {name: tensor(batch, name).flatten(0, 1) for name in batch if name not in read}
        clips = self.look.colours(self.look.geometry(clips, draws), draws)
        shown = clips.view(len(video), self.tuple_length, *clips.shape[1:])
        return {"video": shown, "label": tensor(batch, "label"), "order": tensor(batch, "order")}

    def forward(self, x: Tensor) -> Tensor:
        """Normalised tuples [B, N, 3, T, S, S] to logits [B, N!]."""
        pooled = self.encoder(x.flatten(0, 1)).pooled
        logits: Tensor = self.head(pooled.view(len(x), self.tuple_length, -1))
        return logits

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Cross-entropy of the order; "accuracy" is the share of orders told."""
        video, label = tensor(batch, "video"), tensor(batch, "label")
        logits = self(self.input.normalise(video.flatten(0, 1)).view(video.shape))
        accuracy = (logits.argmax(1) == label).float().mean()
        return {"loss": cross_entropy(logits, label), "parts": {"accuracy": accuracy}}

    def pictures(self, batch: Batch) -> list[Picture]:
        """One tuple as shown, with its order."""
        found = self.prepare(batch, torch.Generator())
        order = ", ".join(str(place + 1) for place in tensor(found, "order")[0].tolist())
        caption = (
            f"One training tuple as the network sees it; in the video, these clips came in the places {order}. "
            f"The network must tell which of {math.factorial(self.tuple_length)} orders it is."
        )
        return [Picture("In which order?", caption, side_by_side(tensor(found, "video")[0]))]

    def products(self) -> Products:
        """The video encoder."""
        return Products({"video": self.encoder})
