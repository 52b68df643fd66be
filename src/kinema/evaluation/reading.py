"""Rows of a manifest to arrays, in other processes; what cannot be read is collected, never hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.data.packed import pointer, read_row
from kinema.data.workers import dead_workers_explained
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.evaluation.views import Geometry, ViewPreset, clip_indices, geometry
from kinema.modules.encoder import EncoderInput
from kinema.video.decode import read_sizes

Clips = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Size = tuple[int, int]


@dataclass(frozen=True)
class RowRead:
    """What became of one row: its values, or the parts of `RowReader`, or the reason why there are none."""

    row: int
    values: Tensor | None = None
    reason: str = ""
    parts: Mapping[int, Tensor] = field(default_factory=dict)


class Wish(NamedTuple):
    """Frames of a row at one size, and what makes an array of them as decoded: uint8 RGB [T, height, width, 3].

    A thumbnail may be made of smaller frames that were stored before, without a warning.
    """

    indices: IntArray
    size: Size
    finish: Callable[[Clips], Array]
    thumbnail: bool = False


class Reader(Protocol):
    """Something that is made of the frames of a row."""

    def wish(self, manifest: Manifest, row: int) -> Wish:
        """Which frames it wants of this row."""


@dataclass(frozen=True)
class RowReader:
    """Several readers out of one decode.

    Attributes:
        readers: all of them.
        wanted: by row, the numbers of those that want it.
    """

    readers: tuple[Reader, ...]
    wanted: Mapping[int, tuple[int, ...]]

    def __call__(self, manifest: Manifest, row: int) -> dict[int, Array]:
        """By number, what the row's readers made of it."""
        wishes = {number: self.readers[number].wish(manifest, row) for number in self.wanted[row]}
        by_size: dict[Size, list[IntArray]] = {}
        for wish in wishes.values():
            by_size.setdefault(wish.size, []).append(wish.indices)
        unions = {size: np.unique(np.concatenate(indices)) for size, indices in by_size.items()}
        thumbnails = {size: all(w.thumbnail for w in wishes.values() if w.size == size) for size in unions}
        decoded = _decode(manifest, row, unions, thumbnails)
        return {n: wish.finish(_own(decoded[wish.size], unions[wish.size], wish.indices)) for n, wish in wishes.items()}


def _decode(
    manifest: Manifest, row: int, wanted: Mapping[Size, IntArray], thumbnails: Mapping[Size, bool]
) -> dict[Size, Clips]:
    """Frames at several sizes: out of one decode, or from a packed store."""
    if pointer(manifest, row, "packed") is not None:
        return {
            size: read_row(manifest, row, frames, size, thumbnail=thumbnails[size]) for size, frames in wanted.items()
        }
    return read_sizes(manifest.video(row), wanted)


class _Rows(Dataset[RowRead]):
    def __init__(self, manifest: Manifest, read: Callable[[Manifest, int], Array | dict[int, Array]]) -> None:
        self.manifest, self.read = manifest, read

    def __getitem__(self, row: int) -> RowRead:
        try:
            found = self.read(self.manifest, row)
        except KinemaError as error:
            return RowRead(row, None, str(error))
        if isinstance(found, dict):
            return RowRead(row, parts={number: torch.from_numpy(values) for number, values in found.items()})
        return RowRead(row, torch.from_numpy(found))


def read_rows(
    manifest: Manifest,
    rows: Sequence[int],
    read: Callable[[Manifest, int], Array | dict[int, Array]],
    *,
    workers: int = 0,
) -> Iterator[RowRead]:
    """`read(manifest, row)` for every row, in order, in `workers` processes (0: in this one)."""
    loader = DataLoader(
        _Rows(manifest, read),
        batch_size=None,
        sampler=rows,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        generator=torch.Generator(),  # else iterating draws from the global one
    )
    with dead_workers_explained():
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
            "Mend or remove these files, or evaluate with --skip-broken (skip_broken), which is told in every row"
        )


def row_frames(manifest: Manifest, row: int, rate: float | None) -> npt.NDArray[np.int64]:
    """Frame indices of a row's segment at `rate` frames per second (None: every frame)."""
    start, end = manifest.bounds(row)
    return Index(manifest, np.array([row]), np.array([start]), np.array([end])).frames(0, rate=rate)


def clip_frames(network: EncoderInput) -> int:
    """Frames of one clip: the network's own number, or one for an encoder of images."""
    return network.frames if network.modality == "video" else 1


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
        return RowReader((self,), {row: (0,)})(manifest, row)[0]

    def wish(self, manifest: Manifest, row: int) -> Wish:
        """All frames that any clip shows."""
        info = manifest.video(row)
        inside = row_frames(manifest, row, self.network.rate)
        frames = clip_frames(self.network)
        preset = self.preset.of(str(manifest.path(row).name), f"{manifest.bounds(row)[0]:g}")
        clips = inside[clip_indices(preset, len(inside), frames=frames, stride=self.network.stride)]
        union, positions = np.unique(clips, return_inverse=True)
        plan = geometry(preset, self.network, height=info.height, width=info.width)
        return Wish(union, plan.resize, partial(_cut, positions.reshape(clips.shape), plan))


def _cut(positions: IntArray, plan: Geometry, decoded: Clips) -> Clips:
    """The views out of the decoded frames: `positions` [clips, T] says which of them each clip shows."""
    height, width = plan.size
    views = np.empty((len(positions), len(plan.crops), 3, positions.shape[1], height, width), np.uint8)
    for clip, wanted in enumerate(positions):
        for number, crop in enumerate(plan.crops):
            cut = decoded[wanted, crop.top : crop.top + height, crop.left : crop.left + width]
            views[clip, number] = (cut[:, :, ::-1] if crop.flip else cut).transpose(3, 0, 1, 2)
    return views.reshape(-1, *views.shape[2:])


def _own(decoded: Clips, union: IntArray, indices: IntArray) -> Clips:
    return decoded if np.array_equal(union, indices) else decoded[np.searchsorted(union, indices)]
