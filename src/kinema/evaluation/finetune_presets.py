"""How networks are trained with labels: the field's fine-tuning recipes, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kinema.errors import RecipeError
from kinema.modules.encoder import EncoderInput
from kinema.training.recipe import OptimiserConfig, ScheduleConfig

Size = tuple[int, int]
_CONSTANT = ScheduleConfig("constant")
_SGD = OptimiserConfig("sgd", 1e-3, weight_decay=5e-4)


@dataclass(frozen=True)
class FineTune:
    """One way of training a network, or a head on a frozen one, with labels.

    Attributes:
        native: show clips as in pre-training (frames, stride, rate, sizes of the encoder); the next five are then moot.
        frames, stride, rate, resize, size: of the clips, as in `EncoderInput`.
        spread: the frames of training clips lie evenly on the whole of frames x stride, not just `stride` apart:
            "mae_st", first and last included, from anywhere between frames; "videomae", up to the frame behind the
            last. "": no.
        crop: "random" or "centre" window of `size`; "area": a window of random area and shape, resampled to `size`.
        sizes: with "random": frames are resized to one of these first.
        area, ratio: bounds of share of the frame and of width / height, of "area".
        flip: probability of a mirror image; 0 where left and right are classes.
        jitter, jitter_probability: strengths of brightness, contrast, saturation and hue.
        rand_augment: description of RandAugment, "" for none.
        erasing: probability of an erased box.
        mixup, cutmix: parameters of their Beta distributions, 0 for none; drawn for every clip by itself.
        smoothing: label smoothing.
        optimiser: learning rate, momentum, weight decay.
        per: the rate holds at this many clips a step and grows in proportion; None: as written.
        trunk_lr, bias_lr: factors on the rate of the network below the head, and of all biases.
        layer_decay: factor from each block of a transformer to the one below it.
        decay_vectors: weight decay on biases and other parameters of one dimension, too, and on class tokens and
            position tables [1, N, D].
        schedule, epochs, clips, batch: course of the rate, passes, clips per video and pass, clips per step.
        repeats: repeated augmentation: how often a step shows each of its clips, augmented anew (Hoffer et al., CVPR
            2020); the clip is read once, and `batch` does not count its copies.
        clip_grad: largest norm of the gradient.
        pool: what a transformer gives to the head: "class" token, "mean" of the others, or "late" (see `ViTEncoder`),
            whose LayerNorm is a new one; "": as in pre-training. Networks without a class token, and ConvNets, stay as
            they are.
        drop_path: probability with which a branch of a transformer's last block is left out; of earlier ones linearly
            less, of the first 0.
        head: "linear"; "l2+batch": L2 and BatchNorm before it.
        head_std: deviation of the head's first weights, with biases of 0; None: as torch has it.
        dropout: before the linear layer.
        frozen: only the head is trained; the network stays in evaluation mode.
        choose: "last" weights, or those with the "least_loss" on split val or, without one, on a held-out tenth of
            the training videos in whole groups.
        views, aggregation: how test videos are shown, and how views are joined.
        precision: of training; tests are in fp32.
    """

    native: bool = False
    frames: int = 16
    stride: int = 1
    rate: float | None = None
    resize: Size = (128, 171)
    size: Size = (112, 112)
    spread: Literal["", "mae_st", "videomae"] = ""
    crop: Literal["random", "centre", "area"] = "random"
    sizes: tuple[Size, ...] = ()
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 1.0
    rand_augment: str = ""
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0
    optimiser: OptimiserConfig = _SGD
    per: int | None = None
    trunk_lr: float = 1.0
    bias_lr: float = 1.0
    layer_decay: float = 1.0
    decay_vectors: bool = True
    schedule: ScheduleConfig = _CONSTANT
    epochs: int = 150
    clips: int = 1
    batch: int = 8
    repeats: int = 1
    clip_grad: float | None = None
    pool: Literal["", "mean", "class", "late"] = ""
    drop_path: float = 0.0
    head: Literal["linear", "l2+batch"] = "linear"
    head_std: float | None = None
    dropout: float = 0.0
    frozen: bool = False
    choose: Literal["last", "least_loss"] = "last"
    views: str = "uniform10"
    aggregation: Literal["mean_logits", "mean_softmax"] = "mean_softmax"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def __post_init__(self) -> None:
        for name in ("epochs", "clips", "batch", "repeats", "frames", "stride"):
            if getattr(self, name) < 1:
                raise RecipeError(f"finetune.{name}={getattr(self, name)}: must be at least 1")
        for name in ("dropout", "smoothing", "flip", "jitter_probability", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"finetune.{name}={getattr(self, name)}: must lie in [0, 1]")

    def input(self, network: EncoderInput) -> EncoderInput:
        """What `network` is shown under this preset."""
        if self.native:
            return network
        clip = {"frames": self.frames, "stride": self.stride, "rate": self.rate}
        return replace(network, **clip, resize=self.resize, size=self.size)  # type: ignore[arg-type]


def _sgd(lr: float, weight_decay: float = 5e-4) -> OptimiserConfig:
    return OptimiserConfig("sgd", lr, weight_decay=weight_decay)


def _adam(lr: float, weight_decay: float = 0.0) -> OptimiserConfig:
    return OptimiserConfig("adam", lr, weight_decay=weight_decay, betas=(0.9, 0.999))


def _adamw(lr: float, weight_decay: float = 0.05) -> OptimiserConfig:
    return OptimiserConfig("adamw", lr, weight_decay=weight_decay, betas=(0.9, 0.999))


def _step(*milestones: float, gamma: float = 0.1) -> ScheduleConfig:
    return ScheduleConfig("step", milestones=milestones, gamma=gamma)


_VCOP = FineTune(choose="least_loss", aggregation="mean_logits")


# fmt: off
# Biases move at twice the rate in the released code of both.
_STS = FineTune(
    optimiser=_sgd(3e-3, 5e-3), bias_lr=2.0, schedule=ScheduleConfig("step", every=6), epochs=25, batch=30, flip=0.5,
)
_COCLR_CLIPS = FineTune(
    frames=32, size=(128, 128), resize=(224, 298), crop="area", flip=0.5, jitter=(0.4, 0.4, 0.4, 0.1),
    jitter_probability=0.3, batch=32, views="coclr_ten",
)
_CHILD_VIEW = FineTune(
    stride=8, rate=30.0, resize=(256, 340), size=(224, 224), spread="mae_st", crop="area", flip=0.5, smoothing=0.1,
    optimiser=_adamw(2.4e-3), per=256, layer_decay=0.8, decay_vectors=False, epochs=35, batch=16, clip_grad=5.0,
    pool="class", drop_path=0.1, head_std=0.02, dropout=0.3, choose="least_loss", views="mae_st_center",
)
FINETUNE_PRESETS: dict[str, FineTune] = {
    "vcop": _VCOP,
    "prp": replace(_VCOP, schedule=_step(100), epochs=160),
    # The rate of its residual networks on UCF101; 0.005 for C3D and S3D-G. Its choice of weights by the test split is
    # not followed: a tenth of the training videos chooses.
    "rspnet": FineTune(
        crop="area", area=(0.25, 1.0), flip=0.5, optimiser=_sgd(0.1, 1e-4), schedule=ScheduleConfig(floor=1e-3),
        epochs=30, batch=64, choose="least_loss", aggregation="mean_logits",
    ),
    # The three sizes, the strengths of colour and the aggregation are
    # [unverified].
    "ctp": FineTune(
        stride=2, resize=(144, 192), sizes=((112, 149), (128, 171), (144, 192)), flip=0.35,
        jitter=(0.125, 0.2, 0.1, 0.03), jitter_probability=0.2, optimiser=_sgd(0.01), schedule=_step(60, 120),
        batch=32, clip_grad=40.0, dropout=0.5, views="tsn_uniform",
    ),
    "coclr": replace(
        _COCLR_CLIPS, optimiser=_adam(1e-3, 1e-3), trunk_lr=0.1, schedule=_step(400, 450), epochs=500, dropout=0.9,
    ),
    "severe": FineTune(
        frames=32, rate=16.0, crop="area", jitter=(0.4, 0.4, 0.4, 0.2), optimiser=_adam(1e-4),
        schedule=_step(6, 10, 14, gamma=0.3), epochs=16, clips=10, batch=32,
    ),
    # UCF101, ViT-B (appendix of the paper).
    "videomae": FineTune(
        stride=4, spread="videomae", resize=(256, 340), size=(224, 224), crop="area", flip=0.5,
        rand_augment="rand-m7-n4-mstd0.5-inc1", erasing=0.25, mixup=0.8, cutmix=1.0, smoothing=0.1,
        optimiser=_adamw(5e-4), per=256, layer_decay=0.7, decay_vectors=False,
        schedule=ScheduleConfig(warmup=5, rise="zero"), epochs=100, batch=128, repeats=2, pool="late", drop_path=0.2,
        head_std=2e-5, dropout=0.5, views="dense5x3",
    ),
    # Optimiser, batch and aggregation are [unverified].
    "benchmark": FineTune(crop="centre", optimiser=_sgd(0.01), schedule=ScheduleConfig(), epochs=100, batch=32),
    "sts": _STS,
    # A third party's re-implementation; the authors' own settings are not known.
    "mas": replace(_STS, optimiser=_sgd(1e-3, 5e-3), epochs=18, dropout=0.5, decay_vectors=False),
    "child-view": _CHILD_VIEW,
    # Still images, and encoders of them; published with ImageNet's mean and deviation, here with the network's own.
    "child-view-image": replace(
        _CHILD_VIEW, frames=1, stride=1, rate=None, spread="", smoothing=0.0, optimiser=_adamw(1.2e-3), batch=64,
        views="single_center",
    ),
    # Kinetics, ViT-L (the recipe from which child-view comes).
    "mae_st": FineTune(
        stride=4, rate=30.0, resize=(256, 340), size=(224, 224), spread="mae_st", crop="area", flip=0.5,
        rand_augment="rand-m7-mstd0.5-inc1", mixup=0.8, cutmix=1.0, smoothing=0.1, optimiser=_adamw(2.4e-3), per=256,
        layer_decay=0.75, decay_vectors=False, schedule=ScheduleConfig(warmup=5), epochs=50, clips=2, batch=128,
        clip_grad=5.0, pool="late", drop_path=0.2, head_std=2e-5, dropout=0.3, views="mae_st_10x3",
    ),
    # Ours, for small sets and CPUs: clips as in pre-training.
    "quick": FineTune(
        native=True, optimiser=_adamw(1e-3), decay_vectors=False, schedule=ScheduleConfig(), epochs=20, batch=8,
    ),
}
# Linear probes whose training clips are augmented, so that no features can be stored.
FROZEN_PRESETS: dict[str, FineTune] = {
    "coclr_end2end": replace(
        _COCLR_CLIPS, optimiser=_sgd(0.1, 1e-3), schedule=_step(60, 80), epochs=100, head="l2+batch", frozen=True,
    ),
}
# fmt: on
