"""child-view: a spatiotemporal masked autoencoder, learned from what a child saw.

Orhan, Wang, Wang, Ren, Lake, "Self-supervised learning of video representations from a child's perspective", CogSci
2024 (arXiv 2402.00300), after Feichtenhofer et al., "Masked autoencoders as spatiotemporal learners", NeurIPS 2022. A
vanilla transformer sees a tenth of a clip's space-time patches, drawn at random, and paints the others.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones.vit import VisionTransformer, vit_size
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sample import Array, Batch, Clock, Frames, Sample, tensor
from kinema.data.sampling import spread_over
from kinema.errors import RecipeError
from kinema.losses.reconstruction import masked_error
from kinema.methods.base import Losses, Method, ParamGroup, Phase, Picture
from kinema.methods.encoders import StillEncoder, ViTEncoder
from kinema.methods.interpolation import Fillings, filling_errors, fillings, middle_masking
from kinema.methods.masked import MaskedAutoencoder, filled, frames_of, predicted_frames
from kinema.methods.pretext import drawn_per_clip, side_by_side, stretches
from kinema.modules.encoder import EncoderInput, Products
from kinema.modules.transformer.decoder import TokenDecoder
from kinema.modules.transformer.patches import patchify, take, unpatchify
from kinema.targets.masking import Masking, random_masking
from kinema.targets.patches import Standard, standardise, unstandardise
from kinema.views.augment import ClipAugment
from kinema.views.colour import to_uint8
from kinema.views.crops import ResizedCrop

SHOWN = 3
"""Clips in a picture."""

PLAYED = 4.0
"""Frames per second of pictures, about the published rate of clips."""

MEAN, STD = (0.45,) * 3, (0.225,) * 3
"""Of all channels, for values in [0, 1]."""


class ChildView(Method):
    """Masked autoencoder on clips of long recordings.

    A sample is one visit of a stretch of video, of which `repeats` clips are taken: a step of `batch` visits sees
    batch x repeats clips, and an epoch visits every stretch once.

    Args:
        model: size of the encoder: "tiny", "small", "base", "large" or "huge" (published).
        width, depth, heads: of the encoder, where they are not those of `model`.
        decoder_width, decoder_depth, decoder_heads: of the decoder.
        patch: side of a patch in pixels.
        tubelet: frames of a patch.
        mask: share of hidden tokens, drawn among all of them whatever their time.
        tables: first values of the learned positions: "normal", truncated, of deviation 0.02 (published), or "waves",
            sines and cosines, from which small networks learn sooner who is near (ours).
        class_token: a learned token in front of the encoder's; the decoder has its own instead of it.
        target: what is predicted: pixels as they are fed ("none", published), or "patch": each patch standardised
            (MAE-ST).
        target_frames: how many of a clip's frames are predicted, evenly spread; null: all (published), 8 in MAE-ST.
        repeats: clips per visit (repeated augmentation).
        windows: "independent" draws a window of time for every clip; with "one" all clips of a visit show the same
            window and differ in their crops, which needs one sixteenth of the decoding.
        window: frames of the sampled rate into whose stretches long recordings are cut, 1800 for a minute; null: a
            file is one stretch, whatever its length (published, on files of one minute).
        frames: frames of a clip, spread evenly over frames x stride frames of the sampled rate.
        stride: see `frames`.
        rate: sampled rate in frames per second, to which other videos' time is scaled; null: each video's own.
        resize: (height, width) of whole frames as read.
        size: side of the square clips.
        scale: range of the crop's area, as a share of the frame.
        ratio: range of the crop's width / height.
        flip: probability of a horizontal mirror; 0 where left and right matter.
        pool: the clip's vector for what uses features as they are: the "mean" of the tokens, or the "class" token,
            which no loss of its own has trained.
        interpolate: share of the clip, in its middle, that held-out clips hide for the measure of interpolation; 0.25
            (published figure). Only looked at (`validation`), never trained on.
    """

    def __init__(
        self,
        *,
        model: str = "huge",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        decoder_width: int = 512,
        decoder_depth: int = 4,
        decoder_heads: int = 16,
        patch: int = 14,
        tubelet: int = 2,
        mask: float = 0.9,
        tables: Literal["normal", "waves"] = "normal",
        class_token: bool = True,
        target: Standard = "none",
        target_frames: int | None = None,
        repeats: int = 16,
        windows: Literal["independent", "one"] = "independent",
        window: int | None = 1800,
        frames: int = 16,
        stride: int = 8,
        rate: float | None = 30.0,
        resize: tuple[int, int] = (256, 340),
        size: int = 224,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        pool: Literal["mean", "class"] = "mean",
        interpolate: float = 0.25,
    ) -> None:
        super().__init__()
        if repeats < 1:
            raise RecipeError(f"repeats={repeats}: take at least one clip per visit")
        self.input = EncoderInput("video", frames, stride, rate, resize, (size, size), MEAN, STD)
        self.shown, self.target = predicted_frames(frames, tubelet, target_frames), target
        self.target_patch = (tubelet * len(self.shown) // frames, patch, patch)
        trunk = VisionTransformer(
            (frames, size, size),
            (tubelet, patch, patch),
            **vit_size(model, width=width, depth=depth, heads=heads)._asdict(),
            positions="separable",
            class_token=class_token,
            bias="all",
            fused=False,
        )
        decoder = TokenDecoder(
            trunk.grid,
            trunk.feature_dim,
            width=decoder_width,
            depth=decoder_depth,
            heads=decoder_heads,
            outputs=3 * math.prod(self.target_patch),
            positions="separable",
            class_token="own" if class_token else "none",
            fused=False,
        )
        if tables == "waves":
            for positions in (trunk.positions, decoder.positions):
                positions.start_from_waves()
        self.network = MaskedAutoencoder(trunk, decoder)
        self.encoder = ViTEncoder(trunk, self.input, pool=pool)
        self.mask, self.tokens = mask, math.prod(trunk.grid)
        # Refuse now what would fail at the first step, or at the first look.
        middle_masking(1, trunk.grid, interpolate)
        random_masking(torch.zeros(1, self.tokens), mask)
        self.visit = Visit(frames, stride, repeats, windows)
        self.window, self.interpolate = window, interpolate
        self.augment = ClipAugment((size, size), ResizedCrop(scale, ratio), flip)

    def index(self, manifest: Manifest) -> Index:
        """One entry per stretch of `window` frames, or per video."""
        return stretches(manifest, self.window, rate=self.input.rate)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """The windows of one visit, and a crop, a mirror and the noise of a mask for each of its clips."""
        available, video = index.frames(i, rate=self.input.rate), index.video(i)
        chosen = available[self.visit.draw(rng, len(available))].flatten()
        measured = (video.height, video.width)
        draws: list[dict[str, Array]] = [
            {
                **self.augment.draw(rng, self.input.resize, measured=measured),
                "noise": rng.random(self.tokens, np.float32),
            }
            for _ in range(self.visit.repeats)
        ]
        return Sample({"clips": Frames(int(index.rows[i]), chosen, self.input.resize)}, drawn_per_clip(draws))

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """All clips of all visits, cropped and mirrored, as uint8 patches [B R, N, P]; which are "kept" and "hidden".

        "wanted" [B R, N, u p p 3] are the same of the predicted frames, where these are not all.
        """
        draws = {name: tensor(batch, name).flatten(0, 1) for name in ("box", "flip", "noise")}
        clips = self.augment.geometry(self.visit.clips(tensor(batch, "clips")), draws)
        kept, hidden = random_masking(draws["noise"], self.mask)
        cut: Batch = {"patches": patchify(clips, self.network.trunk.patch), "kept": kept, "hidden": hidden}
        if len(self.shown) < self.input.frames:
            cut["wanted"] = patchify(frames_of(clips, self.shown), self.target_patch)
        return cut

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Mean square error of the hidden patches.

        Parts: none in training; of held-out clips, `interpolation`.
        """
        masking = Masking(tensor(batch, "kept"), tensor(batch, "hidden"))
        predicted = self.predict(tensor(batch, "patches"), masking)
        truth = standardise(normal(take(self._wanted(batch), masking.hidden)), self.target)
        parts = {} if self.training or self.target != "none" else self.interpolation(batch)
        return {"loss": masked_error(predicted, truth), "parts": parts}

    def predict(self, patches: Tensor, masking: Masking) -> Tensor:
        """Patches uint8 [B, N, P] to predictions [B, M, u p p 3] of the hidden ones; only the others are looked at."""
        return self.network.forward_seen(normal(take(patches, masking.kept)), masking).predicted

    def interpolation(self, batch: Batch) -> dict[str, Tensor]:
        """Mean square errors of the hidden middle of clips as prepared: by the network, and by the simple ways."""
        found, patches, masking = self._middle(batch)
        errors = filling_errors(found, patches, masking)
        return {f"interpolation_{name}": error for name, error in errors.items()}

    def _wanted(self, batch: Batch) -> Tensor:
        return tensor(batch, "wanted" if "wanted" in batch else "patches")

    def _middle(self, batch: Batch) -> tuple[Fillings, Tensor, Masking]:
        patches, wanted, grid = tensor(batch, "patches"), normal(self._wanted(batch)), self.network.trunk.grid
        masking = middle_masking(len(patches), grid, self.interpolate, device=patches.device)
        predicted = unstandardise(self.predict(patches, masking), take(wanted, masking.hidden), self.target)
        return fillings(wanted, predicted, masking, grid, self.target_patch[0]), wanted, masking

    def pictures(self, batch: Batch) -> list[Picture]:
        """Clips of the first visits, and what the network sees of them."""
        ready, masking = self._first(batch)
        wanted = normal(self._wanted(ready))
        caption = (
            f"Training clips (above) and what the network sees of them (below): {self.mask:.0%} of the patches are "
            "hidden, anywhere in space and time, and it must paint them."
        )
        return [Picture("What is hidden?", caption, self._rows(wanted, _blank(wanted, masking)), PLAYED)]

    def answers(self, batch: Batch) -> list[Picture]:
        """The same clips painted; and their middles, filled by the network and by simple means."""
        ready, masking = self._first(batch)
        wanted = normal(self._wanted(ready))
        predicted = self.predict(tensor(ready, "patches"), masking)
        painted = filled(wanted, unstandardise(predicted, take(wanted, masking.hidden), self.target), masking)
        caption = f"From above: the clip, what the network sees ({1 - self.mask:.0%}), and how it paints the rest."
        if self.target == "patch":
            caption += " Brightness and contrast of each hidden patch are the true ones, which it does not know."
        rows = self._rows(wanted, _blank(wanted, masking), painted)
        return [Picture("What it paints", caption, rows, PLAYED), self._interpolated(ready)]

    def _interpolated(self, ready: Batch) -> Picture:
        found, wanted, masking = self._middle(ready)
        errors = filling_errors(found, wanted, masking)
        told = ", ".join(f"{name} {float(error):.3f}" for name, error in errors.items())
        caption = (
            f"From above: the clip, the clip with its middle {self.interpolate:.0%} hidden, as no training clip was, "
            "and how the network, the nearest visible frame, a blend of both neighbours and the visible mean "
            f"fill it in. Mean square errors: {told}."
        )
        return Picture("What lies between?", caption, self._rows(wanted, _blank(wanted, masking), *found), PLAYED)

    def _rows(self, *patches: Tensor) -> npt.NDArray[np.uint8]:
        """Normalised patches [V, N, u p p 3], one row of moving pictures each."""
        grid = self.network.trunk.grid
        clips = torch.cat([unpatchify(part, grid, self.target_patch) for part in patches], 3)
        return side_by_side(to_uint8(clips * STD[0] + MEAN[0]).cpu())

    def _first(self, batch: Batch) -> tuple[Batch, Masking]:
        """The first clip of each of the first visits, prepared."""
        some = {name: tensor(batch, name)[:SHOWN] for name in ("clips", "box", "flip", "noise")}
        ready = self.prepare(dict(some), torch.Generator())
        first: Batch = {name: tensor(ready, name)[:: self.visit.repeats] for name in ready}
        return first, Masking(tensor(first, "kept"), tensor(first, "hidden"))

    def param_group(self, name: str, parameter: nn.Parameter) -> ParamGroup:
        """Weight decay on all that has two dimensions or more, so on class tokens and position tables, too."""
        return ParamGroup(weight_decay=float(parameter.ndim >= 2))

    def products(self) -> Products:
        """The encoder of clips, and of still images, which it is shown as clips in which nothing moves."""
        return Products({"video": self.encoder, "image": StillEncoder(self.encoder)})


class Visit(NamedTuple):
    """Which frames the clips of one visit show.

    Attributes:
        frames: of a clip.
        stride: a clip covers frames x stride frames.
        repeats: R, clips of a visit.
        windows: "independent", or "one" for all of them.
    """

    frames: int
    stride: int
    repeats: int
    windows: Literal["independent", "one"]

    def draw(self, rng: np.random.Generator, total: int) -> npt.NDArray[np.int64]:
        """Positions in a stretch of `total` frames: int64 [R, T], or [1, T] where the clips share a window.

        Starts are uniform on [0, V - C] and no whole numbers; a stretch shorter than a clip repeats its last frame.
        """
        span = self.frames * self.stride
        starts = rng.uniform(0, max(0, total - span), self.repeats if self.windows == "independent" else 1)
        return np.stack([spread_over(start, span, self.frames, total) for start in starts])

    def clips(self, read: Tensor) -> Tensor:
        """Frames as read, [B, 3, R T, H, W] or [B, 3, T, H, W], as clips [B R, 3, T, H, W]."""
        parts: Tensor = read.unflatten(2, (-1, self.frames)).transpose(1, 2)  # type: ignore[no-untyped-call]
        return parts.expand(-1, self.repeats, -1, -1, -1, -1).flatten(0, 1)


def normal(patches: Tensor) -> Tensor:
    """Values 0 … 255 as the network has them: (v / 255 - 0.45) / 0.225; all channels alike."""
    return (patches.float() - 255 * MEAN[0]).div_(255 * STD[0])


def _blank(patches: Tensor, masking: Masking) -> Tensor:
    """The same patches, the hidden ones grey."""
    return filled(patches, patches.new_zeros(*masking.hidden.shape, patches.shape[-1]), masking)
