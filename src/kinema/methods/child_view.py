"""child-view: a spatiotemporal masked autoencoder, learned from what a child saw.

Orhan, Wang, Wang, Ren, Lake, "Self-supervised learning of video representations from a child's perspective", CogSci
2024 (arXiv 2402.00300), after Feichtenhofer et al., "Masked autoencoders as spatiotemporal learners", NeurIPS 2022. A
vanilla transformer sees a tenth of a clip's space-time patches, drawn at random, and paints the others.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones.vit import VisionTransformer, vit_size
from kinema.data.index import Index, by_duration, per_row
from kinema.data.manifest import Manifest
from kinema.data.sample import Array, Batch, Clock, Frames, Sample, tensor
from kinema.data.sampling import spread_over
from kinema.errors import RecipeError
from kinema.methods.base import Losses, Method, ParamGroup, Phase
from kinema.methods.encoders import StillEncoder, ViTEncoder
from kinema.methods.masked import MaskedAutoencoder, predicted_frames, reconstruction_loss, target_patches
from kinema.modules.encoder import EncoderInput, Products
from kinema.modules.transformer.decoder import TokenDecoder
from kinema.modules.transformer.patches import patchify
from kinema.targets.masking import Masking, random_masking, visible_count
from kinema.targets.patches import Standard
from kinema.views.augment import ClipAugment
from kinema.views.colour import normalise
from kinema.views.crops import ResizedCrop

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
        class_token: a learned token in front of the encoder's; the decoder has its own instead of it.
        targets: what is predicted: pixels as they are fed ("none", published), or "patch": each patch standardised
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
        class_token: bool = True,
        targets: Standard = "none",
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
        self.shown, self.standard = predicted_frames(frames, tubelet, target_frames), targets
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
            outputs=3 * patch * patch * tubelet * len(self.shown) // frames,
            positions="separable",
            class_token="own" if class_token else "none",
            fused=False,
        )
        self.autoencoder = MaskedAutoencoder(trunk, decoder)
        self.encoder = ViTEncoder(trunk, self.input, pool=pool)
        self.mask, self.tokens = mask, int(np.prod(trunk.grid))
        _refuse_empty(visible_count(self.tokens, mask), self.tokens)
        self.visit = Visit(frames, stride, repeats, windows)
        self.window, self.interpolate = window, interpolate
        self.augment = ClipAugment((size, size), ResizedCrop(scale, ratio), flip)

    def index(self, manifest: Manifest) -> Index:
        """One entry per stretch of `window` frames, or per video."""
        if self.window is None:
            return per_row(manifest)
        return by_duration(manifest, frames=self.window, rate=self.input.rate)

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
        joined = {name: np.stack([draw[name] for draw in draws]) for name in draws[0]}
        return Sample({"clips": Frames(int(index.rows[i]), chosen, self.input.resize)}, joined)

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """All clips of all visits: "clips", normalised [B R, 3, T, S, S], and "noise" [B R, N]."""
        clips, draws = self._looks(batch)
        return {"clips": normalise(clips, self.input.mean, self.input.std), "noise": draws["noise"]}

    def _looks(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cropped and mirrored clips [B R, 3, T, S, S] in [0, 1], and the draws of each."""
        draws = {name: tensor(batch, name).flatten(0, 1) for name in ("box", "flip", "noise")}
        clips = self.visit.clips(tensor(batch, "clips"))
        return self.augment.apply(clips, draws), draws

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """Mean square error of the hidden patches (Sec. 3.4 of MAE-ST)."""
        clips = tensor(batch, "clips")
        masking = random_masking(tensor(batch, "noise"), self.mask)
        return {"loss": self.reconstruction(clips, masking), "parts": {}}

    def predict(self, clips: Tensor, masking: Masking) -> Tensor:
        """Normalised clips [B, 3, T, S, S] to the hidden patches [B, M, u p p 3], as `targets` has them."""
        predicted: Tensor = self.autoencoder(patchify(clips, self.encoder.trunk.patch), masking).predicted
        return predicted

    def targets(self, clips: Tensor) -> Tensor:
        """The pixels that are to be predicted: [B, N, u p p 3] of the predicted frames."""
        return target_patches(clips, self.encoder.trunk.patch, self.shown)

    def reconstruction(self, clips: Tensor, masking: Masking) -> Tensor:
        """The loss of normalised clips under a mask, a scalar."""
        return reconstruction_loss(self.predict(clips, masking), self.targets(clips), masking, self.standard)

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


def _refuse_empty(visible: int, tokens: int) -> None:
    if not 0 < visible < tokens:
        raise RecipeError(f"mask leaves {visible} of {tokens} tokens visible: change mask, or the size of the clips")
