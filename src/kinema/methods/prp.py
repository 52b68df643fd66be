"""PRP: learn from the rate at which a clip is played.

Yao, Liu, Luo, Zhou, Ye, "Video playback rate perception for self-supervised spatio-temporal representation learning",
CVPR 2020 (arXiv 2006.11476). A clip is sampled with a dilation. One branch tells the dilation, another reconstructs the
clip in slow motion, with the frames that the dilation left out; moving regions count more.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kinema.backbones import build_backbone
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Frames, Read, Sample, tensor
from kinema.data.sampling import block_positions, draw_start, long_enough, slow_motion_positions
from kinema.errors import RecipeError
from kinema.losses.playback import masked_reconstruction_loss
from kinema.methods.base import Losses, Method, ParamGroup, Phase, Picture
from kinema.methods.encoders import ConvEncoder
from kinema.methods.pretext import PIXELS, UNCHANGED, Look, sampled_index, side_by_side
from kinema.modules.decoders import DoublingDecoder, conv_unit
from kinema.modules.encoder import Products
from kinema.targets.playback import gauss_mask, pooled_mask, slow_motion_target, window_differences

COMPARED = 4
"""Frames of a block that are compared for its motion mask: 0, 5, 10 and 15 of 16."""


class PRP(Method):
    """Playback rate perception.

    Args:
        backbone: a name of `kinema.backbones.BACKBONES`; c3d, r3d and r2plus1d are published.
        width: channels of the first stage; 64 is the published size.
        dilations: distances of a clip's frames, one of which is drawn: 1 or even, and their least common multiple a
            divisor of twice `frames`. The benchmark's complexity levels are 1, 2; 1, 2, 4 (presumably); 1, 2, 4, 8.
        short: videos too short for the largest dilation: "exclude" them, so that all dilations are as likely in every
            video, or draw among the dilations that "fit". The released code puts another video in their place.
        start: "published" leaves out the last frames, as the released code's arithmetic does; "uniform" does not.
        mask: "dpau" (difference, pooling, activation, up-sampling), "gauss" or "constant".
        mask_range: least and largest weight of a mask.
        rate_weight: of the cross-entropy of the dilation, added to the reconstruction's error.
        classifier_lr: learning rate of the layer fc8 that tells the dilation, as a multiple of the others'.
        fit: what is done where the decoder's frames come out too large (small networks): "crop" or "interpolate". Not
            in any source.
        frames: frames of a clip.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames as read.
        size: side of the square crop.
        crop: "centre" as published, or "random" (benchmark).
        resizes: sizes to which frames are scaled before a random crop, one of which is drawn; empty: none.
        flip: probability of a horizontal mirror; published 0.
        rotation: largest small turn in degrees, either way; published 0.
        colour: largest change of brightness (added, share of white), contrast and saturation (factors), hue (turns).
        colour_p: probability of each of the four.
        clips: "random" is one random clip per video, "windows" one in every window that the largest dilation needs.
    """

    def __init__(
        self,
        *,
        backbone: str = "c3d",
        width: int = 64,
        dilations: tuple[int, ...] = (1, 2, 4, 8),
        short: Literal["exclude", "fit"] = "exclude",
        start: Literal["published", "uniform"] = "published",
        mask: Literal["dpau", "gauss", "constant"] = "dpau",
        mask_range: tuple[float, float] = (0.8, 2.0),
        rate_weight: float = 0.1,
        classifier_lr: float = 10.0,
        fit: Literal["crop", "interpolate"] = "crop",
        frames: int = 16,
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        size: int = 112,
        crop: Literal["centre", "random"] = "centre",
        resizes: tuple[tuple[int, int], ...] = (),
        flip: float = 0.0,
        rotation: float = 0.0,
        colour: tuple[float, float, float, float] = UNCHANGED,
        colour_p: float = 0.2,
        clips: Literal["random", "windows"] = "random",
    ) -> None:
        super().__init__()
        self.look = Look(
            resize, size, crop, resizes=resizes, flip=flip, rotation=rotation, colour=colour, colour_p=colour_p
        )
        self.dilations, self.slots = tuple(dilations), _mask_slots(dilations, frames)
        self.short, self.start, self.mask, self.mask_range = short, start, mask, mask_range
        self.rate_weight, self.classifier_lr, self.sampling = rate_weight, classifier_lr, clips
        self.input = self.look.input(frames, 1, rate, normalisation=PIXELS)
        trunk = build_backbone(backbone, width=width)
        self.encoder = ConvEncoder(trunk, self.input)
        channels = trunk.feature_dim
        with torch.device("meta"):
            clip = torch.empty(1, 3, frames, size, size)
            shape = build_backbone(backbone, width=width).eval().forward_map(clip).shape
        self.rate_unit, self.slow_unit = conv_unit(channels, channels), conv_unit(channels, channels)
        self.fc8 = nn.Linear(channels, len(self.dilations))
        self.decoder = DoublingDecoder(
            channels, map_size=(shape[2], shape[3], shape[4]), size=(2 * frames, size, size), fit=fit
        )

    def need(self, dilation: int) -> int:
        """Frames that a video must have for a clip of this dilation."""
        return self.input.frames * dilation + (self.start == "published")

    def index(self, manifest: Manifest) -> Index:
        """One sample per video, or per window; what is too short for the dilations is left out and counted."""
        rate, longest = self.input.rate, self.need(max(self.dilations))
        index = sampled_index(manifest, self.sampling, frames=longest, rate=rate)
        return long_enough(index, longest if self.short == "exclude" else self.need(min(self.dilations)), rate=rate)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """A dilation, a start, the frames of the slow-motion clip, and those that its motion mask compares."""
        available = index.frames(i, rate=self.input.rate)
        labels = [label for label, dilation in enumerate(self.dilations) if self.need(dilation) <= len(available)]
        label = labels[int(rng.integers(len(labels)))]
        dilation, frames = self.dilations[label], self.input.frames
        start = draw_start(rng, len(available), self.need(dilation))
        if self.start == "published":
            start = max(0, start - 1)
        row = int(index.rows[i])
        shown = available[slow_motion_positions(start, frames, dilation)]
        reads: dict[str, Read] = {"shown": Frames(row, shown, self.look.resize)}
        if self.mask != "constant":
            places = np.linspace(0, frames - 1, COMPARED).round().astype(np.int64)
            blocks = block_positions(start, frames, dilation, places.tolist())
            # Every sample of a batch gets as many blocks, whatever its dilation.
            repeated = blocks[np.arange(self.slots) * dilation // self.slots]
            reads["compared"] = Frames(row, available[repeated.ravel()], self.look.resize)
        return Sample(reads, {**self.look.draw(rng), "label": np.array(label), "dilation": np.array(dilation)})

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """One look for all frames of a sample; masks before colours.

        Returns "shown" uint8 [B, 3, 2T, S, S], whose every second frame is the clip; "label" and "dilation" int64 [B];
        "mask" float32 [B, 3 or 1, slots, S, S] unless it is constant, each slot for as many consecutive frames.
        """
        shown = self.look.geometry(tensor(batch, "shown"), batch)
        labels = {"label": tensor(batch, "label"), "dilation": tensor(batch, "dilation")}
        prepared: Batch = {"shown": self.look.colours(shown, batch), **labels}
        if "compared" in batch:
            prepared["mask"] = self._masks(self.look.geometry(tensor(batch, "compared"), batch))
        return prepared

    def _masks(self, compared: Tensor) -> Tensor:
        """uint8 [B, 3, slots 4, S, S] to masks [B, 3 or 1, slots, S, S]; windows are a quarter of the clip wide."""
        blocks = torch.cat(compared.chunk(self.slots, 2)).float().div_(255)
        size = self.look.size
        window, step, (low, high) = size // 4, max(1, size // 16), self.mask_range
        differences = window_differences(blocks, window, step)
        if self.mask == "dpau":
            masks = pooled_mask(differences, size, low=low, high=high)
        else:
            masks = gauss_mask(differences, size, window=window, step=step, sigma=size / 8, low=low, high=high)
        return torch.stack(masks.chunk(self.slots), 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised clips [B, 3, T, S, S] to logits [B, len(dilations)] and frames [B, 3, 2T, S, S], at least 0."""
        features = self.encoder(x).map
        logits = self.fc8(self.rate_unit(features).mean((2, 3, 4)))
        return logits, self.decoder(self.slow_unit(features))

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """L_gen + rate_weight L_dis; "accuracy" is the share of dilations told."""
        shown, label = tensor(batch, "shown"), tensor(batch, "label")
        logits, output = self(self.input.normalise(shown[:, :, ::2]))
        target = slow_motion_target(shown.float() / 255, tensor(batch, "dilation"))
        if "mask" in batch:
            mask = tensor(batch, "mask").repeat_interleave(shown.shape[2] // self.slots, 2)
        else:
            mask = target.frames.new_ones(())
        reconstruction = masked_reconstruction_loss(output, target.frames, mask, target.known)
        rate = cross_entropy(logits, label)
        accuracy = (logits.argmax(1) == label).float().mean()
        parts = {"reconstruction": reconstruction, "rate": rate, "accuracy": accuracy}
        return {"loss": reconstruction + self.rate_weight * rate, "parts": parts}

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """fc8 learns ten times as fast, its loss being weighted by a tenth."""
        return ParamGroup(lr=self.classifier_lr) if name.startswith("fc8.") else ParamGroup()

    def pictures(self, batch: Batch) -> list[Picture]:
        """The fastest clip of a few: as the network sees it, and in slow motion."""
        found = self.prepare(batch, torch.Generator())
        best = int(tensor(found, "dilation").argmax())
        target = tensor(found, "shown")[best]
        seen = target[:, ::2].repeat_interleave(2, 1)
        caption = (
            f"Left, a training clip with every {self.dilations[int(tensor(found, 'label')[best])]}th frame: the "
            "network must tell that number. Right, what it must draw: the frames between as well."
        )
        return [Picture("How fast is it played?", caption, side_by_side(torch.stack([seen, target])))]

    def products(self) -> Products:
        """The video encoder."""
        return Products({"video": self.encoder})


def _mask_slots(dilations: tuple[int, ...], frames: int) -> int:
    """The number of blocks into which all dilations' masks can be cut alike: their least common multiple."""
    slots = math.lcm(*dilations) if dilations else 0
    odd = [dilation for dilation in dilations if dilation < 1 or (dilation > 1 and dilation % 2)]
    if len(set(dilations)) < max(2, len(dilations)) or odd or 2 * frames % slots:
        raise RecipeError(
            f"dilations={list(dilations)}: give at least two different ones, each 1 or even, whose least common "
            f"multiple divides twice the frames ({2 * frames})"
        )
    return slots
