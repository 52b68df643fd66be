"""What is known of a sequence: the labels that it starts with, and those that its later frames are judged by."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.annotations import Masks, read_masks, read_positions
from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.evaluation.propagation.labels import Size, to_grid, to_picture
from kinema.evaluation.propagation.presets import PropagationPreset
from kinema.evaluation.reading import row_frames
from kinema.metrics.keypoints import joint_errors, joint_maps, read_joints
from kinema.metrics.segmentation import class_confusion, frame_agreement, object_ids
from kinema.video.probe import VideoInfo

Array = npt.NDArray[np.generic]
_KEPT = 16  # masks in memory
_AREA = 112 * 144  # pixels of a mask that is kept to be looked at
_STRETCHED = 0.05  # by how much a mask may be wider or narrower than the frames


class Truth(Protocol):
    """What a task knows of one sequence.

    Attributes:
        judged: the frames (0 is the sequence's first) that count.
        preset: how labels are carried.
    """

    judged: tuple[int, ...]
    preset: PropagationPreset

    def start(self, size: Size, grid: Size, device: torch.device) -> Tensor:
        """Labels [L, h, w] of frame 0 on the grid of features of a frame of this size."""

    def shown(self, labels: Tensor, size: Size) -> Tensor:
        """What carried labels [L, h, w] say, in a form that is still on their device."""

    def read(self, shown: Array) -> Array:
        """What a frame is judged by, out of `shown`: ids [H, W], or joints [J, 2] in pixels."""

    def at(self, frame: int) -> Array:
        """The true ids or joints of a frame; frame 0 and those of `judged` have some."""

    def judge(self, found: Array, frame: int) -> Array:
        """How well the ids or joints that were found in a frame agree with the true ones."""

    def small(self, found: Array) -> Array:
        """What is kept of ids or joints to be looked at: a small mask, or joints as shares of width and height."""


def truth_of(manifest: Manifest, row: int, preset: PropagationPreset) -> Truth:
    """What the manifest tells of a row, for the preset's task.

    Raises:
        DataError: there is nothing to start with, nothing to judge by, or it cannot be read.
    """
    if preset.task == "joints":
        return JointTruth(manifest, row, preset)
    kind = ObjectTruth if preset.task == "objects" else ClassTruth
    return kind(manifest, row, preset)


class _MaskTruth:
    """Ids of pixels; frames without a mask are carried through and not judged."""

    numbers: tuple[int, ...]

    def __init__(self, manifest: Manifest, row: int, preset: PropagationPreset) -> None:
        self.masks: Masks = read_masks(manifest, row)
        self.preset = preset
        frames = row_frames(manifest, row, None)
        self.frames = frames.tolist()
        self.known = tuple(np.flatnonzero(np.isin(frames, list(self.masks))).tolist())
        if 0 not in self.known:
            raise DataError(
                f"{self.masks.path}: the first frame of the sequence has no mask, so nothing can be carried"
            )
        if len(self.known) < 3:
            raise DataError(
                f"{self.masks.path}: {len(self.known)} of {len(frames)} frames have a mask; judging needs three or "
                "more. Without truth labels can be carried (kinema.evaluation.propagation.carry_masks), but not judged"
            )
        self.first = self.masks[self.frames[0]]
        self._fits(manifest.video(row))
        self._kept: dict[int, npt.NDArray[np.uint8]] = {}

    def start(self, size: Size, grid: Size, device: torch.device) -> Tensor:
        """One map for each number, on the grid."""
        first = torch.from_numpy(self.first).to(device)
        return to_grid(first, self.numbers, size, grid, how=self.preset.grid_labels)

    def shown(self, labels: Tensor, size: Size) -> Tensor:
        """Places in the list of ids, at the size of the masks."""
        height, width = self.first.shape
        return to_picture(labels, size, (height, width), stretch=self.preset.stretch)

    def read(self, shown: Array) -> Array:
        """The ids: looked up here, since a list would have to be sent to the device for every frame."""
        return np.asarray(np.array(self.numbers, np.uint8)[shown])

    def at(self, frame: int) -> npt.NDArray[np.uint8]:
        """The mask of a frame; a few are kept, since every arm is judged by them."""
        if frame == 0:
            return self.first
        if frame not in self._kept:
            if len(self._kept) == _KEPT:
                self._kept.clear()
            self._kept[frame] = self._read(frame)
        return self._kept[frame]

    def small(self, found: Array) -> Array:
        """Every few pixels of the ids."""
        height, width = found.shape
        shrink = min(1.0, (_AREA / (height * width)) ** 0.5)
        rows, columns = (
            ((np.arange(round(n * shrink)) + 0.5) / shrink).astype(int).clip(max=n - 1) for n in (height, width)
        )
        return np.asarray(found[rows[:, None], columns])

    def _read(self, frame: int) -> npt.NDArray[np.uint8]:
        found = self.masks[self.frames[frame]]
        if found.shape != self.first.shape:
            raise DataError(
                f"{self.masks.path}: the mask of frame {self.frames[frame]} has {found.shape[0]} x {found.shape[1]} "
                f"pixels, the first one {self.first.shape[0]} x {self.first.shape[1]}: masks of a video share one size"
            )
        return found

    def _fits(self, video: VideoInfo) -> None:
        """Masks may be smaller or larger than the frames, but must have their shape."""
        (height, width), shape = self.first.shape, video.width / video.height
        if abs(width / height / shape - 1) > _STRETCHED:
            raise DataError(
                f"{self.masks.path}: the first mask has {height} x {width} pixels, the frames {video.height} x "
                f"{video.width}: a mask must show the whole frame"
            )


class ObjectTruth(_MaskTruth):
    """Objects, judged by J and F without the first and the last frame."""

    def __init__(self, manifest: Manifest, row: int, preset: PropagationPreset) -> None:
        super().__init__(manifest, row, preset)
        self.objects = object_ids(self.first)
        if not self.objects:
            raise DataError(f"{self.masks.path}: the mask of the first frame shows no object")
        self.numbers = (0, *self.objects)
        self.judged = self.known[1:-1]

    def judge(self, found: Array, frame: int) -> Array:
        """J and F of every object, [2, N]."""
        return np.array(frame_agreement(found, self.at(frame), self.objects))  # type: ignore[arg-type]


class ClassTruth(_MaskTruth):
    """Classes of pixels, judged over all frames."""

    def __init__(self, manifest: Manifest, row: int, preset: PropagationPreset) -> None:
        super().__init__(manifest, row, preset)
        self.numbers = tuple(np.unique(self.first).tolist())
        self.judged = self.known

    def judge(self, found: Array, frame: int) -> Array:
        """Counts [classes, classes]."""
        try:
            return class_confusion([(found, self.at(frame))], classes=self.preset.classes)  # type: ignore[list-item]
        except ValueError as error:
            raise DataError(f"{self.masks.path}: {error} (propagation.classes)") from error


class JointTruth:
    """Joints of one person, judged in all frames after the first."""

    def __init__(self, manifest: Manifest, row: int, preset: PropagationPreset) -> None:
        video, self.preset = manifest.video(row), preset
        self.size: Size = (video.height, video.width)
        positions = read_positions(manifest, row)
        frames = row_frames(manifest, row, None)
        self.positions = positions[frames[frames < len(positions)]]
        if len(self.positions) < 2:
            raise DataError(f"{manifest.file(row, 'joints')}: {len(self.positions)} frames of the sequence have joints")
        self.judged = tuple(range(1, len(self.positions)))

    def start(self, size: Size, grid: Size, device: torch.device) -> Tensor:
        """The background and one map for each joint, on the grid."""
        maps = joint_maps(self.positions[0] / self._cell(grid), grid, sigma=self.preset.sigma)
        return torch.from_numpy(maps).to(device)

    def shown(self, labels: Tensor, size: Size) -> Tensor:
        """The maps of the joints, without the background."""
        return labels[1:]

    def read(self, shown: Array) -> Array:
        """The joints of these maps in pixels of the video; (-1, -1) where a map is empty."""
        places = read_joints(shown, best=self.preset.best)  # type: ignore[arg-type]
        found = places >= 0
        cell = self._cell((shown.shape[1], shown.shape[2]))
        return np.asarray(np.where(found, places * cell, places))

    def at(self, frame: int) -> Array:
        """The joints of a frame."""
        return np.asarray(self.positions[frame])

    def judge(self, found: Array, frame: int) -> Array:
        """Distances [J]."""
        return np.asarray(joint_errors(found[None], self.positions[frame][None])[0])  # type: ignore[arg-type]

    def small(self, found: Array) -> Array:
        """Joints as shares of width and height."""
        return np.asarray(found / np.array([self.size[1], self.size[0]]), np.float32)

    def _cell(self, grid: Size) -> npt.NDArray[np.float64]:
        """Width and height of a cell in pixels of the video."""
        return np.array([self.size[1] / grid[1], self.size[0] / grid[0]])
