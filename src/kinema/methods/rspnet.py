"""RSPNet: relative speed perception and appearance-focused instance discrimination.

Chen, Huang et al., "RSPNet: relative speed perception for unsupervised video representation learning", AAAI 2021 (arXiv
2011.07949). Two clips of one video at the same speed must be closer than two at different speeds, in one embedding; in
another, clips of one video are close whatever their speeds, and far from those of other videos.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kinema.backbones import build_backbone
from kinema.data.index import Index, by_duration, per_row
from kinema.data.manifest import Manifest
from kinema.data.sample import Array, Batch, Clock, Frames, Read, Sample, tensor
from kinema.errors import RecipeError
from kinema.losses.contrastive import Contrast, queue_info_nce
from kinema.losses.ranking import margin_ranking
from kinema.methods.base import Losses, Phase, Picture
from kinema.methods.encoders import ConvEncoder
from kinema.methods.momentum import EmbeddingNetwork, HeadKind, MomentumContrast
from kinema.modules.encoder import EncoderInput
from kinema.modules.heads import ConvProjectionHead, ProjectionHead
from kinema.modules.queue import FeatureQueue, whole_batches
from kinema.randomness import numpy_generator
from kinema.views.augment import ClipAugment
from kinema.views.colour import ColourJitter, normalise, to_uint8
from kinema.views.crops import ResizedCrop
from kinema.views.filters import Blur
from kinema.views.photometric import Photometric

CODE_MARGIN, PAPER_MARGIN = 2.0, 0.15
"""Published margins, on similarities / temperature (released code) and on plain similarities (Eq. 2)."""


class RSPNet(MomentumContrast):
    """Relative speed perception.

    Args:
        backbone: any of `kinema.backbones.BACKBONES`; published "c3d", "resnet3d_18", "r2plus1d" and "s3dg_rspnet".
        width: channels of the first stage; 64 is the published size.
        head: of each task: "linear", "mlp" (one hidden layer), "conv" or "convbn".
        dim: length of the embeddings.
        queue: K, keys of other clips to tell a clip's own from.
        queue_batch: global batch of which the queue holds a whole multiple, as the released code's must (16384 at 96
            is 16320); null: all of `queue`, which works with any batch.
        momentum: m of the key network, which moves before each step's keys.
        temperature: tau.
        appearance: positives of the appearance task: "both" keys of the video, a loss each (released code), or "one"
            of them, drawn (paper, Eq. 3).
        enqueue: which keys enter the queue: those at the "other" speed than the query's (released code), or the "same".
        appearance_weight: of the appearance task (A of the code, lambda of the paper); 0 leaves its head untrained.
        motion_weight: of the speed task (M); 0 leaves its head untrained.
        margin_form: compare similarities / temperature ("code") or plain similarities ("paper").
        margin: of the speed task; null: 2 for "code", 0.15 for "paper".
        bn_groups: groups of each process that the key network's BatchNorm sees apart, after shuffling.
        speeds: ratios of the fast clips to the normal ones, one of which is drawn for each step. A raw clip has
            frames x the first ratio, and a clip at ratio r has 1 / r of that.
        frames: frames of a clip at the first ratio.
        strides: distances of raw frames, one of which is drawn per raw clip.
        stride_weights: their weights; empty: equal.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames as read.
        size: side of the square clips.
        clips: "random" takes two raw clips of each video once an epoch; "windows" two of each stretch of twice their
            length.
        scale: range of the crop's area, as a share of the frame.
        flip: probability of a horizontal mirror.
        colours: "strong" jitter after greyscale (released code), its "plus" variant with blur, or "none".
        exact_colours: cut to [0, 1] after each operation and turn hue in HSV, as published, instead of one matrix.
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet3d_18",
        width: int = 64,
        head: HeadKind = "linear",
        dim: int = 128,
        queue: int = 16384,
        queue_batch: int | None = None,
        momentum: float = 0.999,
        temperature: float = 0.07,
        appearance: Literal["both", "one"] = "both",
        enqueue: Literal["other", "same"] = "other",
        appearance_weight: float = 1.0,
        motion_weight: float = 1.0,
        margin_form: Literal["code", "paper"] = "code",
        margin: float | None = None,
        bn_groups: int = 1,
        speeds: tuple[int, ...] = (2,),
        frames: int = 16,
        strides: tuple[int, ...] = (1,),
        stride_weights: tuple[float, ...] = (),
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        size: int = 112,
        clips: Literal["random", "windows"] = "random",
        scale: tuple[float, float] = (0.4, 1.0),
        flip: float = 0.5,
        colours: Literal["strong", "plus", "none"] = "strong",
        exact_colours: bool = False,
    ) -> None:
        view = EncoderInput("video", frames, 1, rate, resize, (size, size))
        encoder = ConvEncoder(build_backbone(backbone, width=width), view)
        heads = [build_head(head, encoder.feature_dim, dim) for _ in range(2)]
        kept = whole_batches(queue, queue_batch) if queue_batch else queue
        super().__init__(
            _trained(EmbeddingNetwork(encoder, heads), appearance_weight, motion_weight),
            FeatureQueue(kept, dim),
            momentum=momentum,
            groups=bn_groups,
        )
        self.temperature, self.appearance, self.enqueue = temperature, appearance, enqueue
        self.weights = appearance_weight, motion_weight
        self.margin = _margin(margin_form, margin, temperature)
        self.raw = RawClips(frames, speeds, strides, stride_weights or (1.0,) * len(strides))
        self.clips = clips
        self.augment = ClipAugment(
            (size, size), ResizedCrop(scale), flip, photometric=photometric(colours, exact=exact_colours)
        )

    def index(self, manifest: Manifest) -> Index:
        """One entry per video, or one per stretch of two raw clips."""
        if self.clips == "random":
            return per_row(manifest)
        return by_duration(manifest, frames=2 * self.raw.size * max(self.raw.strides), rate=self.input.rate)

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Two raw clips of the window, drawn and viewed independently; the speed of the step."""
        available, video = index.frames(i, rate=self.input.rate), index.video(i)
        reads: dict[str, Read] = {}
        draws: dict[str, Array] = {"fast": self.raw.fast(clock.step), "either": np.array(rng.random() < 0.5)}
        for name in ("query", "key"):
            chosen = available[self.raw.draw(rng, len(available))]
            reads[name] = Frames(int(index.rows[i]), chosen, self.input.resize)
            shape = (video.height, video.width)
            draws |= self.augment.draw(rng, self.input.resize, measured=shape, prefix=f"{name}_")
        return Sample(reads, draws)

    @torch.no_grad()
    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The three clips of each video (Sec. 3.1): half of this batch's queries run at normal speed, half fast.

        Returns "query", "positive" at its speed, "negative" at the other, all normalised [B, 3, T, S, S]; "either",
        bool [B], for the choice of one positive.
        """
        query, key = (self._view(batch, name) for name in ("query", "key"))
        slow = halved(len(query), generator)
        views = speed_views(query, key, tensor(batch, "fast")[0], slow)._asdict()
        ready = {name: normalise(view, self.input.mean, self.input.std, overwrite=True) for name, view in views.items()}
        return {**ready, "either": tensor(batch, "either")}

    def _view(self, batch: Batch, name: str) -> Tensor:
        return self.augment.apply(tensor(batch, name), batch, prefix=f"{name}_")

    def losses(self, batch: Batch, phase: Phase) -> Losses:
        """A L_a + M L_m; keys at the other speed are encoded first (Secs. 3.2, 3.3).

        Parts: both losses, "top1" and "top5" of the appearance task, "speed": how often the right pair is closer.
        """
        other = self.encode_keys(tensor(batch, "negative"), turn=0)
        same = self.encode_keys(tensor(batch, "positive"), turn=1)
        appearance, motion = self.network(tensor(batch, "query")).unbind(1)
        positives = [same[:, 0], other[:, 0]]
        if self.appearance == "one":
            positives = [torch.where(tensor(batch, "either")[:, None], positives[0], positives[1])]
        told = [self._contrast(appearance, positive) for positive in positives]
        closer, farther = ((motion * key[:, 1]).sum(1) for key in (same, other))
        ranking = margin_ranking(closer, farther, margin=self.margin.margin, temperature=self.margin.temperature)
        contrast = torch.stack([one.loss for one in told]).sum()
        self.remember((other if self.enqueue == "other" else same)[:, 0])
        parts = {"appearance": contrast, "motion": ranking, "top1": told[0].top1, "top5": told[0].top5}
        parts["speed"] = (closer > farther).float().mean()
        return {"loss": self.weights[0] * contrast + self.weights[1] * ranking, "parts": parts}

    def _contrast(self, query: Tensor, positive: Tensor) -> Contrast:
        return queue_info_nce(query, positive, self.queue.rows, temperature=self.temperature)

    def pictures(self, batch: Batch) -> list[Picture]:
        """The first video's query, and its keys at the same and the other speed."""
        query, key = (self._view(batch, name) for name in ("query", "key"))
        slow = torch.ones(len(query), dtype=torch.bool)
        views = speed_views(query, key, tensor(batch, "fast")[0], slow)
        frames = torch.cat([to_uint8(view[0]) for view in views], 3).permute(1, 2, 3, 0).numpy()
        caption = (
            "Three clips of one video. The first two run at the same speed and must be closer in motion than the first "
            "and the third; in appearance all three belong together, and other videos do not."
        )
        return [Picture("Relative speed of one video", caption, frames)]


class SpeedViews(NamedTuple):
    """Clips [B, C, T, H, W]: query and positive share a speed, the negative is the positive's raw clip at the other."""

    query: Tensor
    positive: Tensor
    negative: Tensor


def speed_views(query: Tensor, key: Tensor, fast: Tensor, slow: Tensor) -> SpeedViews:
    """Two raw clips of each video at two speeds (Sec. 3.1 of the code).

    Args:
        query: raw clips [B, C, R, H, W].
        key: others of the same videos.
        fast: int64 [T], frames of the fast clips, 0, r, 2r ...; normal ones are the first T.
        slow: bool [B], videos whose query runs at normal speed.
    """
    own = torch.where(slow[:, None], torch.arange(len(fast), device=fast.device), fast)
    other = torch.where(slow[:, None], fast, torch.arange(len(fast), device=fast.device))
    return SpeedViews(frames_at(query, own), frames_at(key, own), frames_at(key, other))


def frames_at(clips: Tensor, places: Tensor) -> Tensor:
    """The frames `places` [B, t] of each clip [B, C, T, H, W]: [B, C, t, H, W]."""
    rows, channels = (torch.arange(count, device=clips.device) for count in clips.shape[:2])
    return clips[rows[:, None, None], channels[:, None], places[:, None]]


def halved(count: int, generator: torch.Generator) -> Tensor:
    """Bool [count] with floor(count / 2) drawn entries True, on the generator's device."""
    order = torch.randperm(count, generator=generator, device=generator.device)
    return order < count // 2


class RawClips(NamedTuple):
    """Which frames of a window make a raw clip, and which of those run fast.

    Attributes:
        frames: of a clip at the first speed.
        speeds: ratios.
        strides: distances of raw frames.
        weights: of the strides.
    """

    frames: int
    speeds: tuple[int, ...]
    strides: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def size(self) -> int:
        """Frames of a raw clip."""
        return self.frames * self.speeds[0]

    def draw(self, rng: np.random.Generator, total: int) -> npt.NDArray[np.int64]:
        """Positions of one raw clip in a window of `total` frames: int64 [size].

        A window of at most `size` frames is wrapped, whatever the stride; in one too short for the stride the stride is
        given up, and the frames are spread evenly.
        """
        share = np.asarray(self.weights) / sum(self.weights)
        stride = int(rng.choice(self.strides, p=share))
        need = (self.size - 1) * stride + 1
        if total <= self.size:
            return np.arange(self.size) % total
        if total < need:
            return np.linspace(0, total - 1, self.size).round().astype(np.int64)
        return int(rng.integers(total - need + 1)) + np.arange(self.size) * stride

    def fast(self, step: int) -> npt.NDArray[np.int64]:
        """Frames of a raw clip that the fast clips of this step show; the same for all samples and processes."""
        ratio = int(numpy_generator("speed", step).choice(self.speeds))
        return np.arange(0, self.size, ratio)[: self.size // ratio]


class Margin(NamedTuple):
    """Margin of the speed task, and the temperature that similarities are divided by."""

    margin: float
    temperature: float


def _margin(form: str, margin: float | None, temperature: float) -> Margin:
    if form == "code":
        return Margin(CODE_MARGIN if margin is None else margin, temperature)
    return Margin(PAPER_MARGIN if margin is None else margin, 1.0)


def build_head(kind: HeadKind, channels: int, dim: int) -> nn.Module:
    """A task's head, from the last map to embeddings of length 1."""
    if kind in ("conv", "convbn"):
        return ConvProjectionHead(channels, dim, batch_norm=kind == "convbn")
    return ProjectionHead(channels, dim, hidden=int(kind == "mlp"))


def photometric(colours: Literal["strong", "plus", "none"], *, exact: bool = False) -> Photometric:
    """The colour changes of the released code."""
    if colours == "none":
        return Photometric()
    if colours == "strong":
        jitter = ColourJitter(0.4, 0.4, 0.4, 0.4, exact=exact)
        return Photometric(jitter, grey=0.2, order=("grey", "colour"))
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.1, p=0.8, exact=exact)
    return Photometric(jitter, grey=0.2, blur=Blur(0.5, (1.5, 1.5), taps=3))


def _trained(network: EmbeddingNetwork, *weights: float) -> EmbeddingNetwork:
    """Heads of tasks without weight take no gradient."""
    if not any(weights):
        raise RecipeError("appearance_weight=0 and motion_weight=0 leave nothing to learn: set one of them")
    for head, weight in zip(network.heads, weights, strict=True):
        head.requires_grad_(bool(weight))
    return network
