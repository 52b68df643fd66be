"""Features of every view of every row: decoded once for all encoders and protocols, cached for the next ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.reading import ClipReader, RowRead, read_rows, refuse, shown
from kinema.evaluation.rows import pack, unpack
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder, EncoderInput
from kinema.training.files import write_atomic

Progress = Callable[[int, int], None]
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Extraction:
    """How features are taken.

    Attributes:
        views: name of the view preset.
        taps: stage outputs to keep besides the pooled feature, max-pooled (1, 2, 2) and flattened: "map" is the last
            one, others are among the encoder's `taps`.
        every_view: keep the taps of every view; otherwise only their mean per video, which saves memory.
        batch: clips per forward pass.
        workers: processes that decode; 0 decodes in this one.
        device: where the encoders run.
        cache: folder for features, so that another protocol costs nothing; None keeps nothing.
        skip_broken: go on without files that cannot be read instead of refusing them.
    """

    views: str = "uniform10"
    taps: tuple[str, ...] = ()
    every_view: bool = False
    batch: int = 16
    workers: int = 0
    device: str = "cpu"
    cache: Path | None = None
    skip_broken: bool = False


@dataclass(frozen=True)
class FeatureTable:
    """Features of the rows that could be read.

    Attributes:
        rows: int64 [N], their numbers in the manifest.
        pooled: float32 [N, views, D].
        taps: by name, float32 [N, views or 1, K].
        skipped: what could not be read.
    """

    rows: npt.NDArray[np.int64]
    pooled: Array
    taps: dict[str, Array] = field(default_factory=dict)
    skipped: tuple[RowRead, ...] = ()

    def feature(self, tap: str | None) -> Array:
        """The pooled feature, or a tap."""
        return self.pooled if tap is None else self.taps[tap]

    def keep(self, rows: npt.NDArray[np.int64]) -> FeatureTable:
        """The same features of the manifest rows `rows` only."""
        kept = np.isin(self.rows, rows)
        return FeatureTable(
            self.rows[kept], self.pooled[kept], {k: v[kept] for k, v in self.taps.items()}, self.skipped
        )

    def pack(self) -> bytes:
        """As .npz."""
        broken = json.dumps([[read.row, read.reason] for read in self.skipped])
        taps = {f"tap:{name}": values for name, values in self.taps.items()}
        return pack({"rows": self.rows, "pooled": self.pooled, "skipped": np.array(broken), **taps})

    @classmethod
    def unpack(cls, path: Path) -> FeatureTable:
        """From what `pack` made."""
        stored = unpack(path)
        taps = {name.removeprefix("tap:"): values for name, values in stored.items() if name.startswith("tap:")}
        skipped = tuple(RowRead(row, None, reason) for row, reason in json.loads(str(stored["skipped"])))
        return cls(stored["rows"], stored["pooled"], taps, skipped)  # type: ignore[arg-type]


def extract(
    encoders: Mapping[str, Encoder],
    manifest: Manifest,
    options: Extraction | None = None,
    *,
    progress: Progress | None = None,
) -> dict[str, FeatureTable]:
    """Features of all rows under each encoder; encoders with the same input share one decode.

    Encoders run in evaluation mode without gradients; their mode, parameters and buffers are left as they were.

    Args:
        encoders: by name.
        manifest: the videos.
        options: views, batch, device, cache …
        progress: called with (rows done, rows) while decoding.

    Raises:
        DataError: files cannot be read and `options.skip_broken` is not set, or features are not finite.
        RecipeError: an encoder has no such tap or takes no video.
    """
    options = options or Extraction()
    tables: dict[str, FeatureTable] = {}
    waiting: dict[EncoderInput, dict[str, Encoder]] = {}
    places = {name: cache_path(encoder, manifest, options) for name, encoder in encoders.items()}
    for name, place in places.items():
        if place is not None and place.exists():
            tables[name] = FeatureTable.unpack(place)
        else:
            waiting.setdefault(encoders[name].input, {})[name] = encoders[name]
    for network, members in waiting.items():
        tables |= (found := _extract(network, members, manifest, options, progress))
        for name, table in found.items():
            if not np.isfinite(table.pooled).all():
                raise DataError(f"the encoder '{name}' yields features that are not finite: its weights are broken")
            if (place := places[name]) is not None:
                write_atomic(place, table.pack())
    if not options.skip_broken:
        for table in tables.values():
            refuse(table.skipped, len(manifest))
    return {name: tables[name] for name in encoders}


def cache_path(encoder: Encoder, manifest: Manifest, options: Extraction) -> Path | None:
    """Where the features of `encoder` on `manifest` are kept: a function of weights, input, views, taps and rows."""
    if options.cache is None:
        return None
    parts = [encoder_digest(encoder), manifest.digest(), str(manifest.root.resolve())]
    parts += [options.views, *options.taps, str(options.every_view)]
    return options.cache / f"{hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()}.npz"


def encoder_digest(encoder: Encoder) -> str:
    """32 hexadecimal digits that depend on structure, input and every weight and buffer."""
    digest = hashlib.blake2b(digest_size=16)
    kind = type(encoder)
    digest.update(f"{kind.__module__}.{kind.__qualname__} {encoder} {dataclasses.asdict(encoder.input)}".encode())
    for name, value in encoder.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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


def _extract(
    network: EncoderInput,
    members: Mapping[str, Encoder],
    manifest: Manifest,
    options: Extraction,
    progress: Progress | None,
) -> dict[str, FeatureTable]:
    reader = ClipReader(network, view_preset(options.views))
    reads = read_rows(manifest, range(len(manifest)), reader, workers=options.workers)
    rows: list[int] = []
    skipped: list[RowRead] = []
    found: dict[str, list[dict[str, Array]]] = {name: [] for name in members}
    for encoder in members.values():
        encoder.to(options.device)
    with frozen(*members.values()):
        # Several videos share a forward pass where one does not fill it; which ones depends on nothing but their order.
        together = max(1, options.batch // reader.preset.views)
        while group := list(islice(reads, together)):
            good = [read for read in group if read.values is not None]
            skipped += [read for read in group if read.values is None]
            rows += [read.row for read in good]
            clips = [read.values for read in good if read.values is not None]
            for name, encoder in members.items():
                found[name] += _encode(encoder, clips, options)
            if progress is not None:
                progress(len(rows) + len(skipped), len(manifest))
    return {name: _table(rows, parts, skipped) for name, parts in found.items()}


def _encode(encoder: Encoder, videos: Sequence[Tensor], options: Extraction) -> list[dict[str, Array]]:
    """One dictionary per video: "" is pooled [views, D], the others are taps."""
    if not videos:
        return []
    batches = torch.split(torch.cat(list(videos)), options.batch)
    parts = [_forward(encoder, clips.to(options.device), options.taps) for clips in batches]
    shape = (len(videos), len(videos[0]), -1)
    joined = {name: torch.cat([part[name] for part in parts]).view(shape) for name in parts[0]}
    if not options.every_view:
        joined = {name: value.mean(1, keepdim=True) if name else value for name, value in joined.items()}
    return [{name: value[i].numpy() for name, value in joined.items()} for i in range(len(videos))]


def _forward(encoder: Encoder, clips: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
    stages = [name for name in taps if name != "map"]
    if not set(stages) <= set(encoder.taps):
        raise RecipeError(f"the encoder has no tap '{stages[0]}'; it has: {', '.join(encoder.taps) or 'none'}, map")
    features = encoder(shown(encoder.input, clips), taps=stages)
    maps = {"map": features.map, **features.extra}
    return {"": features.pooled.float().cpu()} | {name: _reduce(name, maps.get(name)) for name in taps}


def _reduce(name: str, values: Tensor | None) -> Tensor:
    """[B, C, T, H, W] to [B, C T (H // 2) (W // 2)]."""
    if values is None or values.ndim != 5:
        raise RecipeError(
            f"the output '{name}' of this encoder is no map [B, C, T, H, W]; use a protocol on pooled features, "
            "for example retrieval:benchmark"
        )
    kernel = (1, min(2, values.shape[3]), min(2, values.shape[4]))
    return max_pool3d(values.float(), kernel).flatten(1).cpu()


def _table(rows: list[int], parts: list[dict[str, Array]], skipped: list[RowRead]) -> FeatureTable:
    joined = {name: np.stack([part[name] for part in parts]) for name in (parts[0] if parts else {})}
    pooled = joined.pop("", np.zeros((0, 1, 1), np.float32))
    return FeatureTable(np.array(rows, np.int64), pooled, joined, tuple(skipped))
