"""Clips with labels for training: where they start, and how they are augmented."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.index import Index
from kinema.data.sample import Array, Batch, Clock, Frames, Sample, tensor
from kinema.data.sampling import spread_over
from kinema.evaluation.finetune_presets import FineTune, Size
from kinema.evaluation.reading import clip_frames
from kinema.modules.encoder import EncoderInput
from kinema.views import (
    ClipAugment,
    ColourJitter,
    Erasing,
    Mixing,
    Photometric,
    RandAugment,
    RandomCrop,
    ResizedCrop,
    centre_crop,
)


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
        read = Frames(int(index.rows[i]), inside[self._positions(rng, len(inside))], self.network.resize)
        info = index.video(i)
        copies = [self._draw(rng, (info.height, info.width)) for _ in range(self._copies)]
        draws = (
            copies[0] if self._copies == 1 else {name: np.stack([one[name] for one in copies]) for name in copies[0]}
        )
        return Sample({"clip": read}, draws | {"label": np.array(self.labels[int(index.rows[i])])})

    def _positions(self, rng: np.random.Generator, total: int) -> npt.NDArray[np.int64]:
        frames, stride = clip_frames(self.network), self.network.stride
        if self.preset is not None and self.preset.spread == "videomae":
            return dense_window(rng, frames, stride, total)
        if self.preset is not None and self.preset.spread:
            span = frames * stride
            return spread_over(rng.uniform(0, max(0, total - span)), span, frames, total)
        steps = stride * np.arange(frames)
        room = max(1, total - int(steps[-1]))
        start = room // 2 if self.preset is None else int(rng.integers(room))
        return np.minimum(start + steps, total - 1)

    def prepare(self, batch: Batch, generator: torch.Generator) -> Batch:
        """`clip` becomes [B, 3, T, height, width] with values 0 … 255, bytes where no colour is changed.

        Under repeated augmentation everything but the numbers of the samples is as of `repeats` times as many clips,
        those of one sample beside each other.
        """
        batch = self._repeated(batch)
        clips = tensor(batch, "clip")
        if self.preset is not None and self.preset.rand_augment:
            clips = RandAugment.parse(self.preset.rand_augment).apply(clips, batch)
        clips = self._augment.geometry(clips, batch)
        if self._augment.photometric.colour is not None:
            clips = 255.0 * self._augment.colours(clips, batch)
        return {**batch, "clip": clips}

    @property
    def _copies(self) -> int:
        return self.preset.repeats if self.preset else 1

    def _repeated(self, batch: Batch) -> Batch:
        if self._copies == 1:
            return batch
        own = {name: tensor(batch, name).repeat_interleave(self._copies, 0) for name in ("clip", "label")}
        drawn = {name: tensor(batch, name).flatten(0, 1) for name in batch if name not in {*own, "sample"}}
        return {**batch, **drawn, **own}

    def _draw(self, rng: np.random.Generator, own: Size) -> dict[str, Array]:
        preset, size = self.preset, self.network.size
        # Areas and shapes are those of the video, which the reader may have stretched.
        measured = own if preset is not None and preset.crop == "area" else None
        draws: dict[str, Array] = {**self._augment.draw(rng, self.network.resize, measured=measured)}
        if preset is not None and preset.rand_augment:
            draws |= RandAugment.parse(preset.rand_augment).draw(rng)
        if preset is not None and preset.erasing:
            draws |= Erasing(preset.erasing).draw(rng, size)
        if preset is not None and (mixing := mixing_of(preset)) is not None:
            draws |= mixing.draw(rng, size)
        return draws

    @cached_property
    def _augment(self) -> ClipAugment:
        preset, size = self.preset, self.network.size
        if preset is None or preset.crop == "centre":
            return ClipAugment(size, _Middle(), flip=preset.flip if preset else 0.0, photometric=_photometric(preset))
        if preset.crop == "area":
            return ClipAugment(
                size, ResizedCrop(preset.area, preset.ratio), flip=preset.flip, photometric=_photometric(preset)
            )
        return ClipAugment(size, RandomCrop(preset.sizes), flip=preset.flip, photometric=_photometric(preset))


@dataclass(frozen=True)
class _Middle:
    """The window of the view's size in the middle of the frame as read."""

    def draw(self, rng: np.random.Generator, source: Size, size: Size) -> npt.NDArray[np.int64]:
        return np.array([*centre_crop(source, size), *size])


def dense_window(rng: np.random.Generator, frames: int, stride: int, total: int) -> npt.NDArray[np.int64]:
    """VideoMAE's training clip of a video of `total` frames: evenly from a drawn start to frames x stride behind it.

    The last of linspace(start, end) is taken back by one frame. A video that is no longer than frames x stride gives
    total // stride frames evenly from all of it, and its last one for the others.
    """
    span = frames * stride
    if total > span:
        start = int(rng.integers(total - span))
        return np.asarray(np.minimum(np.linspace(start, start + span, frames), start + span - 1), np.int64)
    count = min(frames, total // stride)
    stretched = np.concatenate([np.linspace(0, total, count), np.full(frames - count, total)])
    return np.asarray(np.minimum(stretched, total - 1), np.int64)


def mixing_of(preset: FineTune) -> Mixing | None:
    """MixUp and CutMix of the preset, drawn for every clip by itself; None where it has neither."""
    if not (preset.mixup or preset.cutmix):
        return None
    return Mixing(preset.mixup, preset.cutmix, smoothing=preset.smoothing)


def disturbed(clips: Tensor, batch: Batch, preset: FineTune) -> Tensor:
    """Erasing, then mixing, of normalised clips [B, C, T, H, W] by the numbers in `batch`."""
    if preset.erasing:
        clips = Erasing(preset.erasing).apply(clips, batch)
    mixing = mixing_of(preset)
    return clips if mixing is None else mixing.apply(clips, batch)


def _photometric(preset: FineTune | None) -> Photometric:
    if preset is None or not any(preset.jitter):
        return Photometric()
    return Photometric(ColourJitter(*preset.jitter, p=preset.jitter_probability))
