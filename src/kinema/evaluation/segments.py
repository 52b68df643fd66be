"""Videos as sequences of embeddings: consecutive segments of a few seconds, one vector each, from any encoder.

FOLDER/
  segments.json      how the vectors were made; a folder holds those of one encoder and one way of cutting
  vectors/NAME.npy   float32 [S, d] of one video
  vectors/NAME.times.npy   float64 [S, 2], start and end of each segment, seconds after the first frame
  parts/             finished stretches of videos that are not finished yet
  manifest.parquet   the videos, with the columns `features`, `feature_times` and `segments` (S); written last
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from kinema.data.manifest import Manifest
from kinema.data.sequences import FEATURES, SETTINGS, TIMES
from kinema.data.tables import write_quarantine
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.evaluation.features import Progress
from kinema.evaluation.pixels import PATH_POINTS, PIXEL_ARMS, SIDE, PixelReader
from kinema.evaluation.reading import ClipReader, Reader, RowRead, RowReader, read_rows
from kinema.evaluation.stored import described
from kinema.evaluation.taking import POOLED, encoder_digest, forward, frozen, row_keys
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder
from kinema.training.files import read_json, write_atomic

Array = npt.NDArray[Any]
BLOCK_BYTES = 64 * 2**20
"""Frames of about so many bytes are read, encoded and kept at a time."""
_LARGEST_BLOCK = 64


@dataclass(frozen=True)
class Cutting:
    """How videos are cut into segments.

    Attributes:
        seconds: length of a segment; the last one of a video may be shorter.
        overlap: seconds that a segment shares with the one before it.
        views: name of the view preset by which an encoder is shown a segment; the mean over views is its vector.

    Raises:
        RecipeError: no length, an overlap that leaves nothing new, or views that vary in number.
    """

    seconds: float = 5.0
    overlap: float = 0.0
    views: str = "uniform3"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.seconds:
            raise RecipeError(
                f"segments of {self.seconds:g} s with overlap {self.overlap:g} s: the length must be above 0, and the "
                "overlap smaller"
            )
        if view_preset(self.views).clips is None:
            raise RecipeError(f"views={self.views}: as many as a segment has room for; use a fixed number, as uniform3")


class Source(NamedTuple):
    """What makes vectors of segments.

    Attributes:
        about: what is kept of it: name, digest, input, feature_dim.
        reader: what it reads of a segment.
        encode: what was read of several segments, [n, views, ...], to vectors [n, d] on the CPU.
        bytes: of what is read of one segment.
        encoder: the network, where there is one.
    """

    about: Mapping[str, Any]
    reader: Reader
    encode: Callable[[Tensor], Tensor]
    bytes: int
    encoder: Encoder | None = None


class Block(NamedTuple):
    """Consecutive segments of a row: `bounds` [n, 2] in seconds; `number` counts from 0, `last` marks the end."""

    row: int
    number: int
    bounds: Array
    last: bool


def network_source(name: str, encoder: Encoder, cutting: Cutting, *, device: str = "cpu", batch: int = 16) -> Source:
    """An encoder of videos or images: its pooled vector, averaged over the views of a segment."""
    preset = view_preset(cutting.views)
    frames = encoder.input.frames if encoder.input.modality == "video" else 1
    height, width = encoder.input.size
    encoder.to(device)

    def encode(clips: Tensor) -> Tensor:
        flat = clips.flatten(0, 1)
        with frozen(encoder):
            pooled = [forward(encoder, part.to(device), (POOLED,))[POOLED] for part in torch.split(flat, batch)]
        return torch.cat(pooled).unflatten(0, clips.shape[:2]).mean(1)  # type: ignore[no-untyped-call, no-any-return]

    size = (preset.views or 1) * 3 * frames * height * width
    about = described(name, encoder, encoder_digest(encoder)) | {"views": cutting.views}
    return Source(about, ClipReader(encoder.input, preset), encode, size, encoder)


def pixel_source(name: str) -> Source:
    """The pixel references of a segment: "pixels" all 880 numbers, or one of them by its name.

    Raises:
        RecipeError: no reference of that name.
    """
    bounds = np.cumsum([0, SIDE * SIDE, SIDE * SIDE, 5 * PATH_POINTS]).tolist()
    parts = dict(zip(PIXEL_ARMS, pairwise(bounds), strict=True))
    if name not in ("pixels", *parts):
        raise RecipeError(f"'{name}' is no pixel reference; there are: pixels, {', '.join(parts)}")
    start, stop = parts.get(name, (0, bounds[-1]))
    about = {"name": name, "digest": name, "feature_dim": stop - start}
    return Source(about, PixelReader(), lambda values: values[:, 0, start:stop], BLOCK_BYTES // 8)


def segment_bounds(start: float, end: float, cutting: Cutting, *, least: float = 1e-3) -> Array:
    """Start and end of every segment of the stretch from `start` to `end` seconds: [S, 2], S at least 1.

    A rest of at most `least` seconds is no segment of its own.
    """
    step = cutting.seconds - cutting.overlap
    count = max(1, int(np.ceil((end - start - cutting.overlap - least) / step)))
    starts = start + step * np.arange(count)
    return np.stack([starts, np.minimum(starts + cutting.seconds, end)], 1)


def embed_segments(
    source: Source,
    manifest: Manifest,
    folder: Path,
    cutting: Cutting,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Manifest:
    """Write one array [S, d] per video and a manifest that names them; see the head of this module.

    What is finished in `folder` is not made again, so that a job that was stopped, in whatever way, goes on. A video
    that cannot be read is set aside in the manifest, with the reason.

    Args:
        source: what makes the vectors.
        manifest: the videos, or stretches of them.
        folder: made where it is missing.
        cutting: length of segments and views.
        workers: processes that read.
        progress: called with (seconds done, seconds in all), in whole seconds.

    Returns:
        The manifest.

    Raises:
        RecipeError: the folder holds vectors of another encoder or cut otherwise.
        DataError: no video can be read, or vectors are not finite.
    """
    _claim(folder, source, cutting)
    job = _Job(source, manifest, folder, cutting)
    blocks = job.missing()
    total, done = sum(block.bounds[-1, 1] - block.bounds[0, 0] for block in blocks), 0.0
    reads = read_rows(manifest, range(len(blocks)), _BlockReader(source.reader, blocks), workers=workers)
    for block, read in zip(blocks, reads, strict=True):
        job.take(block, read)
        done += block.bounds[-1, 1] - block.bounds[0, 0]
        if progress is not None:
            progress(round(done), round(total))
    return job.finish()


class _Job:
    """Vectors of a manifest on their way to a folder."""

    def __init__(self, source: Source, manifest: Manifest, folder: Path, cutting: Cutting) -> None:
        self.source, self.manifest, self.folder, self.cutting = source, manifest, folder, cutting
        stems = (Path(name).stem[:60] for name in manifest.column("path"))
        self.names = [f"{stem}-{key[:12]}" for stem, key in zip(stems, row_keys(manifest), strict=True)]
        self.broken: dict[str, str] = {}

    def vectors(self, row: int) -> Path:
        return self.folder / "vectors" / f"{self.names[row]}.npy"

    def times(self, row: int) -> Path:
        return self.folder / "vectors" / f"{self.names[row]}.times.npy"

    def part(self, block: Block) -> Path:
        return self.folder / "parts" / f"{self.names[block.row]}-{block.number:05d}.npy"

    def missing(self) -> list[Block]:
        """What is still to do; of rows that are the same, the first."""
        first = {name: row for row, name in reversed(list(enumerate(self.names)))}
        rows = [row for row in sorted(first.values()) if not self.vectors(row).exists()]
        found = [block for row in rows for block in self._blocks(row)]
        # The last block of a video is read again rather than asking whether only the joining is missing.
        return [block for block in found if block.last or not self.part(block).exists()]

    def _blocks(self, row: int) -> Iterator[Block]:
        try:
            start, end = self.manifest.bounds(row)
            bounds = segment_bounds(start, end, self.cutting, least=self.manifest.video(row).interval / 2)
        except KinemaError as error:
            self.broken[self.names[row]] = str(error)
            return
        size = int(np.clip(BLOCK_BYTES // self.source.bytes, 1, _LARGEST_BLOCK))
        cuts = range(0, len(bounds), size)
        for number, k in enumerate(cuts):
            yield Block(row, number, bounds[k : k + size], last=number == len(cuts) - 1)

    def take(self, block: Block, read: RowRead) -> None:
        """Keep the vectors of a block; with the last one of a video, its array."""
        name = self.names[block.row]
        if read.values is None or name in self.broken:
            self.broken.setdefault(name, read.reason)
            return
        vectors = self.source.encode(read.values).float()
        if not bool(vectors.isfinite().all()):
            raise DataError(f"'{self.source.about['name']}' yields vectors that are not finite: its weights are broken")
        if not block.last:
            _save(self.part(block), vectors.numpy())
            return
        earlier = [self.part(block._replace(number=number)) for number in range(block.number)]
        bounds = np.concatenate([other.bounds for other in self._blocks(block.row)])
        _save(self.times(block.row), bounds)
        _save(self.vectors(block.row), np.concatenate([*map(np.load, earlier), vectors.numpy()]))
        for path in earlier:
            path.unlink()

    def finish(self) -> Manifest:
        """Write and return the manifest of what is there."""
        kept = [row for row in range(len(self.manifest)) if self.vectors(row).exists()]
        paths = self.manifest.column("path")
        reasons = {
            str(path): self.broken[name] for path, name in zip(paths, self.names, strict=True) if name in self.broken
        }
        aside = dict(self.manifest.set_aside) | reasons
        if not kept:
            raise DataError(f"none of {len(paths)} videos can be read; the first, {next(iter(aside.items()))}")
        rows = self.manifest.select(kept)
        columns = {
            FEATURES: [_relative(self.vectors(row), rows.root) for row in kept],
            TIMES: [_relative(self.times(row), rows.root) for row in kept],
            "segments": [len(np.load(self.vectors(row), mmap_mode="r")) for row in kept],
        }
        table = rows.table.drop_columns([name for name in columns if name in rows.columns])
        for name, values in columns.items():
            table = table.append_column(name, pa.array(values))
        place = self.folder / "manifest.parquet"
        Manifest(table, rows.root, aside.items()).write(place)
        write_quarantine(place, aside.items())
        return Manifest.read(place, check_files=False)


@dataclass(frozen=True)
class _BlockReader:
    """Reads the segments of a block one after the other, which goes on in the file where the last one ended."""

    reader: Reader
    blocks: Sequence[Block]

    def __call__(self, manifest: Manifest, number: int) -> Array:
        block = self.blocks[number]
        segments = _segments(manifest, block)
        reads = [RowReader((self.reader,), {k: (0,)})(segments, k)[0] for k in range(len(segments))]
        return np.stack(reads)


def _segments(manifest: Manifest, block: Block) -> Manifest:
    """A manifest of the segments of a block."""
    rows = manifest.select([block.row] * len(block.bounds))
    table = rows.table.drop_columns([name for name in ("start", "end") if name in rows.columns])
    for name, values in zip(("start", "end"), block.bounds.T, strict=True):
        table = table.append_column(name, pa.array(values))
    return Manifest(table, rows.root)


def _claim(folder: Path, source: Source, cutting: Cutting) -> None:
    """Make the folder, or check that what it holds was made in the same way."""
    about = {"encoder": dict(source.about), "seconds": cutting.seconds, "overlap": cutting.overlap}
    stated = json.loads(json.dumps(about, default=str))
    place = folder / SETTINGS
    if place.is_file():
        before = read_json(place)
        if before != stated:
            changed = [name for name in stated if before.get(name) != stated[name]]
            raise RecipeError(
                f"{folder} holds segments that differ in: {', '.join(changed)}; choose another folder with -o"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise RecipeError(f"{folder} is not empty and holds no {SETTINGS}: choose another folder with -o")
    write_atomic(place, json.dumps(stated, indent=1, ensure_ascii=False) + "\n")


def _relative(path: Path, root: Path) -> str:
    return os.path.relpath(path.absolute(), root.absolute())


def _save(path: Path, values: Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values)
    write_atomic(path, buffer.getvalue())
