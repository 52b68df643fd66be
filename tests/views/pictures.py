"""Small clips with structure."""

import numpy as np
import torch


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
