"""Published weights as a run: a network that comes trained and is only measured, searched with or exported."""

from __future__ import annotations

from typing import Any, Literal

from kinema.backbones import build_backbone
from kinema.backbones.converters import Converted
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.methods.encoders import ConvEncoder
from kinema.modules.encoder import EncoderInput, Products

Triple = tuple[float, float, float]


class Imported(Method):
    """A ConvNet with weights from elsewhere. `kinema import` makes its run folders; it cannot be trained.

    Args:
        backbone: a name of `kinema.backbones.BACKBONES`.
        network: options of that backbone, width among them.
        frames: frames of a clip.
        stride: distance of its frames, in frames of the sampled rate.
        rate: sampled rate in frames per second; null: each video's own.
        resize: (height, width) of whole frames.
        size: side of the square crop.
        mean: subtracted per channel, from values in 0 … `scale`.
        std: divided by, per channel.
        scale: the value of a white pixel.
        channels: order of the channels.
    """

    def __init__(
        self,
        *,
        backbone: str = "r3d_18",
        network: dict[str, Any] | None = None,
        frames: int = 16,
        stride: int = 1,
        rate: float | None = None,
        resize: tuple[int, int] = (128, 171),
        size: int = 112,
        mean: Triple = (0.485, 0.456, 0.406),
        std: Triple = (0.229, 0.224, 0.225),
        scale: float = 1.0,
        channels: Literal["rgb", "bgr"] = "rgb",
    ) -> None:
        super().__init__()
        self.input = EncoderInput(
            "video", frames, stride, rate, resize, (size, size), mean=mean, std=std, scale=scale, channels=channels
        )
        self.encoder = ConvEncoder(build_backbone(backbone, **(network or {})), self.input)

    def index(self, manifest: Manifest) -> Index:
        """Refuses: there is nothing to train."""
        raise RecipeError(
            "'imported' stands for published weights and cannot be trained: make a run of them with kinema import, "
            "then evaluate it"
        )

    def products(self) -> Products:
        """The video encoder."""
        return Products({"video": self.encoder})


_KINETICS = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}
_UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_RAW = {**_UNIT, "scale": 255.0, "channels": "bgr"}
_IMAGENET: dict[str, Any] = {}
_CENTRED = {"mean": (114.7748, 107.7354, 99.4750), "std": (1.0, 1.0, 1.0), "scale": 255.0}
_LARGE = {"resize": (256, 256), "size": 224}

INPUTS: dict[str, tuple[dict[str, Any], bool]] = {
    "torchvision-r3d": (_KINETICS, True),
    "torchvision-r2plus1d": (_KINETICS, True),
    "torchvision-s3d": ({**_KINETICS, **_LARGE, "frames": 128, "rate": 15.0}, True),
    "vcop-r3d": (_UNIT, True),
    "vcop-r2plus1d": (_UNIT, True),
    "vcop-c3d": (_UNIT, True),
    "prp-c3d": (_UNIT, True),
    "mas": (_RAW, True),
    "hara": ({"mean": (0.4345, 0.4051, 0.3775), "std": (0.2768, 0.2713, 0.2737)}, False),
    "coclr": ({"frames": 32, "resize": (128, 128), "size": 128}, False),
    "rspnet-s3dg": (_LARGE, True),
    "pace": (_RAW, False),
    "shufflenet": (_CENTRED, False),
    "mobilenet_v2": (_CENTRED, False),
    "squeezenet": (_CENTRED, False),
}
"""By layout, the input that its weights were trained on, and whether a source confirms it."""


def published_input(converted: Converted) -> tuple[dict[str, Any], bool]:
    """The options of `Imported` for what the weights were trained on, and whether that is known or a guess.

    Several systems write one layout; what was dropped from the file tells STS (its two heads: BGR 0..255) and RSPNet
    (its momentum encoder: ImageNet normalisation) from the others.
    """
    dropped = converted.dropped
    if any("motion_linear." in key for key in dropped):
        return dict(_RAW), True
    if any("encoder_k.encoder." in key for key in dropped):
        return dict(_LARGE if converted.layout == "rspnet-s3dg" else _IMAGENET), True
    options, known = INPUTS[converted.layout]
    return dict(options), known
