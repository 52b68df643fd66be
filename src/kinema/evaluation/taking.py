"""How features are taken: which are missing, one pass over the videos that have some, and the tables in the end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.features import Array, Extraction, FeatureTable, Progress, Taken
from kinema.evaluation.reading import ClipReader, Reader, RowRead, RowReader, read_rows
from kinema.evaluation.store import Store
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder, EncoderInput, as_tokens, shown

POOLED = ""
_VERSION = "features 2"


class Column(NamedTuple):
    """One kind of features: of which encoder ("" for a reader without a network), views and tap, and whether each
    view is kept.
    """

    encoder: str
    views: str
    tap: str
    every_view: bool


class Job(NamedTuple):
    """Clips that encoders with the same input are shown."""

    network: EncoderInput
    views: str


class Taking:
    """One extraction; see `extract_all`."""

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        manifest: Manifest,
        plans: Sequence[Extraction],
        direct: Mapping[str, Reader],
    ) -> None:
        self.encoders, self.manifest, self.plans = encoders, manifest, plans
        self.options = plans[0]
        self.keys = row_keys(manifest)
        self.skipped: dict[int, RowRead] = {}
        digests = {name: encoder_digest(encoder) for name, encoder in encoders.items()} if self.options.cache else {}
        wanted = [column for plan in plans for name in encoders for column in columns(name, plan)]
        self.stores = {column: self._store(column, digests.get(column.encoder, "")) for column in wanted}
        self.direct = {name: self._store(Column("", name, POOLED, True), "") for name in direct}
        jobs = dict.fromkeys(Job(encoders[column.encoder].input, column.views) for column in wanted)
        self.jobs = list(jobs)
        clips = [ClipReader(job.network, view_preset(job.views)) for job in jobs]
        self.readers: tuple[Reader, ...] = (*clips, *direct.values())

    def run(self, progress: Progress | None = None) -> None:
        """Decode what is missing, encode it, keep it."""
        wanted = self._missing()
        for encoder in self.encoders.values() if wanted else ():
            encoder.to(self.options.device)
        reads = read_rows(self.manifest, list(wanted), RowReader(self.readers, wanted), workers=self.options.workers)
        try:
            with frozen(*self.encoders.values()):
                self._take(reads, len(wanted), progress)
        finally:  # what was finished is kept, also when it is stopped
            for store in (*self.stores.values(), *self.direct.values()):
                store.flush()

    def _take(self, reads: Iterator[RowRead], count: int, progress: Progress | None) -> None:
        waiting: list[RowRead] = []
        for done, read in enumerate(reads, 1):
            # Several videos share a forward pass where one does not fill it; which depends on their order alone.
            if waiting and _clips([*waiting, read]) > self.options.batch:
                self._encode(waiting)
                waiting = []
            if read.reason:
                self.skipped[read.row] = read
            else:
                waiting.append(read)
            if progress is not None:
                progress(done, count)
        self._encode(waiting)

    def tables(self) -> Taken:
        """The tables, of all rows that are complete."""
        plans = [{name: self._table(columns(name, plan), plan) for name in self.encoders} for plan in self.plans]
        direct = {
            name: FeatureTable(*self._rows([store]), skipped=self._broken()) for name, store in self.direct.items()
        }
        return Taken(plans, direct)

    def _store(self, column: Column, digest: str) -> Store:
        folder = None if self.options.cache is None else store_folder(self.options.cache, column, digest, self.options)
        return Store(folder, self.options.precision)

    def _missing(self) -> dict[int, tuple[int, ...]]:
        """By row, the readers that some store misses it of; of rows that are the same, the first."""
        found: dict[int, tuple[int, ...]] = {}
        by_reader = [self._stores_of(number) for number in range(len(self.readers))]
        first = dict(zip(reversed(self.keys), reversed(range(len(self.keys))), strict=True))
        for key, row in sorted(first.items(), key=lambda item: item[1]):
            lacking = (n for n, stores in enumerate(by_reader) if any(key not in store for store in stores))
            if readers := tuple(lacking):
                found[row] = readers
        return found

    def _stores_of(self, reader: int) -> list[Store]:
        if reader >= len(self.jobs):
            return [list(self.direct.values())[reader - len(self.jobs)]]
        job = self.jobs[reader]
        return [
            store
            for column, store in self.stores.items()
            if Job(self.encoders[column.encoder].input, column.views) == job
        ]

    def _encode(self, reads: Sequence[RowRead]) -> None:
        """Take and keep all features of these videos."""
        for number, store in enumerate(self.direct.values(), len(self.jobs)):
            for read in reads:
                if number in read.parts:
                    store.add(self.keys[read.row], read.parts[number].numpy())
        for number, job in enumerate(self.jobs):
            own = [read for read in reads if number in read.parts]
            members = [name for name, encoder in self.encoders.items() if encoder.input == job.network]
            for name in members if own else ():
                missing = {
                    column: store
                    for column, store in self.stores.items()
                    if column.encoder == name
                    and column.views == job.views
                    and any(self.keys[read.row] not in store for read in own)
                }
                if missing:
                    self._encode_by(name, missing, {self.keys[read.row]: read.parts[number] for read in own})

    def _encode_by(self, name: str, stores: Mapping[Column, Store], videos: Mapping[str, Tensor]) -> None:
        encoder, taps = self.encoders[name], tuple(dict.fromkeys(column.tap for column in stores))
        batches = torch.split(torch.cat(list(videos.values())), self.options.batch)
        parts = [forward(encoder, clips.to(self.options.device), taps) for clips in batches]
        bounds = np.cumsum([len(clips) for clips in videos.values()])[:-1].tolist()
        for column, store in stores.items():
            joined = torch.cat([part[column.tap] for part in parts])
            for key, values in zip(videos, torch.tensor_split(joined, bounds), strict=True):
                kept = values if column.every_view else values.mean(0, keepdim=True)
                if not bool(kept.isfinite().all()):
                    raise DataError(f"the encoder '{name}' yields features that are not finite: its weights are broken")
                store.add(key, kept.numpy())

    def _table(self, wanted: Sequence[Column], plan: Extraction) -> FeatureTable:
        stores = [self.stores[column] for column in wanted]
        rows, pooled = self._rows(stores)
        keys = [self.keys[row] for row in rows]
        taps = {column.tap: store.gather(keys) for column, store in zip(wanted[1:], stores[1:], strict=True)}
        return FeatureTable(rows, pooled, taps, self._broken(), view_preset(plan.views).clips is None)

    def _rows(self, stores: Sequence[Store]) -> tuple[npt.NDArray[np.int64], Array]:
        """The rows that all stores hold, and what the first one holds of them."""
        rows = [row for row, key in enumerate(self.keys) if all(key in store for store in stores)]
        return np.array(rows, np.int64), stores[0].gather([self.keys[row] for row in rows])

    def _broken(self) -> tuple[RowRead, ...]:
        return tuple(self.skipped[row] for row in sorted(self.skipped))


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; every submodule's own mode is restored."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def columns(encoder: str, plan: Extraction) -> list[Column]:
    """What a plan wants of an encoder, the pooled feature first."""
    joined = view_preset(plan.views).clips is None
    kept = [(POOLED, not joined), *((tap, plan.every_view and not joined) for tap in plan.taps)]
    return [Column(encoder, plan.views, tap, every_view) for tap, every_view in kept]


def row_keys(manifest: Manifest) -> list[str]:
    """For every row what its features depend on: the content of the file, its rate, and the bounds of the segment.

    The content is that of the column `hash`; without one, the file's place, size and time of change stand for it.
    Frames from a packed store may have been scaled before, so that its name counts as well.
    """
    cells = [
        manifest.column(name) if name in manifest.columns else [None] * len(manifest)
        for name in ("hash", "start", "end", "packed", "fps")
    ]
    found = []
    for row, (content, *bounds) in enumerate(zip(*cells, strict=True)):
        what = [content or _place(manifest.path(row)), *bounds]
        found.append(hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest())
    return found


def _place(path: Path) -> list[str | int]:
    known = path.stat() if path.exists() else None
    return [str(path.resolve()), *((known.st_size, known.st_mtime_ns) if known else ())]


def store_folder(cache: Path, column: Column, digest: str, options: Extraction) -> Path:
    """Where features of a kind are kept: a function of weights, input, views, tap and precision."""
    parts = [_VERSION, digest, column.views, column.tap, str(column.every_view), options.precision]
    return cache / hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def encoder_digest(encoder: Encoder) -> str:
    """32 hexadecimal digits that depend on structure, input and every weight and buffer."""
    digest = hashlib.blake2b(digest_size=16)
    kind = type(encoder)
    digest.update(f"{kind.__module__}.{kind.__qualname__} {encoder} {dataclasses.asdict(encoder.input)}".encode())
    told = {name: sorted(_plain(part)) for name, part in encoder.named_modules()}
    digest.update(json.dumps(told).encode())
    # Buffers that are not stored with the weights count as well.
    for name, value in {**dict(encoder.named_buffers()), **encoder.state_dict()}.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(part: nn.Module) -> Iterator[tuple[str, str]]:
    """Settings of a module that its weights do not show, for example the heads of attention."""
    for name, value in vars(part).items():
        if name != "training" and isinstance(value, (bool, int, float, str, tuple)):
            yield name, repr(value)


def forward(encoder: Encoder, clips: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
    """uint8 clips [B, 3, T, H, W] to features on the CPU by name: "" is pooled [B, D], taps are [B, K].

    Raises:
        RecipeError: the encoder has no such tap.
    """
    named = {tap: tap.removesuffix(".mean").removesuffix(".tokens") for tap in taps if tap != POOLED}
    stages = [name for name in dict.fromkeys(named.values()) if name != "map"]
    if not set(stages) <= set(encoder.taps):
        wrong = next(name for name in stages if name not in encoder.taps)
        raise RecipeError(f"the encoder has no tap '{wrong}'; it has: {', '.join(encoder.taps) or 'none'}, map")
    features = encoder(shown(encoder.input, clips), taps=stages)
    maps = {"map": features.map, **features.extra}
    found = {tap: _reduced(tap, maps.get(name)) for tap, name in named.items()}
    return found | {POOLED: features.pooled.float().cpu()}


def _reduced(tap: str, values: Tensor | None) -> Tensor:
    """[B, C, T, H, W] to [B, C T (H // 2) (W // 2)], for a mean to [B, C], for tokens to [B, T H W, C].

    Tokens [B, N, D] have a mean and themselves only.
    """
    if values is not None and tap.endswith(".tokens"):
        return as_tokens(values).float().cpu()
    if values is not None and tap.endswith(".mean"):
        return (values.float().mean(1) if values.ndim == 3 else values.float().flatten(2).mean(2)).cpu()
    if values is None or values.ndim != 5:
        raise RecipeError(
            f"the output '{tap}' of this encoder is no map [B, C, T, H, W]; use a protocol on pooled features, "
            "for example retrieval:benchmark"
        )
    kernel = (1, min(2, values.shape[3]), min(2, values.shape[4]))
    return max_pool3d(values.float(), kernel).flatten(1).cpu()


def _clips(reads: Sequence[RowRead]) -> int:
    """The largest number of clips that these videos ask of any encoder."""
    numbers = {number for read in reads for number in read.parts}
    return max((sum(len(read.parts[n]) for read in reads if n in read.parts) for n in numbers), default=0)
