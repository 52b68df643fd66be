"""3DRotNet: learn by telling how far a clip has been turned.

Jing, Yang, Liu, Tian, "Self-supervised spatiotemporal feature learning via video rotation prediction" (arXiv
1811.11387). A whole clip is turned by a multiple of 90 degrees; the network says by which. To answer, it must know what
stands upright and how things move.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kinema.backbones import build_backbone
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Frames, Read, Sample, tensor
from kinema.data.sampling import clip_positions, clip_span, draw_start
from kinema.errors import RecipeError
from kinema.methods.base import Losses, Method, Phase, Picture
from kinema.methods.encoders import ConvEncoder
from kinema.methods.pretext import UNCHANGED, Look, sampled_index, side_by_side
from kinema.modules.encoder import Products
from kinema.targets.rotation import all_turns, quarter_turns, turn_each


class RotNet(Method):
    """Video rotation prediction.

    Args:
        backbone: a name of `kinema.backbones.BACKBONES`; resnet3d_18 is the paper's.
        width: channels of the first stage; 64 is the published size.
        angles: the turns in degrees, counter-clockwise, multiples of 90. The benchmark's complexity levels are the
            first two, three and four of 0, 90, 180, 270; which two it used at C1 is not said.
        rotations: "all" shows every clip under every turn (paper), "sample" under one drawn turn (CtP).
        dropout: before the classifier.
        init_std: standard deviation of the classifier's first weights (CtP: 0.001, biases 0); null: torch's own.
        frames: frames of a clip.
        strides: distances of its frames, in frames of the sampled rate, one of which is drawn per clip; 1 alone is what
            the paper is remembered to use (unverified), CtP draws from 1 to 5. Networks are later fed the median.
        jitter: move every frame within its stride (CtP).
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames as read.
        resizes: sizes to which they are scaled before the crop, one of which is drawn; empty: none.
        size: side of the square crop.
        flip: probability of a horizontal mirror.
        rotation: largest small turn in degrees, either way, before the crop; published 0.
        colour: largest change of brightness (added, share of white), contrast and saturation (factors), hue (turns).
        colour_p: probability of each of the four.
        border: share of the frame left out along each side: bars and logos give the answer away.
        clips: "random" is one random clip per video, "windows" one in every window of a clip's length.
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet3d_18",
        width: int = 64,
        angles: tuple[int, ...] = (0, 90, 180, 270),
        rotations: Literal["all", "sample"] = "all",
        dropout: float = 0.5,
        init_std: float | None = 0.001,
        frames: int = 16,
        strides: tuple[int, ...] = (1,),
        jitter: bool = False,
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        resizes: tuple[tuple[int, int], ...] = (),
        size: int = 112,
        flip: float = 0.5,
        rotation: float = 0.0,
        colour: tuple[float, float, float, float] = UNCHANGED,
        colour_p: float = 0.2,
        border: float = 0.0,
        clips: Literal["random", "windows"] = "random",
    ) -> None:
        super().__init__()
        if not strides or min(strides) < 1:
            raise RecipeError(f"strides={list(strides)}: give at least one distance of 1 or more")
        self.look = Look(
            resize,
            size,
            resizes=resizes,
            flip=flip,
            rotation=rotation,
            colour=colour,
            colour_p=colour_p,
            border=border,
        )
        self.quarters, self.rotations = quarter_turns(angles), rotations
        self.strides, self.jitter, self.sampling = tuple(strides), jitter, clips
        self.input = self.look.input(frames, sorted(strides)[(len(strides) - 1) // 2], rate)
        trunk = build_backbone(backbone, width=width)
        self.encoder = ConvEncoder(trunk, self.input)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.feature_dim, len(self.quarters))
        if init_std is not None:
            nn.init.normal_(self.head.weight, std=init_std)
            nn.init.zeros_(self.head.bias)

    def index(self, manifest: Manifest) -> Index:
        """One sample per video, or one per window of the longest clip."""
        frames = self._span(max(self.strides))
        return sampled_index(manifest, self.sampling, frames=frames, rate=self.input.rate)

    def _span(self, stride: int) -> int:
        return clip_span(self.input.frames, stride) + self.jitter * (stride - 1)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """A clip at a random start, its look, and its turn. Videos shorter than a clip repeat their last frame."""
        available = index.frames(i, rate=self.input.rate)
        stride = self.strides[int(rng.integers(len(self.strides)))]
        positions = clip_positions(draw_start(rng, len(available), self._span(stride)), self.input.frames, stride)
        if self.jitter:
            positions = positions + rng.integers(stride, size=len(positions))
        chosen = available[np.minimum(positions, len(available) - 1)]
        label = np.array(rng.integers(len(self.quarters)))
        reads: dict[str, Read] = {"video": Frames(int(index.rows[i]), chosen, self.look.resize)}
        return Sample(reads, {**self.look.draw(rng), "label": label})

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Everything else first, the turn last, so that no border gives it away.

        Returns "video" uint8 [B, 3, T, S, S], upright for rotations="all", and "label" int64 [B], the drawn turn.
        """
        video, label = self._upright(batch), tensor(batch, "label")
        if self.rotations == "sample":
            video = turn_each(video, label, self.quarters)
        return {"video": video, "label": label}

    def _upright(self, batch: Batch) -> Tensor:
        return self.look.colours(self.look.geometry(tensor(batch, "video"), batch), batch)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised clips [B, 3, T, S, S] to logits [B, R] of the turns."""
        logits: Tensor = self.head(self.dropout(self.encoder(x).pooled))
        return logits

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """-log F_r(g(x | r)), the mean over clips, and over all turns r where all are shown; "accuracy" of the turn."""
        video, label = tensor(batch, "video"), tensor(batch, "label")
        if self.rotations == "all":
            video, label = all_turns(video, self.quarters)
        logits = self(self.input.normalise(video))
        accuracy = (logits.argmax(1) == label).float().mean()
        return {"loss": cross_entropy(logits, label), "parts": {"accuracy": accuracy}}

    def pictures(self, batch: Batch) -> list[Picture]:
        """One clip under every turn."""
        upright = self._upright(batch)[:1]
        caption = "One training clip under every turn that the network must tell apart."
        return [Picture("How far was it turned?", caption, side_by_side(all_turns(upright, self.quarters)[0]))]

    def products(self) -> Products:
        """The video encoder."""
        return Products({"video": self.encoder})
