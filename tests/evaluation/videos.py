"""Small rendered videos, and encoders whose answer is known."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from kinema.modules.encoder import Encoder, EncoderInput, Features
from tests import helpers

SMALL = EncoderInput(frames=4, resize=(24, 32), size=(16, 16), mean=(0, 0, 0), std=(1, 1, 1))

# Nearly equal in grey (100 of 255), far apart in colour.
COLOURS = {"red": (230, 40, 66), "green": (0, 160, 53), "blue": (60, 94, 240)}


def write_video(path: Path, frames: np.ndarray) -> None:
    """uint8 RGB [T, H, W, 3] at 25 fps, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    helpers.write_video(path, frames, rate=25, codec="ffv1")


def grey_ramp(count: int, *, step: int = 4) -> np.ndarray:
    """Frame k has the grey level step * k."""
    return np.repeat(np.arange(count, dtype=np.uint8) * step, 24 * 32 * 3).reshape(count, 24, 32, 3)


class MeanColour(Encoder):
    """The average colour of a clip, in [0, 1]; the map is the clip itself."""

    taps = ("half",)

    def __init__(self, network: EncoderInput = SMALL) -> None:
        super().__init__()
        self.input, self.feature_dim = network, 3

    def forward(self, x, valid=None, taps=()):
        return Features(x.flatten(2).mean(2), x, extra=dict.fromkeys(taps, x / 2))


class Brightness(Encoder):
    """How bright a clip is, three times: blind to colour."""

    def __init__(self, network: EncoderInput = SMALL) -> None:
        super().__init__()
        self.input, self.feature_dim = network, 3

    def forward(self, x, valid=None, taps=()):
        grey = (x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)).sum(1, keepdim=True)
        return Features(grey.flatten(1).mean(1, keepdim=True).expand(-1, 3) + torch.tensor([0.0, 0.1, 0.2]))


class TinyNet(Encoder):
    """A convolution with BatchNorm and dropout."""

    def __init__(self, network: EncoderInput = SMALL) -> None:
        super().__init__()
        self.input, self.feature_dim = network, 8
        self.conv = nn.Conv3d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm3d(8)
        self.drop = nn.Dropout(0.5)

    def forward(self, x, valid=None, taps=()):
        found = self.norm(self.conv(x)).relu()
        return Features(self.drop(found.mean((2, 3, 4))), found)


def untrained_net(seed: int = 0) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyNet()
