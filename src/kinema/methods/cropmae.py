"""CropMAE: a nearly hidden crop is completed with the help of another crop of the same picture; SiamMAE: of a frame.

Eymael, Vandeghen et al., "Efficient image pre-training with Siamese cropped masked autoencoders", ECCV 2024 (arXiv
2403.17823); Gupta, Wu, Deng, Fei-Fei, "Siamese masked autoencoders", NeurIPS 2023 (arXiv 2305.14344). Features of the
encoder's patches can be matched from frame to frame, so that labels can be carried through a video.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.sampling import long_enough
from kinema.methods.paired import Architecture, PairedMAE, Target
from kinema.methods.pretext import stretches
from kinema.modules.transformer.cross import NormOrder
from kinema.views.crops import ResizedCrop
from kinema.views.pairs import CropPair, FramePair, Strategy, draw_frames, draw_gap

CropSampler = Literal["rejection", "single"]


class CropMAE(PairedMAE):
    """Two crops of one still picture: an image, or a random frame of a video.

    A sample is one row of the manifest (or one stretch of `window` frames), so an epoch shows every picture, and one
    frame of every video, once.

    Args:
        model: size of the encoder: "tiny", "small" (published), "base", "large".
        width, depth, heads: of the encoder, where they are not those of `model`.
        patch: side of a patch in pixels.
        decoder_width, decoder_depth, decoder_heads: of the decoder.
        decoder_hidden: width within its MLPs, whatever its own.
        dropout: in the decoder, in training.
        norm: LayerNorm after ("post", released code) or before ("pre") the parts of a decoder's block.
        mask: share of the target's patches that is hidden: 0.985 leaves 2 of 196.
        target: each patch standardised ("patch", published), or pixels as they are fed ("none").
        views: what is reference and what is target. "global-to-local" (published): a crop, and a crop of that crop
            after it was resized; "local-to-global": the other way round; "random": two crops; "same": one crop twice.
        scale: range of the area of a crop of the picture: from 0.1 on images, from 0.5 on videos (published).
        local_scale: range of the area of the crop of a crop.
        crop: "rejection", which runs in the released code: up to ten draws until one fits; "single", which its authors
            intended: one draw, cut to the picture.
        flip: probability of a mirror, drawn for each view; 0 where left and right matter.
        window: frames into whose stretches long recordings are cut, one sample from each; null: one sample a video.
        resize: (height, width) to which whole pictures are scaled while they are decoded; boxes are drawn in their own
            shape.
        size: side of the views.
    """

    def __init__(
        self,
        *,
        model: str = "small",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        patch: int = 16,
        decoder_width: int = 256,
        decoder_depth: int = 4,
        decoder_heads: int = 8,
        decoder_hidden: int = 2048,
        dropout: float = 0.1,
        norm: NormOrder = "post",
        mask: float = 0.985,
        target: Target = "patch",
        views: Strategy = "global-to-local",
        scale: tuple[float, float] = (0.1, 1.0),
        local_scale: tuple[float, float] = (0.3, 0.6),
        crop: CropSampler = "rejection",
        flip: float = 0.5,
        window: int | None = None,
        resize: tuple[int, int] = (320, 426),
        size: int = 224,
    ) -> None:
        decoder = (decoder_width, decoder_depth, decoder_heads, decoder_hidden, dropout, norm)
        pair = CropPair((size, size), views, ResizedCrop(scale, rule=crop), ResizedCrop(local_scale, rule=crop), flip)
        sizes = Architecture(model, width, depth, heads, patch, *decoder)
        super().__init__(sizes, pair, size=size, resize=resize, mask=mask, target=target)
        self.window = window

    def index(self, manifest: Manifest) -> Index:
        """One sample per row, or per stretch of `window` frames."""
        return stretches(manifest, self.window)

    def choose(self, rng: np.random.Generator, total: int) -> npt.NDArray[np.int64]:
        """Any one frame."""
        return rng.integers(total, size=1)


class SiamMAE(PairedMAE):
    """Two frames of one video through one crop: the earlier is the reference, the later one is masked.

    A sample is one visit of a video (or of one stretch of `window` frames), of which `repeats` pairs are taken with one
    decode. A step of `batch` visits sees batch x repeats pairs, and an epoch visits every video once; one epoch with
    `repeats` R has the pairs of R epochs of the released code, which leaves after 1 / R of its videos.

    Args:
        model: size of the encoder: "tiny", "small" (published), "base", "large".
        width, depth, heads: of the encoder, where they are not those of `model`.
        patch: side of a patch in pixels.
        decoder_width, decoder_depth, decoder_heads: of the decoder.
        decoder_hidden: width within its MLPs, whatever its own.
        dropout: in the decoder, in training.
        norm: LayerNorm after ("post", released code) or before ("pre") the parts of a decoder's block.
        mask: share of the target's patches that is hidden: 0.95 leaves 9 of 196.
        target: each patch standardised ("patch", published), or pixels as they are fed ("none").
        gap: least distance of the two frames, and the one above the largest: [4, 48) published.
        repeats: pairs per visit.
        scale: range of the area of the crop, which both frames share.
        crop: "rejection", which runs in the released code: up to ten draws until one fits; "single", which its authors
            intended: one draw, cut to the picture.
        flip: probability of a mirror, of both frames together; 0 where left and right matter.
        rate: sampled rate in frames per second, in which `gap` counts; null: each video's own (published).
        window: frames into whose stretches long recordings are cut, one visit of each; null: one visit a video.
        resize: (height, width) to which whole frames are scaled while they are decoded; boxes are drawn in their own
            shape.
        size: side of the views.
    """

    def __init__(
        self,
        *,
        model: str = "small",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        patch: int = 16,
        decoder_width: int = 256,
        decoder_depth: int = 4,
        decoder_heads: int = 8,
        decoder_hidden: int = 2048,
        dropout: float = 0.1,
        norm: NormOrder = "post",
        mask: float = 0.95,
        target: Target = "patch",
        gap: tuple[int, int] = (4, 48),
        repeats: int = 1,
        scale: tuple[float, float] = (0.5, 1.0),
        crop: CropSampler = "rejection",
        flip: float = 0.5,
        rate: float | None = None,
        window: int | None = None,
        resize: tuple[int, int] = (320, 426),
        size: int = 224,
    ) -> None:
        decoder = (decoder_width, decoder_depth, decoder_heads, decoder_hidden, dropout, norm)
        sizes = Architecture(model, width, depth, heads, patch, *decoder)
        pair = FramePair((size, size), ResizedCrop(scale, rule=crop), flip)
        super().__init__(sizes, pair, size=size, resize=resize, mask=mask, target=target, repeats=repeats, rate=rate)
        draw_gap(np.random.default_rng(0), gap[1], *gap)  # refuses its own options
        self.gap, self.window = gap, window

    def index(self, manifest: Manifest) -> Index:
        """One sample per row, or per stretch of `window` frames; those of one frame are left out and counted."""
        return long_enough(stretches(manifest, self.window, rate=self.input.rate), 2, rate=self.input.rate)

    def choose(self, rng: np.random.Generator, total: int) -> npt.NDArray[np.int64]:
        """An earlier and a later frame."""
        return draw_frames(rng, total, self.gap)
