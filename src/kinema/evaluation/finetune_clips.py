"""Clips with labels for training: where they start, what is cut out of them, and whether they are mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kinema.data.index import Index
from kinema.data.sample import Batch, Clock, Frames, Sample, tensor
from kinema.errors import RecipeError
from kinema.evaluation.finetune_presets import FineTune, Size
from kinema.evaluation.reading import clip_frames
from kinema.modules.encoder import EncoderInput
from kinema.views import centre_crop, crop_flip, draw_crop, draw_flip

Box = tuple[int, int, int, int]
TRIES = 10


@dataclass(frozen=True)
class LabelledClips:
    """A planner of one clip per sample with the class of its row.

    Attributes:
        network: what the clip must be like.
        labels: int64, class of every row of the manifest.
        preset: how clips are augmented; None shows the middle clip and the centre crop.
    """

    network: EncoderInput
    labels: npt.NDArray[np.int64]
    preset: FineTune | None = None

    def plan(self, i: int, index: Index, clock: Clock, rng: np.random.Generator) -> Sample:
        """Any start that fits is as likely; a video that is too short repeats its last frame."""
        inside = index.frames(i, rate=self.network.rate)
        steps = self.network.stride * np.arange(clip_frames(self.network))
        room = max(1, len(inside) - int(steps[-1]))
        start = room // 2 if self.preset is None else int(rng.integers(room))
        read = Frames(int(index.rows[i]), inside[np.minimum(start + steps, len(inside) - 1)], self.network.resize)
        box, flip = self._box(rng)
        label = self.labels[int(index.rows[i])]
        return Sample({"clip": read}, {"box": np.array(box), "flip": np.array(flip), "label": np.array(label)})

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Cut, resample and mirror: `clip` becomes uint8 [B, 3, T, height, width]."""
        clips, boxes, flips = (tensor(batch, name) for name in ("clip", "box", "flip"))
        size = self.network.size
        if bool((boxes[:, 2:] == torch.tensor(size)).all()):
            return {**batch, "clip": crop_flip(clips, boxes[:, 0], boxes[:, 1], flips, size)}
        cut = [_resampled(clip, box, size) for clip, box in zip(clips, boxes.tolist(), strict=True)]
        clip = torch.stack([c.flip(-1) if flip else c for c, flip in zip(cut, flips.tolist(), strict=True)])
        return {**batch, "clip": clip}

    def _box(self, rng: np.random.Generator) -> tuple[Box, bool]:
        """(top, left, height, width) in the frame as read, and whether to mirror it."""
        source, size, preset = self.network.resize, self.network.size, self.preset
        if preset is None:
            return (*centre_crop(source, size), *size), False
        if preset.crop == "area":
            box = draw_area(rng, source, preset.area, preset.ratio)
        elif preset.crop == "centre":
            box = (*centre_crop(source, size), *size)
        else:
            scale = preset.scales[int(rng.integers(len(preset.scales)))] if preset.crop == "scales" else 1.0
            window = (round(size[0] * scale), round(size[1] * scale))
            box = (*draw_crop(rng, source, window), *window)
        return box, draw_flip(rng, preset.flip)


def left_out(preset: FineTune) -> list[str]:
    """Augmentations of the preset that are not applied to its clips, for the card."""
    wanted = {
        "jitter": any(preset.jitter) and preset.jitter_probability > 0,
        "rand_augment": bool(preset.rand_augment),
        "erasing": preset.erasing > 0,
        "mixup": preset.mixup > 0,
        "cutmix": preset.cutmix > 0,
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def draw_area(rng: np.random.Generator, source: Size, area: tuple[float, float], ratio: tuple[float, float]) -> Box:
    """(top, left, height, width) of a window with a uniform share of the frame and a log-uniform width / height.

    After ten that do not fit: the largest one in the middle whose shape lies within `ratio` (Szegedy et al., 2015, as
    torchvision has it).
    """
    height, width = source
    for _ in range(TRIES):
        pixels = rng.uniform(*area) * height * width
        shape = np.exp(rng.uniform(*np.log(ratio)))
        window = round(float(np.sqrt(pixels / shape))), round(float(np.sqrt(pixels * shape)))
        if 0 < window[0] <= height and 0 < window[1] <= width:
            return (*draw_crop(rng, source, window), *window)
    shape = float(np.clip(width / height, *ratio))
    window = min(height, round(width / shape)), min(width, round(height * shape))
    return (*centre_crop(source, window), *window)


def _resampled(clip: Tensor, box: Box, size: Size) -> Tensor:
    """uint8 [3, T, H, W] to its window `box` at `size`, bilinear, averaging where it shrinks."""
    top, left, height, width = box
    window = clip[..., top : top + height, left : left + width]
    if window.shape[-2:] != (height, width):
        raise RecipeError(f"the window {box} (top, left, height, width) leaves the frame of {tuple(clip.shape[-2:])}")
    scaled = interpolate(window.float(), size, mode="bilinear", align_corners=False, antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)
