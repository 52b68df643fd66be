"""Keyed randomness: every random number is a pure function of a key such as (seed, epoch, sample).

No generator state is ever stored. The same sample is the same whatever the worker count, the split of the batch or the
number of processes, and a resumed run draws exactly what the uninterrupted run would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

Key = int | str


def key_entropy(*key: Key) -> int:
    """128 bits that depend on every part of `key` and on their order; equal on every platform and Python version."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def numpy_generator(*key: Key) -> np.random.Generator:
    """A NumPy generator that is a pure function of `key`."""
    return np.random.Generator(np.random.Philox(key_entropy(*key)))


def torch_generator(*key: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device`, seeded by `key` (CPU and CUDA streams of one seed differ, as torch defines)."""
    return torch.Generator(device).manual_seed(key_entropy(*key) & 0x7FFF_FFFF_FFFF_FFFF)
