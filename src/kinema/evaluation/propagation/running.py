"""One sequence, all arms: its frames are read once, every arm encodes each of them once, and is judged at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.manifest import Manifest
from kinema.data.packed import read_row
from kinema.evaluation.propagation.carrying import Carrier
from kinema.evaluation.propagation.features import FrameFeatures, PixelFeatures
from kinema.evaluation.propagation.labels import Size
from kinema.evaluation.propagation.presets import PropagationPreset
from kinema.evaluation.propagation.truths import Array, Truth, truth_of
from kinema.evaluation.reading import row_frames

Seer = FrameFeatures | PixelFeatures | None
"""What an arm sees frames with; None copies the labels of frame 0."""

SHOWN = 24
"""Frames of a sequence that are kept for the report."""


class Carried(NamedTuple):
    """One sequence under all arms.

    Attributes:
        values: by arm, what the truth's `judge` said of the judged frames, [frames, ...].
        frames: indices in the video of the frames that are kept to be looked at.
        kept: by arm, and under "" the truth, what the truth's `small` made of the ids or joints of these frames: those
            of all sequences are held until the end.
    """

    values: dict[str, npt.NDArray[np.float64]]
    frames: npt.NDArray[np.int64]
    kept: dict[str, Array]


@dataclass
class _Arm:
    """Where one arm stands in the sequence."""

    seer: Seer
    carrier: Carrier | None = None
    values: list[Array] = field(default_factory=list)
    kept: list[Array] = field(default_factory=list)

    def maps(self, frames: Tensor, grid: Size) -> Tensor:
        """Features [n, D, h, w] of frames."""
        assert self.seer is not None
        return self.seer(frames) if isinstance(self.seer, FrameFeatures) else self.seer(frames, grid)


def carry_sequence(
    seers: Mapping[str, Seer], manifest: Manifest, row: int, preset: PropagationPreset, *, device: str
) -> Carried:
    """Carry the labels of the row's first frame through it with every arm, and judge them.

    Bare pixels are taken on the grid of the first arm's map.

    Raises:
        DataError: labels are missing or cannot be read.
        VideoError: a frame cannot be read.
    """
    truth = truth_of(manifest, row, preset)
    frames = row_frames(manifest, row, None)
    sequence = _Sequence(truth, {name: _Arm(seer) for name, seer in seers.items()})
    for start, block in _blocks(manifest, row, frames[: truth.judged[-1] + 1], preset):
        sequence.advance(block.to(device), start)
    looked_at = sorted(sequence.looked_at)
    kept = {name: np.stack(arm.kept) for name, arm in sequence.arms.items()}
    kept[""] = np.stack([truth.small(truth.at(frame)) for frame in looked_at])
    values = {name: np.stack(arm.values).astype(np.float64) for name, arm in sequence.arms.items()}
    return Carried(values, frames[looked_at], kept)


def _blocks(
    manifest: Manifest, row: int, frames: npt.NDArray[np.int64], preset: PropagationPreset
) -> Iterator[tuple[int, Tensor]]:
    """Some frames at a time, uint8 [n, 3, H, W] at the size at which they are encoded, and the number of the first."""
    video = manifest.video(row)
    size = preset.frame_size(video.height, video.width)
    for start in range(0, len(frames), preset.batch):
        read = read_row(manifest, row, frames[start : start + preset.batch], size)
        yield start, torch.from_numpy(read).permute(0, 3, 1, 2)


class _Sequence:
    """All arms on their way through one sequence."""

    def __init__(self, truth: Truth, arms: Mapping[str, _Arm]) -> None:
        self.truth, self.arms = truth, arms
        self.judged = frozenset(truth.judged)
        chosen = np.unique(np.linspace(0, len(truth.judged) - 1, SHOWN).astype(int))
        self.looked_at = frozenset(truth.judged[number] for number in chosen.tolist())

    def advance(self, block: Tensor, start: int) -> None:
        """One block of frames; what an arm says of it comes to the CPU at once."""
        size, grid = (block.shape[2], block.shape[3]), (0, 0)
        due = [frame for frame in range(start, start + len(block)) if frame in self.judged]
        for arm in self.arms.values():
            found = [self.truth.at(0)] * len(due)
            if arm.seer is not None:
                maps = arm.maps(block, grid)
                grid = grid if all(grid) else (maps.shape[2], maps.shape[3])
                found = self._found(arm, maps, start, size)
            for frame, one in zip(due, found, strict=True):
                arm.values.append(self.truth.judge(one, frame))
                arm.kept += [self.truth.small(one)] if frame in self.looked_at else []

    def _found(self, arm: _Arm, maps: Tensor, start: int, size: Size) -> list[Array]:
        """What the arm finds in the judged frames of a block."""
        shown = [
            self.truth.shown(labels, size)
            for frame, labels in enumerate(self._carry(arm, maps, size), start)
            if frame in self.judged
        ]
        return [self.truth.read(one) for one in torch.stack(shown).cpu().numpy()] if shown else []

    def _carry(self, arm: _Arm, maps: Tensor, size: Size) -> Iterator[Tensor]:
        """The arm's labels [L, h, w] of each frame."""
        for features in maps:
            if arm.carrier is None:
                labels = self.truth.start(size, (features.shape[1], features.shape[2]), features.device)
                arm.carrier = Carrier(features, labels, self.truth.preset.rule)
                yield labels
            else:
                yield arm.carrier.step(features)
