"""Carries a plan out: decodes what a sample asks for, once per row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from kinema.data.flows import stored_flow
from kinema.data.manifest import Manifest
from kinema.data.packed import read_row_sizes
from kinema.data.sample import Array, Column, Flow, Frames, Read, Sample, Size, Times
from kinema.errors import DataError
from kinema.video.flow import compute_flow, encode_flow

Indices = npt.NDArray[np.int64]
Clip = npt.NDArray[np.uint8]


def execute(sample: Sample, manifest: Manifest) -> dict[str, Array]:
    """Read everything a sample asks for and join it with the drawn numbers.

    Returns:
        Frames and Times as uint8 RGB [3, T, H, W]; Flow as [2, T - 1, H, W]; columns and draws as they are.

    Raises:
        VideoError: a file or frame cannot be decoded.
        DataError: a plan that names an unknown read, or a name used twice.
    """
    both = sample.reads.keys() & sample.draws.keys()
    if both:
        raise DataError(f"the plan uses {sorted(both)} as names of a read and of a draw: rename one")
    clips = _decode(sample.reads, manifest)
    arrays: dict[str, Array] = dict(sample.draws)
    for name, read in sample.reads.items():
        if isinstance(read, Frames | Times):
            arrays[name] = clips[name].transpose(3, 0, 1, 2)
        elif isinstance(read, Flow):
            arrays[name] = _flow(name, sample, clips, manifest)
        else:
            arrays[name] = _column(read, manifest)
    return arrays


def _decode(reads: Mapping[str, Read], manifest: Manifest) -> dict[str, Clip]:
    """[T, H, W, 3] per Frames or Times read; all reads of one row share one decode."""
    rows: defaultdict[int, defaultdict[Size | None, dict[str, Indices]]] = defaultdict(lambda: defaultdict(dict))
    for name, read in reads.items():
        if isinstance(read, Frames | Times):
            rows[read.row][read.size][name] = _indices(read, manifest)
    clips: dict[str, Clip] = {}
    for row, sizes in rows.items():
        unions = {size: np.unique(np.concatenate(list(wanted.values()))) for size, wanted in sizes.items()}
        for size, frames in read_row_sizes(manifest, row, unions).items():
            for name, indices in sizes[size].items():
                clips[name] = _chosen(frames, unions[size], indices)
    return clips


def _chosen(frames: Clip, union: Indices, indices: Indices) -> Clip:
    """The frames `indices` of those read; a clip of distinct frames in order needs no copy."""
    return frames if np.array_equal(union, indices) else frames[np.searchsorted(union, indices)]


def _flow(name: str, sample: Sample, clips: Mapping[str, Clip], manifest: Manifest) -> Array:
    read = sample.reads[name]
    assert isinstance(read, Flow)
    if read.of not in clips:
        raise DataError(f"the flow '{name}' is of '{read.of}', which the plan does not read")
    clip, of = clips[read.of], sample.reads[read.of]
    assert isinstance(of, Frames | Times)
    stored = stored_flow(manifest, of.row, _indices(of, manifest), (clip.shape[1], clip.shape[2]))
    if stored is not None:
        return stored
    flow = compute_flow(clip, read.preset).transpose(3, 0, 1, 2)
    # torch rounds to half precision three times as fast as NumPy does.
    return encode_flow(flow) if read.coded else torch.from_numpy(flow).to(torch.float16).numpy()


def _indices(read: Frames | Times, manifest: Manifest) -> Indices:
    return read.indices if isinstance(read, Frames) else manifest.video(read.row).frame_at(read.seconds)


def _column(read: Column, manifest: Manifest) -> Array:
    value = manifest.row(read.row).get(read.name)
    if value is None:
        raise DataError(f"row {read.row} of the manifest has no '{read.name}'")
    path = manifest.root / str(value)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} (column '{read.name}', row {read.row}) is no readable .npy array: {error}") from error
    return np.array(array[read.start : read.stop])
