"""Embeddings in a folder: written for use elsewhere, and evaluated where they were made elsewhere.

FOLDER/
  embeddings.json   what the rows are, and how the vectors were made
  videos.npy        float32 [N, D], one vector per video
  clips.npy         float32 [N, views, D], one per view; absent where videos have different numbers of views

`embeddings.json` is one object. Needed: "ids", a list of N unique names. Understood: "labels", "groups", "splits",
"hashes", lists of N values or null; "columns", an object of further such lists, for example "start" and "end" (seconds)
or the column that folds are left out by; "views", the view preset; "encoder", an object with "name", "digest" and
"input"; "exposure", an object with "identical" and "near", lists of the ids that pre-training saw, and "compared", how
that was established. Without it, what pre-training saw is marked unknown.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kinema.data.duplicates import Overlap
from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation.exposure import Exposure
from kinema.evaluation.features import Array, FeatureTable
from kinema.evaluation.rows import plain
from kinema.evaluation.splits import row_names
from kinema.modules.encoder import Encoder, EncoderInput, Features
from kinema.training.files import read_json, write_atomic

LISTED = "embeddings.json"
_LISTS = {"labels": "label", "groups": "group", "splits": "split", "hashes": "hash"}
_FORMAT = 1


@dataclass(frozen=True)
class Embeddings:
    """A folder of embeddings.

    Attributes:
        folder: where it lies.
        manifest: one row per video: path (the id), label, group, split and further columns.
        table: the vectors.
        about: the rest of `embeddings.json`.
    """

    folder: Path
    manifest: Manifest
    table: FeatureTable
    about: Mapping[str, Any]

    @property
    def ids(self) -> list[str]:
        """Of the rows."""
        return [str(name) for name in self.about["ids"]]

    @property
    def name(self) -> str:
        """Of the encoder; where it is not stated, of the folder."""
        return str(self.about.get("encoder", {}).get("name") or self.folder.resolve().name)

    def exposure(self, tested: Iterable[str]) -> Exposure:
        """Whether pre-training saw any of these ids."""
        stated, names = self.about.get("exposure"), set(tested)
        if not stated:
            return Exposure("unknown", 0, "not stated with the embeddings")
        same, near = (len(names & set(map(str, stated.get(kind, [])))) for kind in ("identical", "near"))
        mark = "transductive" if same or near else "inductive"
        return Exposure(mark, same, str(stated.get("compared", "as stated with the embeddings")), near)


class StoredEncoder(Encoder):
    """Stands for an encoder of which only the vectors are known."""

    def __init__(self, input: EncoderInput, feature_dim: int) -> None:
        super().__init__()
        self.input, self.feature_dim = input, feature_dim

    def forward(self, x: Any, valid: Any = None, taps: Any = ()) -> Features:
        """Raise RecipeError: there is no network."""
        raise RecipeError("a folder of embeddings holds vectors only: this protocol needs the network that made them")


def write_embeddings(
    folder: Path,
    table: FeatureTable,
    manifest: Manifest,
    *,
    views: str,
    encoder: Mapping[str, Any],
    seen: Overlap | None = None,
) -> None:
    """Write the vectors of a table and what is known of its rows; the list is written last.

    Args:
        folder: made where it is missing; what it holds is replaced.
        table: features of rows of `manifest`.
        manifest: the videos.
        views: name of the view preset.
        encoder: "name", "digest", "input" (see `described`).
        seen: rows of `manifest` that pre-training saw; None: not known.
    """
    rows = manifest.select(table.rows)
    lists = {name: rows.column(column) for name, column in _LISTS.items() if column in rows.columns}
    others = [name for name in rows.columns if name not in ("path", *_LISTS.values()) and _is_plain(rows, name)]
    about: dict[str, Any] = {"format": _FORMAT, "ids": row_names(rows), **lists, "views": views}
    about["columns"] = {"path": rows.column("path"), **{name: rows.column(name) for name in others}}
    about |= {"encoder": dict(encoder), "root": str(manifest.root.resolve())}
    if seen is not None:
        names = row_names(manifest)
        told = {
            kind: [names[row] for row in found] for kind, found in (("identical", seen.identical), ("near", seen.near))
        }
        about["exposure"] = {"compared": seen.compared, **told}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LISTED).unlink(missing_ok=True)
    (folder / "clips.npy").unlink(missing_ok=True)
    if not table.joined:
        _save(folder / "clips.npy", table.pooled)
    _save(folder / "videos.npy", np.asarray(table.pooled, np.float32).mean(1))
    write_atomic(folder / LISTED, json.dumps(about, indent=1, ensure_ascii=False, default=str) + "\n")


def read_embeddings(folder: Path) -> Embeddings:
    """Read a folder of embeddings; arrays are mapped, not loaded.

    Raises:
        DataError: a file is absent or damaged, or arrays and list do not belong together.
    """
    about = read_json(folder / LISTED)
    ids = about.get("ids")
    if not isinstance(ids, list) or not ids or len(set(map(str, ids))) < len(ids):
        raise DataError(f"{folder / LISTED} must hold 'ids', a list of unique names, one for each vector")
    videos, clips = (_load(folder / name) for name in ("videos.npy", "clips.npy"))
    if videos is None and clips is None:
        raise DataError(f"{folder} holds neither videos.npy nor clips.npy")
    pooled = clips if clips is not None else videos[:, None] if videos is not None and videos.ndim == 2 else videos
    if pooled is None or pooled.ndim != 3 or len(pooled) != len(ids):
        shape = None if pooled is None else pooled.shape
        raise DataError(f"{folder}: {len(ids)} ids need arrays [N, D] (videos) or [N, views, D] (clips), got {shape}")
    table = FeatureTable(np.arange(len(ids)), pooled, joined=clips is None)
    return Embeddings(folder, _manifest(folder, about), table, about)


def described(name: str, encoder: Encoder, digest: str) -> dict[str, Any]:
    """What is kept of an encoder beside its vectors."""
    return {"name": name, "digest": digest, "input": plain(encoder.input), "feature_dim": encoder.feature_dim}


def encoder_of(embeddings: Embeddings) -> StoredEncoder:
    """A stand-in with what is known of the encoder's input."""
    stated = embeddings.about.get("encoder", {}).get("input") or {}
    known = {field.name for field in fields(EncoderInput)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in stated.items() if key in known
    }
    return StoredEncoder(EncoderInput(**values), int(embeddings.table.pooled.shape[2]))


def is_embeddings(folder: Path) -> bool:
    """Whether this is a folder of embeddings."""
    return (folder / LISTED).is_file()


def _manifest(folder: Path, about: Mapping[str, Any]) -> Manifest:
    ids = [str(name) for name in about["ids"]]
    columns: dict[str, list[Any]] = {"path": ids, **about.get("columns", {})}
    columns |= {column: about[name] for name, column in _LISTS.items() if name in about}
    for name, values in columns.items():
        if not isinstance(values, list) or len(values) != len(ids):
            raise DataError(f"{folder / LISTED}: '{name}' must be a list of {len(ids)} values, one for each id")
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return Manifest.from_rows(rows, about.get("root", folder))


def _is_plain(manifest: Manifest, name: str) -> bool:
    kind = manifest.table.schema.field(name).type
    return not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _save(path: Path, values: Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values, np.float32))
    write_atomic(path, buffer.getvalue())


def _load(path: Path) -> npt.NDArray[Any] | None:
    if not path.is_file():
        return None
    try:
        values: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an array: {error}") from error
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise DataError(f"{path} must hold finite floating-point numbers, not {values.dtype}")
    return values
