"""VideoMAE: fill in what tubes of nine tenths of a clip hide.

Tong, Song, Wang, Wang, "VideoMAE: masked autoencoders are data-efficient learners for self-supervised video
pre-training", NeurIPS 2022 (arXiv 2203.12602). Neighbouring frames show nearly the same, so that a patch hidden in one
of them can be copied from the next. Patches are hidden at the same places in all frames, and nine tenths of them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kinema.backbones.vit import VisionTransformer, vit_size
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sample import Array, Batch, Clock, Frames, Read, Sample, tensor
from kinema.data.sampling import draw_start
from kinema.losses.reconstruction import masked_error
from kinema.methods.base import Losses, Method, ParamGroup, Phase, Picture
from kinema.methods.encoders import ViTEncoder
from kinema.methods.masked import MaskedAutoencoder, filled
from kinema.methods.pretext import Sampling, sampled_index, side_by_side
from kinema.modules.encoder import EncoderInput, Products
from kinema.modules.transformer import TokenDecoder, patchify, take, unpatchify
from kinema.targets.masking import Masking, frame_masking, random_masking, tube_masking
from kinema.targets.patches import Standard, standardise, unstandardise
from kinema.views.augment import ClipAugment
from kinema.views.crops import MULTI_SCALE, MultiScaleCrop

Masks = Literal["tube", "random", "frame"]
_GREY = 127


class DecoderSize(NamedTuple):
    """Width, depth and heads of the decoder."""

    width: int
    depth: int
    heads: int


DECODERS: dict[str, DecoderSize] = {
    "tiny": DecoderSize(96, 4, 3),
    "small": DecoderSize(192, 4, 3),
    "base": DecoderSize(384, 4, 6),
    "large": DecoderSize(512, 12, 8),
    "huge": DecoderSize(640, 12, 8),
}
"""Decoders of the released scripts, by the encoder's size; "tiny" is ours."""


class VideoMAE(Method):
    """Masked autoencoder of clips.

    Args:
        model: size of the encoder: "tiny", "small", "base", "large" or "huge".
        width, depth, heads: of the encoder, where they are not those of `model`.
        decoder_width, decoder_depth, decoder_heads: of the decoder, where they are not those that belong to `model`.
        patch: side of a patch in pixels.
        tubelet: frames of a patch.
        masks: "tube" hides the same places at all times (published), "random" any patches, "frame" whole times.
        mask: share of hidden patches: published 0.9, 0.75 on UCF101 and HMDB51; of "frame" 0.875.
        target: what is regressed: "channel", the pixels of each patch standardised in each colour (published); "patch",
            over all its values; "none", pixels in [0, 1].
        distance: "mse" (published), "l1" or "smooth_l1".
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate: published 4, 2 on Something-Something and HMDB51.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames as read.
        size: side of the square clips.
        scales: sides of the crop as shares of the frame's short side, of which height and width are drawn.
        flip: probability of a horizontal mirror; the released code has none.
        clips: "random" takes one clip of each video once an epoch (published), "windows" one of each stretch of
            frames x stride frames.
    """

    def __init__(
        self,
        *,
        model: str = "base",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        decoder_width: int | None = None,
        decoder_depth: int | None = None,
        decoder_heads: int | None = None,
        patch: int = 16,
        tubelet: int = 2,
        masks: Masks = "tube",
        mask: float = 0.9,
        target: Standard = "channel",
        distance: Literal["mse", "l1", "smooth_l1"] = "mse",
        frames: int = 16,
        stride: int = 4,
        rate: float | None = None,
        resize: tuple[int, int] = (256, 340),
        size: int = 224,
        scales: tuple[float, ...] = MULTI_SCALE,
        flip: float = 0.0,
        clips: Sampling = "random",
    ) -> None:
        super().__init__()
        encoder, small = vit_size(model, width=width, depth=depth, heads=heads), DECODERS[model]
        self.input = EncoderInput("video", frames, stride, rate, resize, (size, size))
        trunk = VisionTransformer((frames, size, size), (tubelet, patch, patch), **encoder._asdict())
        decoder = TokenDecoder(
            trunk.grid,
            encoder.width,
            width=decoder_width or small.width,
            depth=decoder_depth or small.depth,
            heads=decoder_heads or small.heads,
            outputs=3 * tubelet * patch * patch,
            projection_bias=False,
            bias="qv",
            mask_cut=True,
        )
        self.network = MaskedAutoencoder(trunk, decoder)
        self.masks, self.mask, self.target, self.distance, self.sampling = masks, mask, target, distance, clips
        self.augment = ClipAugment((size, size), MultiScaleCrop(scales), flip=flip)
        # Refuse now a share that would hide all or nothing.
        self.masking(torch.zeros(1, self._places))
        for name, values in (("mean", self.input.mean), ("std", self.input.std)):
            self.register_buffer(name, 255 * torch.tensor(values).repeat(tubelet * patch**2), persistent=False)

    mean: Tensor
    std: Tensor

    @property
    def _places(self) -> int:
        """What is drawn of: places of one slice, times, or both."""
        times, height, width = self.network.trunk.grid
        return {"tube": height * width, "frame": times, "random": times * height * width}[self.masks]

    def index(self, manifest: Manifest) -> Index:
        """One sample per video, or one per stretch of frames x stride frames."""
        return sampled_index(
            manifest, self.sampling, frames=self.input.frames * self.input.stride, rate=self.input.rate
        )

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """A clip anywhere in the window, its crop, and the noise of its mask."""
        available, video = index.frames(i, rate=self.input.rate), index.video(i)
        frames, stride = self.input.frames, self.input.stride
        start = draw_start(rng, len(available), frames * stride)
        chosen = available[reachable_positions(start, frames, stride, len(available))]
        draws: dict[str, Array] = {"noise": rng.random(self._places, np.float32)}
        draws |= self.augment.draw(rng, self.input.resize, measured=(video.height, video.width))
        reads: dict[str, Read] = {"video": Frames(int(index.rows[i]), chosen, self.input.resize)}
        return Sample(reads, draws)

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Crop and mirror, cut into patches uint8 [B, N, P], and say which are "kept" and "hidden"."""
        clips = self.augment.geometry(tensor(batch, "video"), batch)
        kept, hidden = self.masking(tensor(batch, "noise"))
        return {"patches": patchify(clips, self.network.trunk.patch), "kept": kept, "hidden": hidden}

    def masking(self, noise: Tensor) -> Masking:
        """Which patches are hidden, from noise [B, places]."""
        times, height, width = self.network.trunk.grid
        if self.masks == "tube":
            return tube_masking(noise, times, self.mask)
        if self.masks == "frame":
            return frame_masking(noise, height * width, self.mask)
        return random_masking(noise, self.mask)

    def predict(self, patches: Tensor, masking: Masking) -> Tensor:
        """Patches uint8 [B, N, P] to predictions [B, M, P] of the hidden ones; the others are all that is looked at."""
        seen = (take(patches, masking.kept) - self.mean).div_(self.std)
        return self.network.forward_seen(seen, masking).predicted

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Mean error of all values of all hidden patches (Sec. 3.1)."""
        patches, masking = tensor(batch, "patches"), Masking(tensor(batch, "kept"), tensor(batch, "hidden"))
        predicted = self.predict(patches, masking)
        truth = standardise(take(patches, masking.hidden).float().div_(255), self.target)
        return {"loss": masked_error(predicted, truth, distance=self.distance), "parts": {}}

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """Biases, other vectors and the mask token do not decay, as in the released code."""
        return ParamGroup(weight_decay=float(parameter.ndim > 1 and not name.endswith("mask_token")))

    def pictures(self, batch: Batch) -> list[Picture]:
        """A few clips and what is left of them."""
        patches, masking = self._shown(batch)
        blank = torch.full((*masking.hidden.shape, patches.shape[-1]), _GREY, dtype=torch.uint8)
        caption = (
            f"Training clips (above) and what the network sees of them (below): {self.mask:.0%} of the patches are "
            "hidden, and it must tell their pixels."
        )
        return [Picture("What is hidden?", caption, self._rows(patches, filled(patches, blank, masking)))]

    def answers(self, batch: Batch) -> list[Picture]:
        """The same clips completed, with brightness and contrast of what was hidden, and without."""
        patches, masking = self._shown(batch)
        predicted, truth = self.predict(patches, masking), take(patches, masking.hidden)
        blank = torch.full_like(truth, _GREY)
        scaled = unstandardise(predicted, truth.float() / 255, self.target)
        seen = take(patches, masking.kept).float() / 255
        own = _in_colours_of(seen, predicted) if self.target == "channel" else None
        completed = [filled(patches, _to_bytes(values), masking) for values in (scaled, own) if values is not None]
        caption = f"From above: the clip, what the network sees ({1 - self.mask:.0%}), and how it fills in the rest. "
        if self.target != "none":
            caption += (
                "It predicts patches of mean 0 and variance 1; in the third row brightness and contrast of each hidden "
                "patch are taken from the truth, which the network does not know"
            )
            caption += "; in the fourth, from what it sees of the clip." if own is not None else "."
        rows = self._rows(patches, filled(patches, blank, masking), *completed)
        return [Picture("What it fills in", caption, rows)]

    def _shown(self, batch: Batch) -> tuple[Tensor, Masking]:
        """Patches and masks of the first clips of a batch as read."""
        first: Batch = {name: tensor(batch, name)[:4] for name in ("video", "noise", "box", "flip")}
        ready = self.prepare(first, torch.Generator())
        return tensor(ready, "patches"), Masking(tensor(ready, "kept"), tensor(ready, "hidden"))

    def _rows(self, *patches: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        trunk = self.network.trunk
        rows = torch.cat([unpatchify(part.cpu(), trunk.grid, trunk.patch) for part in patches], 3)
        return side_by_side(rows)

    def products(self) -> Products:
        """The video encoder: the mean of all its tokens is the clip's vector."""
        return Products({"video": ViTEncoder(self.network.trunk, self.input)})


def reachable_positions(start: int, frames: int, stride: int, total: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The positions of a clip in a window of `total` frames, as released: a step that would leave it is not taken.

    Nor is one that would reach the last frame of all, since the released code compares positions counted from 1.
    """
    last = max(0, total - 2 - start) // stride
    return start + stride * np.minimum(np.arange(frames, dtype=np.int64), last)


def _in_colours_of(seen: Tensor, predicted: Tensor) -> Tensor:
    """Standardised patches [B, M, P] with the average mean and deviation of the `seen` patches [B, K, P] of a clip."""
    colours = seen.unflatten(-1, (-1, 3))  # type: ignore[no-untyped-call]
    mean, deviation = colours.mean((1, 2)), colours.std(2).mean(1)
    values: Tensor = predicted.unflatten(-1, (-1, 3)) * deviation[:, None, None] + mean[:, None, None]  # type: ignore[no-untyped-call]
    return values.flatten(-2)


def _to_bytes(values: Tensor) -> Tensor:
    return (255 * values).round().clamp(0, 255).to(torch.uint8)
