"""What a method asks the reader for, and what it gets back.

A plan is data, not work: it names frames and carries the numbers drawn for one sample. The loader carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.generic]
Size = tuple[int, int]


class Clock(NamedTuple):
    """Where training stands when a sample is planned: epoch and global step from 0, progress in [0, 1)."""

    epoch: int
    step: int
    progress: float


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one manifest row by index (0 = first frame of the file), repeated and unordered indices allowed.

    Read as uint8 RGB and handed to the method as [3, len(indices), height, width], scaled to `size` (height, width)
    while decoding (bilinear); None keeps the stored size.
    """

    row: int
    indices: npt.NDArray[np.int64]
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Frames of one manifest row by time: seconds after the first frame; the frame on show at that moment."""

    row: int
    seconds: npt.NDArray[np.float64]
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """Optical flow between consecutive frames of the read named `of`, at that read's size: [2, frames - 1, H, W].

    Channels are (u, v) in pixels per frame. Flow that is computed here, by `preset` (for example "dis-fast"), is handed
    over as float16, or with `coded` as uint8 in the 8-bit coding of `kinema.video.flow`, whose steps of 0.157 pixels
    blur slow motion. Where the row has a `flow` column the flow comes from there instead, whatever the preset, and
    stays in the coding in which it is stored. `kinema.video.flow.decode_flow` takes either.
    """

    of: str
    preset: str = "dis-medium"
    coded: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A cached array (`.npy`, memory-mapped) that the manifest column `name` points to, rows `start` to `stop`."""

    row: int
    name: str
    start: int = 0
    stop: int | None = None


Read = Frames | Times | Flow | Column


class Sample(NamedTuple):
    """One sample's plan: what to read, and the numbers drawn for it (labels, crops, masks …). Decodes nothing."""

    reads: dict[str, Read]
    draws: dict[str, Array]


@dataclass
class Ragged:
    """Arrays of unequal length: `values` are padded with zeros to the longest, `lengths` is int64 [B].

    `axis` of a sample is the one that differs, axis + 1 of `values`: 0 for rows, giving [B, longest, ...]; 1 for clips,
    giving [B, 3, longest, height, width].
    """

    values: Tensor
    lengths: Tensor
    axis: int = 0

    @property
    def valid(self) -> Tensor:
        """Bool [B, longest]: True where a value is real."""
        longest = self.values.shape[self.axis + 1]
        return torch.arange(longest, device=self.values.device) < self.lengths[:, None]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Ragged:
        """The same values on `device`."""
        values = self.values.to(device, non_blocking=non_blocking)
        return Ragged(values, self.lengths.to(device, non_blocking=non_blocking), self.axis)


Batch = dict[str, Tensor | Ragged]
"""What the loader hands to `prepare`: one entry per read and draw, stacked over the samples."""


def tensor(batch: Batch, name: str) -> Tensor:
    """The entry `name`, which must be of one shape for all samples.

    Raises:
        TypeError: the entry is ragged.
    """
    value = batch[name]
    if isinstance(value, Ragged):
        raise TypeError(f"'{name}' is ragged: its samples differ in length")
    return value


def collate(samples: Sequence[Mapping[str, Array]], *, shared: bool = False) -> Batch:
    """Stack what is equal in shape; make Ragged what differs along one axis.

    Args:
        samples: named arrays each.
        shared: stack into memory that other processes can map, which saves a copy when the batch is sent to one.

    Raises:
        ValueError: when two samples have different names, or differ in type, rank or along more than one axis.
    """
    names = samples[0].keys()
    for sample in samples[1:]:
        if sample.keys() != names:
            raise ValueError(f"samples of one batch differ: {sorted(names)} and {sorted(sample.keys())}")
    return {name: _join(name, [np.asarray(sample[name]) for sample in samples], shared) for name in names}


def _join(name: str, arrays: list[Array], shared: bool) -> Tensor | Ragged:
    types = sorted({str(array.dtype) for array in arrays})
    if len(types) > 1:
        raise ValueError(f"'{name}' cannot be batched: types {types} (does every row of the manifest have its column?)")
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) == 1:
        return _stack_shared(arrays) if shared and arrays[0].size else torch.from_numpy(np.stack(arrays))
    differing = [axis for axis, sizes in enumerate(zip(*shapes, strict=False)) if len(set(sizes)) > 1]
    if len({len(shape) for shape in shapes}) != 1 or len(differing) != 1:
        raise ValueError(f"'{name}' cannot be batched: shapes {shapes}")
    values = np.zeros((len(arrays), *np.max(shapes, axis=0)), arrays[0].dtype)
    for position, array in enumerate(arrays):
        values[position][tuple(slice(size) for size in array.shape)] = array
    lengths = torch.tensor([array.shape[differing[0]] for array in arrays])
    return Ragged(torch.from_numpy(values), lengths, differing[0])


def _stack_shared(arrays: list[Array]) -> Tensor:
    first = arrays[0]
    like = torch.from_numpy(np.empty(0, first.dtype))
    storage = torch.UntypedStorage._new_shared(len(arrays) * first.nbytes)  # type: ignore[no-untyped-call]
    joined = like.new_empty(0).set_(storage).view(len(arrays), *first.shape)
    np.stack(arrays, out=joined.numpy())
    return joined
