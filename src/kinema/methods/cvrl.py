"""CVRL: contrastive learning from two strongly augmented clips of each video.

Qian, Meng et al., "Spatiotemporal contrastive video representation learning", CVPR 2021 (arXiv 2008.03800). Two clips
of one video must be closer than clips of different videos, whatever was done to their crops and colours; clips far
apart in time, which may show different things, are rarely paired.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from kinema.backbones import build_backbone
from kinema.data.index import Index, by_duration, per_row
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, Frames, Read, Sample, tensor
from kinema.data.sampling import Interval, clip_positions, clip_span, pair_starts
from kinema.errors import RecipeError
from kinema.losses.contrastive import in_batch_info_nce
from kinema.methods.base import Losses, Method, Phase, Picture
from kinema.methods.encoders import ConvEncoder
from kinema.methods.momentum import EmbeddingNetwork
from kinema.methods.pretext import PIXELS, side_by_side
from kinema.modules.encoder import EncoderInput, Products
from kinema.modules.gather import gather_rows
from kinema.modules.heads import ProjectionHead
from kinema.views.augment import ClipAugment, MultiView
from kinema.views.colour import ColourJitter, normalise, to_uint8
from kinema.views.crops import ResizedCrop
from kinema.views.filters import Blur
from kinema.views.photometric import Photometric

ViewKind = Literal["asymmetric", "symmetric", "plain"]
CLIPS = ("first", "second")
"""Names of the two clips of a sample."""

SIGNED = ((0.5,) * 3, (0.5,) * 3)
"""Mean and standard deviation that take values to [-1, 1]."""


class CVRL(Method):
    """Spatiotemporal contrastive learning with in-batch negatives.

    Args:
        backbone: any of `kinema.backbones.BACKBONES`; published "r3d_50".
        width: channels of the first stage; 64 is the published size, 128 the paper's 2x form.
        padding: of r3d_50 alone: "symmetric", or "same" (published); null: the backbone's own, "symmetric".
        hidden: hidden layers of the projection head, each with BatchNorm and ReLU.
        hidden_width: of those layers.
        head_momentum: of the head's BatchNorm, the share of the new batch in the running statistics.
        dim: length of the embeddings.
        temperature: tau.
        kernel_decay: w in w / 2 x the sum of squares of all convolution and dense kernels, added to the loss; biases
            and BatchNorm are left alone. Set it or the optimiser's own weight_decay, which holds for all parameters.
        interval: how the distance between the two clips' starts is distributed: "decreasing" (published), "uniform",
            or "zero", when both show the same frames.
        interval_power: p of "decreasing": 1 falls linearly, larger ones later and more steeply.
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; null: each video's own.
        window: frames into whose stretches long recordings are cut, one pair of clips from each; null: one pair from
            each whole video (published).
        resize: (height, width) of whole frames as read.
        size: side of the square clips.
        views: "asymmetric" blurs the first view always and the second rarely, and solarises the second (released
            code); "symmetric" blurs both with probability 0.5 (the paper's text, unverified); "plain" only crops and
            mirrors.
        jitter: factor of the largest changes of brightness, contrast, saturation and hue; published 1. Less where few
            and similar videos must be told apart in short runs.
        scale: range of the crop's area, as a share of the frame.
        ratio: range of the crop's width / height.
        flip: probability of a horizontal mirror.
        exact_colours: cut to [0, 1] after each operation, hue and saturation in HSV, as published, instead of one
            matrix.
        pixels: what the network is fed: "unit", values in [0, 1] (published), or "signed", in [-1, 1].
    """

    def __init__(
        self,
        *,
        backbone: str = "r3d_50",
        width: int = 64,
        padding: Literal["symmetric", "same"] | None = None,
        hidden: int = 3,
        hidden_width: int = 2048,
        head_momentum: float = 0.003,
        dim: int = 128,
        temperature: float = 0.1,
        kernel_decay: float = 0.0,
        interval: Interval = "decreasing",
        interval_power: float = 1.0,
        frames: int = 16,
        stride: int = 2,
        rate: float | None = None,
        window: int | None = None,
        resize: tuple[int, int] = (128, 171),
        size: int = 112,
        views: ViewKind = "asymmetric",
        jitter: float = 1.0,
        scale: tuple[float, float] = (0.3, 1.0),
        ratio: tuple[float, float] = (0.5, 2.0),
        flip: float = 0.5,
        exact_colours: bool = False,
        pixels: Literal["unit", "signed"] = "unit",
    ) -> None:
        super().__init__()
        _check(temperature=temperature, interval_power=interval_power)
        normalisation = PIXELS if pixels == "unit" else SIGNED
        self.input = EncoderInput("video", frames, stride, rate, resize, (size, size), *normalisation)
        trunk = build_backbone(backbone, width=width, **({"padding": padding} if padding else {}))
        head = ProjectionHead(trunk.feature_dim, dim, hidden=hidden, width=hidden_width, batch_norm=True, unit=False)
        self.network = EmbeddingNetwork(ConvEncoder(trunk, self.input), [initialise(head, head_momentum)])
        self.temperature, self.kernel_decay = temperature, kernel_decay
        self.interval, self.power, self.window = interval, interval_power, window
        crop = ResizedCrop(scale, ratio, rule="tensorflow", tries=100)
        looks = photometrics(views, size, jitter=jitter, exact=exact_colours)
        self.views = MultiView(tuple(ClipAugment((size, size), crop, flip, photometric=look) for look in looks))

    def index(self, manifest: Manifest) -> Index:
        """One entry per video, or one per stretch of `window` frames."""
        if self.window is None:
            return per_row(manifest)
        return by_duration(manifest, frames=self.window, rate=self.input.rate)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Two clips of the window, a drawn interval apart, which wrap around where it is short; a view of each."""
        available, video = index.frames(i, rate=self.input.rate), index.video(i)
        frames, stride, total = self.input.frames, self.input.stride, len(available)
        starts = pair_starts(rng, total, clip_span(frames, stride), law=self.interval, power=self.power)
        reads: dict[str, Read] = {}
        for name, start in zip(CLIPS, starts, strict=True):
            chosen = available[clip_positions(start, frames, stride) % total]
            reads[name] = Frames(int(index.rows[i]), chosen, self.input.resize)
        return Sample(reads, self.views.draw(rng, self.input.resize, measured=(video.height, video.width)))

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The two views "first" and "second", normalised [B, 3, T, S, S]."""
        seen = zip(CLIPS, self._looks(batch), strict=True)
        return {name: normalise(view, self.input.mean, self.input.std, overwrite=True) for name, view in seen}

    def _looks(self, batch: Batch) -> list[Tensor]:
        views = enumerate(zip(CLIPS, self.views.views, strict=True))
        return [view.apply(tensor(batch, name), batch, prefix=f"view{i}_") for i, (name, view) in views]

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """InfoNCE among the views of all processes, both ways, and the decay of kernels where it is asked for.

        Both views go through the network at once, so that BatchNorm sees 2 B clips. Parts: "contrast", and of the first
        views among the second ones "accuracy" and "entropy".
        """
        embedded = self.network(torch.cat([tensor(batch, name) for name in CLIPS]))[:, 0]
        first, second = embedded.chunk(2)
        joined = gather_rows(torch.cat([first, second], 1))
        everyone = joined.rows.chunk(2, 1)
        found = in_batch_info_nce(
            first, second, joined=(everyone[0], everyone[1]), place=joined.first, temperature=self.temperature
        )
        parts = {"contrast": found.loss, "accuracy": found.accuracy, "entropy": found.entropy}
        return {"loss": found.loss + self.decay() if self.kernel_decay else found.loss, "parts": parts}

    def decay(self) -> Tensor:
        """kernel_decay / 2 x the sum of squares of all kernels, in single precision: a scalar."""
        squares = [kernel.square().sum() for kernel in kernels(self.network)]
        return self.kernel_decay / 2 * torch.stack(squares).sum()

    def pictures(self, batch: Batch) -> list[Picture]:
        """Both views of the first video."""
        pair = torch.stack([to_uint8(view[0]) for view in self._looks(batch)])
        caption = (
            "Two clips of one video, from different moments, cropped and coloured differently. They belong together; "
            "the clips of all other videos in the batch do not."
        )
        return [Picture("Two views of one video", caption, side_by_side(pair))]

    def products(self) -> Products:
        """The video encoder; the head is left behind."""
        return Products({"video": self.network.encoder})


def photometrics(
    views: ViewKind, size: int, *, jitter: float = 1.0, exact: bool = False
) -> tuple[Photometric, Photometric]:
    """What is done to the colours of the first and the second view of `size` pixels.

    `jitter`, in [0, 1], scales the published ranges of colours. Blur reaches floor(floor(size / 10) / 2) pixels, 11 of
    224, and takes what lies beyond the border for black.
    """
    if not 0 <= jitter <= 1:
        raise RecipeError(f"jitter={jitter}: a factor of the published ranges, in [0, 1]")
    if views == "plain":
        return Photometric(), Photometric()
    most = 0.8 * jitter
    colour = ColourJitter(most, most, most, most / 4, p=0.8, pivot="channel", exact=exact, hsv_saturation=exact)
    taps = 2 * (size // 10 // 2) + 1

    def look(blurred: float, solarised: float) -> Photometric:
        blur = Blur(blurred, (0.1, 2.0), taps=taps, padding="zero")
        return Photometric(colour, grey=0.2, blur=blur, solarise=solarised)

    return (look(1.0, 0.0), look(0.1, 0.2)) if views == "asymmetric" else (look(0.5, 0.0), look(0.5, 0.0))


def kernels(network: nn.Module) -> list[Tensor]:
    """Weights of convolutions and dense layers."""
    return [part.weight for part in network.modules() if isinstance(part, nn.Conv3d | nn.Linear)]


def initialise(head: nn.Module, momentum: float) -> nn.Module:
    """First weights of the released code's head: Glorot-uniform, biases 0; `momentum` for its BatchNorm."""
    for part in head.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm1d):
            part.momentum = momentum
    return head


def _check(**positive: float) -> None:
    for name, value in positive.items():
        if value <= 0:
            raise RecipeError(f"{name}={value}: must be above 0")
