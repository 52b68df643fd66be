"""Published weights as a run: a network that comes trained and is only measured, searched with or exported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from torch import nn

from kinema.backbones import Backbone, ClipTransformer, build_network
from kinema.backbones.converters import Converted
from kinema.backbones.vit import Pool
from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.methods.encoders import ConvEncoder, FrameEncoder, ViTEncoder
from kinema.modules.encoder import Encoder, EncoderInput, Products

Triple = tuple[float, float, float]


class Imported(Method):
    """A network with weights from elsewhere. `kinema import` makes its run folders; it cannot be trained.

    A transformer of single frames is an encoder of images with frames=1; with more, every frame is encoded on its own.

    Args:
        backbone: a name of `kinema.backbones.BACKBONES` or `TRANSFORMERS`.
        network: options of that backbone, width among them.
        pool: of a transformer, what its vector is: the "mean" of its tokens, the "class" token, or "late", the
            LayerNorm of their mean.
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
        pool: Pool = "mean",
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
        self.encoder = _encoder(build_network(backbone, **(network or {})), self.input, pool)
        self.input = self.encoder.input

    @property
    def network(self) -> nn.Module:
        """What the converted weights belong to."""
        encoder = self.encoder.image if isinstance(self.encoder, FrameEncoder) else self.encoder
        network = encoder.trunk if isinstance(encoder, ViTEncoder) else encoder.backbone
        assert isinstance(network, nn.Module)
        return network

    def index(self, manifest: Manifest) -> Index:
        """Refuses: there is nothing to train."""
        raise RecipeError(
            "'imported' stands for published weights and cannot be trained: make a run of them with kinema import, "
            "then evaluate it"
        )

    def products(self) -> Products:
        """The encoder, of clips or of images."""
        return Products({self.encoder.input.modality: self.encoder})


def _encoder(network: Backbone | ClipTransformer, input: EncoderInput, pool: Pool) -> Encoder:
    if not isinstance(network, ClipTransformer):
        return ConvEncoder(network, input)
    if network.size[0] > 1:
        return ViTEncoder(network, input, pool=pool)
    image = ViTEncoder(network, replace(input, modality="image", frames=1, stride=1), pool=pool)
    return image if input.frames == 1 else FrameEncoder(image, input)


_KINETICS = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}
_UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_RAW = {**_UNIT, "scale": 255.0, "channels": "bgr"}
_IMAGENET: dict[str, Any] = {}
_CENTRED = {"mean": (114.7748, 107.7354, 99.4750), "std": (1.0, 1.0, 1.0), "scale": 255.0}
_LARGE = {"resize": (256, 256), "size": 224}
_WIDE = {"resize": (256, 340), "size": 224}
_GREY: dict[str, Any] = {**_WIDE, "mean": (0.45,) * 3, "std": (0.225,) * 3}
_STILL = {**_LARGE, "frames": 1}
_JEPA = {"resize": (292, 390), "size": 256, "stride": 4}

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
    "videomae": ({**_WIDE, "stride": 4}, True),
    "videomae-hf": ({**_WIDE, "stride": 4}, True),
    "mae-st": ({**_GREY, "stride": 4}, True),
    "vjepa2-hf": (_JEPA, True),
    "vjepa2": (_JEPA, True),
    "mae-hf": (_STILL, True),
    "mae": (_STILL, True),
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
    return {**options, **_made_for(converted)}, known


def _made_for(converted: Converted) -> dict[str, Any]:
    """Of a transformer, clips like those that its positions are made for; of V-JEPA 2, 16 frames, as it is judged."""
    if "size" not in converted.options:
        return {}
    frames, height, width = converted.options["size"]
    frames = min(frames, 16) if converted.backbone == "vjepa2" else frames
    resize = (round(height * 8 / 7), round(width * 32 / 21))
    return {"pool": converted.pool, "resize": resize, "size": height, "frames": frames}
