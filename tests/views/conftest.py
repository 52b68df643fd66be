"""Clips with structure, and both ways through the code: leaving out what is not drawn, and masking it."""

import numpy as np
import pytest
import torch

from kinema.views import colour_exact, filters, masking, photometric, resample

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
USERS = (colour_exact, filters, masking, photometric, resample)


@pytest.fixture(params=DEVICES)
def device(request):
    """Every device of this machine."""
    return request.param


@pytest.fixture
def masked(monkeypatch):
    """Calling it makes the CPU take the way of the other devices, which never looks at a drawn number."""

    def switch():
        for module in USERS:
            if hasattr(module, "skips"):
                monkeypatch.setattr(module, "skips", lambda clips: False)

    return switch


def picture_clips(batch=3, *, frames=2, height=24, width=32, seed=0):
    """uint8 [B, 3, T, H, W]: smooth coloured waves with a sharp bright square, all clips and frames different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    clips = np.zeros((batch, 3, frames, height, width))
    for b in range(batch):
        for c in range(3):
            fy, fx, phase = rng.uniform(0.05, 0.5, 3)
            for t in range(frames):
                clips[b, c, t] = 127 + 120 * np.sin(fy * y + fx * x + 6 * phase + 0.5 * t)
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        clips[b, :, :, top : top + height // 4, left : left + width // 4] = rng.integers(0, 256, (3, 1, 1, 1))
    return torch.from_numpy(clips.round().clip(0, 255).astype(np.uint8))


@pytest.fixture
def clips():
    """Three clips of two frames, 24 x 32."""
    return picture_clips()
