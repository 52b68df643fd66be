"""Rows of a manifest to arrays, in other processes; what cannot be read is collected, never hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.packed import read_row
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.evaluation.views import ViewPreset, clip_indices, geometry
from kinema.modules.encoder import EncoderInput

Clips = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RowRead:
    """What became of one row: its values, or None and the reason."""

    row: int
    values: Tensor | None
    reason: str = ""


class _RowReader(Dataset[RowRead]):
    def __init__(self, manifest: Manifest, read: Callable[[Manifest, int], npt.NDArray[np.generic]]) -> None:
        self.manifest, self.read = manifest, read

    def __getitem__(self, row: int) -> RowRead:
        try:
            return RowRead(row, torch.from_numpy(self.read(self.manifest, row)))
        except KinemaError as error:
            return RowRead(row, None, str(error))


def read_rows(
    manifest: Manifest,
    rows: Sequence[int],
    read: Callable[[Manifest, int], npt.NDArray[np.generic]],
    *,
    workers: int = 0,
) -> Iterator[RowRead]:
    """`read(manifest, row)` for every row, in order, in `workers` processes (0: in this one)."""
    loader = DataLoader(
        _RowReader(manifest, read),
        batch_size=None,
        sampler=rows,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        generator=torch.Generator(),  # else iterating draws from the global one
    )
    yield from loader


def refuse(failures: Sequence[RowRead], total: int) -> None:
    """Raise when there are failures.

    Raises:
        DataError: names up to five files with their reasons, and the remedy.
    """
    if failures:
        named = "\n  ".join(failure.reason for failure in failures[:5])
        more = f"\n  … and {len(failures) - 5} more" if len(failures) > 5 else ""
        raise DataError(
            f"{len(failures)} of {total} rows cannot be read:\n  {named}{more}\n"
            "Mend or remove these files, or evaluate with skip_broken, which states the number in every row"
        )


def row_frames(manifest: Manifest, row: int, rate: float | None) -> npt.NDArray[np.int64]:
    """Frame indices of a row's segment at `rate` frames per second (None: every frame)."""
    start, end = manifest.bounds(row)
    return Index(manifest, np.array([row]), np.array([start]), np.array([end])).frames(0, rate=rate)


def clip_frames(network: EncoderInput) -> int:
    """Frames of one clip: the network's own number, or one for an encoder of images."""
    return network.frames if network.modality == "video" else 1


def shown(network: EncoderInput, clips: Tensor) -> Tensor:
    """uint8 clips [B, 3, T, h, w] as the network wants them: normalised, and without the time axis for images."""
    return network.normalise(clips.squeeze(2) if network.modality == "image" else clips)


@dataclass(frozen=True)
class ClipReader:
    """Reads all views of a row with one decode: uint8 RGB [views, 3, T, h, w], clips in order, their crops inside."""

    network: EncoderInput
    preset: ViewPreset

    def __post_init__(self) -> None:
        if self.network.modality not in ("video", "image"):
            raise RecipeError(
                f"an encoder of '{self.network.modality}' cannot be evaluated on videos; it takes no video or image"
            )

    def __call__(self, manifest: Manifest, row: int) -> Clips:
        """The views of one row."""
        info = manifest.video(row)
        inside = row_frames(manifest, row, self.network.rate)
        frames = clip_frames(self.network)
        clips = inside[clip_indices(self.preset, len(inside), frames=frames, stride=self.network.stride)]
        plan = geometry(self.preset, self.network, height=info.height, width=info.width)
        union, positions = np.unique(clips, return_inverse=True)
        decoded = read_row(manifest, row, union, plan.resize)
        views = np.empty((len(clips), len(plan.crops), 3, frames, *plan.size), np.uint8)
        for clip, wanted in enumerate(positions.reshape(clips.shape)):
            for number, crop in enumerate(plan.crops):
                cut = decoded[wanted, crop.top : crop.top + plan.size[0], crop.left : crop.left + plan.size[1]]
                views[clip, number] = (cut[:, :, ::-1] if crop.flip else cut).transpose(3, 0, 1, 2)
        return views.reshape(-1, *views.shape[2:])
