"""All positions of an encoder's map for every view of every row, on disk: they are too many for memory."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.attentive import tokens_of
from kinema.evaluation.extract import Extraction, encoder_digest, frozen
from kinema.evaluation.reading import ClipReader, read_rows, refuse, shown
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder

Tokens = npt.NDArray[np.float32]


@contextmanager
def token_maps(encoders: Mapping[str, Encoder], manifest: Manifest, options: Extraction) -> Iterator[dict[str, Tokens]]:
    """Memory-mapped tokens [rows, views, N, D] of each encoder; one decode serves those with the same input.

    With `options.cache` they are kept there for the next time; otherwise they are gone when the context ends. No more
    than one batch of clips per encoder is in memory.

    Raises:
        DataError: a row cannot be read, or tokens are not finite.
        RecipeError: an encoder has no map, or the views have no fixed number.
    """
    if view_preset(options.views).clips is None:
        raise RecipeError(f"views={options.views}: an attentive probe needs the same number of clips of every video")
    with ExitStack() as stack:
        folder = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kinema-tokens-")))
        folder.mkdir(parents=True, exist_ok=True)
        places = {name: folder / _file(encoder, manifest, options) for name, encoder in encoders.items()}
        absent: dict[str, dict[Path, Encoder]] = {}
        for name, encoder in encoders.items():
            if not places[name].exists():
                absent.setdefault(repr(encoder.input), {})[places[name]] = encoder
        for members in absent.values():
            _write(members, manifest, options)
        yield {name: np.load(place, mmap_mode="r") for name, place in places.items()}


def _file(encoder: Encoder, manifest: Manifest, options: Extraction) -> str:
    parts = [encoder_digest(encoder), manifest.digest(), str(manifest.root.resolve()), options.views, "tokens"]
    return f"{hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()}.npy"


def _write(members: Mapping[Path, Encoder], manifest: Manifest, options: Extraction) -> None:
    network = next(iter(members.values())).input
    reader = ClipReader(network, view_preset(options.views))
    writers = [_Writer(place, encoder.to(options.device), len(manifest)) for place, encoder in members.items()]
    try:
        with frozen(*members.values()):
            for read in read_rows(manifest, range(len(manifest)), reader, workers=options.workers):
                if read.values is None:
                    refuse([read], len(manifest))
                else:
                    for writer in writers:
                        writer.add(read.row, read.values, options)
        for writer in writers:
            writer.finish()
    finally:
        for writer in writers:
            writer.partial.unlink(missing_ok=True)


class _Writer:
    """Fills the file of one encoder aside and renames it when it is whole."""

    def __init__(self, place: Path, encoder: Encoder, rows: int) -> None:
        self.place, self.encoder, self.rows = place, encoder, rows
        self.partial = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        self.values: Tokens | None = None

    def add(self, row: int, views: Tensor, options: Extraction) -> None:
        """Encode the uint8 views [views, 3, T, H, W] of one row."""
        for first, clips in enumerate(torch.split(views, options.batch)):
            found = tokens_of(self.encoder(shown(self.encoder.input, clips.to(options.device)))).float().cpu().numpy()
            if not np.isfinite(found).all():
                raise DataError(f"the encoder yields tokens of row {row} that are not finite: its weights are broken")
            if self.values is None:
                shape = (self.rows, len(views), *found.shape[1:])
                self.values = np.lib.format.open_memmap(self.partial, "w+", np.float32, shape)
            self.values[row, first * options.batch : first * options.batch + len(clips)] = found

    def finish(self) -> None:
        assert isinstance(self.values, np.memmap)
        self.values.flush()
        del self.values
        self.partial.replace(self.place)
