"""Claim: label propagation encodes every frame once; five times as fast as encoding the whole context of every target.

Run `nice python benchmarks/propagation.py [--size 480x880] [--frames 30] [--long 200] [--width 384] [--depth 12]
[--memory 20] [--threads N] [--device cpu] [--json OUT]`. A plain ViT of 16 x 16 patches, random weights, carries two
objects through drawn frames (preset "davis"). Measured: seconds per target frame of kinema, and of the straightforward
way, which for every target encodes frame 0, the `memory` frames before it and itself, each by itself. Both take turns
on the same frames and must give the same masks. They are timed on the last `--targets` frames. Then, in a process of
its own, a long sequence: the most memory held after the first 25 frames and at the end, which must not grow with the
number of frames.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kinema.evaluation.propagation import Carrier, FrameFeatures, PropagationPreset, Rule, carry_masks
from kinema.evaluation.propagation.carrying import Entry, carried, unit_places
from kinema.evaluation.propagation.labels import to_grid, to_picture
from kinema.modules.encoder import Encoder, EncoderInput, Features

PATCH = 16


class PlainViT(Encoder):
    """Patches, a transformer, a map."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.input, self.feature_dim = EncoderInput("image", frames=1), width
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        layer = nn.TransformerEncoderLayer(width, max(1, width // 64), 4 * width, 0.0, "gelu", 1e-6, True, True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, x: Any, valid: Any = None, taps: Any = ()) -> Features:
        """Images [B, 3, H, W] to their mean and a map [B, D, h, w]."""
        maps = self.patches(x)
        tokens = self.blocks(maps.flatten(2).transpose(1, 2))
        return Features(tokens.mean(1), tokens.transpose(1, 2).reshape(maps.shape))


def drawn_frames(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """A texture that slides; made one at a time."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)
    for t in range(count):
        yield np.roll(texture, 2 * t, 1)


def first_mask(height: int, width: int) -> np.ndarray:
    """Two objects."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 1
    mask[height // 2 : 3 * height // 4, width // 2 : 3 * width // 4] = 2
    return mask


def straightforward(
    features: FrameFeatures, frames: list[np.ndarray], soft: list[torch.Tensor], target: int, preset: PropagationPreset
) -> torch.Tensor:
    """Labels [L, h, w] of one target, out of frames and the soft labels of all earlier ones: every context frame is
    encoded again, copies of frame 0 too.
    """
    entries = [0, *(max(0, number) for number in range(target - preset.rule.memory, target))]
    pictures = [torch.from_numpy(frames[number]).permute(2, 0, 1)[None] for number in [*entries, target]]
    maps = [features(picture)[0] for picture in pictures]
    context = [
        Entry(unit_places(one), soft[number].flatten(1).T) for one, number in zip(maps[:-1], entries, strict=True)
    ]
    height, width = maps[0].shape[1:]
    return carried(unit_places(maps[-1]), context, (height, width), preset.rule).T.reshape(-1, height, width)


def compared(options: argparse.Namespace, preset: PropagationPreset) -> dict[str, Any]:
    """Seconds per target of both ways, on the same targets, and how far the labels differ."""
    height, width = preset.frame_size(0, 0)
    frames = list(drawn_frames(options.frames, height, width))
    torch.manual_seed(0)
    features = FrameFeatures(PlainViT(options.width, options.depth), batch=1)
    first = torch.from_numpy(first_mask(height, width))
    found = features(torch.from_numpy(frames[0]).permute(2, 0, 1)[None])[0]
    soft = [to_grid(first, (0, 1, 2), (height, width), (found.shape[1], found.shape[2]))]
    carrier = Carrier(found, soft[0], preset.rule)
    ours: list[float] = []
    theirs: list[float] = []
    apart, equal = 0.0, []
    for target in range(1, options.frames):
        start = time.perf_counter()
        soft.append(carrier.step(features(torch.from_numpy(frames[target]).permute(2, 0, 1)[None])[0]))
        taken = time.perf_counter() - start
        if target >= options.frames - options.targets:
            ours.append(taken)
            start = time.perf_counter()
            other = straightforward(features, frames, soft, target, preset)
            theirs.append(time.perf_counter() - start)
            apart = max(apart, float((other - soft[-1]).abs().max()))
            masks = [to_picture(one, (height, width), (height, width)) for one in (other, soft[-1])]
            equal.append(float((masks[0] == masks[1]).float().mean()))
    return {"ours": ours, "straightforward": theirs, "largest difference": apart, "equal pixels": min(equal)}


def long_sequence(options: argparse.Namespace, preset: PropagationPreset) -> dict[str, float]:
    """MiB held at most after 25 frames and in the end."""
    height, width = preset.frame_size(0, 0)
    torch.manual_seed(0)
    features = FrameFeatures(PlainViT(options.width, options.depth).to(options.device), batch=1)
    frames = drawn_frames(options.long, height, width)
    early = 0.0
    masks = carry_masks(features, frames, first_mask(height, width), preset, device=options.device)
    for number, _ in enumerate(masks, 1):
        early = most_held(options.device) if number == min(25, options.long) else early
    return {"frames": options.long, "MiB after 25 frames": early, "MiB in the end": most_held(options.device)}


def most_held(device: str) -> float:
    """Peak MiB of the GPU, or of this process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, print, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="480x880")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--long", type=int, default=200)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--memory", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="of the long sequence")
    parser.add_argument("--only-long", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    preset = PropagationPreset(rule=Rule(memory=options.memory), resize=options.size)
    if options.only_long:
        print(json.dumps(long_sequence(options, preset)))
        return
    found = compared(options, preset)
    ours, theirs = (float(np.median(found[name])) for name in ("ours", "straightforward"))
    print(f"{options.size}, memory {options.memory}: {ours:.2f} s per target; straightforward {theirs:.2f} s")
    print(f"ratio {theirs / ours:.1f}; labels differ by {found['largest difference']:.1e} at most")
    print(f"pixels with the same id: {100 * found['equal pixels']:.3f} %")
    words = [sys.executable, __file__, "--only-long", *sys.argv[1:]]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    held = json.loads(told.splitlines()[-1])
    print(", ".join(f"{name}: {value:.0f}" for name, value in held.items()))
    if options.json:
        machine = {"torch": torch.__version__, "system": platform.platform(), "threads": options.threads}
        record = {"machine": machine, "size": options.size, "memory": options.memory, **found, "long": held}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
