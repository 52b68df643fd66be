"""Folders that describe themselves: of videos, of folders of images, of images, of tar shards."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from kinema.data.layouts.listing import Columns, Layout, Listing, Source, finish
from kinema.data.layouts.tree import VIDEO_SUFFIXES, suffix_of
from kinema.errors import DataError
from kinema.video.archives import Member, contents

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "validate": "val"}
"""What folders and lists call the parts of a set, and what kinema calls them."""
SPLITS |= {"test": "test", "testing": "test"}

_TOLD = ("label", "text", "split", "group", "start", "end")
_ALIASES = {"text": ("text", "caption"), "label": ("label", "class", "cls")}


def describe(folder: Path, paths: Sequence[str], labels: str | None) -> list[Columns]:
    """Rows with path and, by the folders, split and label.

    Raises:
        DataError: `labels` is "folder" and a video lies in no folder.
    """
    rows: list[Columns] = [{"path": path} for path in paths]
    parts = [PurePosixPath(path).parts[:-1] for path in paths]
    if labels == "none":
        return rows
    if all(folders and folders[0].lower() in SPLITS for folders in parts):
        for row, folders in zip(rows, parts, strict=True):
            row["split"] = SPLITS[folders[0].lower()]
        parts = [folders[1:] for folders in parts]
    loose = [path for path, folders in zip(paths, parts, strict=True) if not folders]
    if loose and labels == "folder":
        raise DataError(f"{folder / loose[0]}: lies in no class folder, so labels='folder' has no label for it")
    if not loose and (labels == "folder" or len({folders[0] for folders in parts}) > 1):
        for row, folders in zip(rows, parts, strict=True):
            row["label"] = folders[0]
    return rows


def _folders(source: Source, videos: Sequence[str]) -> Listing:
    tree = source.tree
    rows = describe(tree.top, videos, source.options.labels)
    beside = [f"{len(tree.frames):,} folders of numbered images (--layout frames)"] if tree.frames else []
    beside += [f"{len(tree.archives):,} tar files (--layout webdataset)"] if tree.archives else []
    evidence = f"plain folders: {len(videos):,} video files"
    found = finish(source, rows, evidence=evidence + (f"; passed over: {', '.join(beside)}" if beside else ""))
    found.other = dict(tree.other)
    return found


def _frames(source: Source, folders: Sequence[str]) -> Listing:
    rows = describe(source.tree.top, folders, source.options.labels)
    beside = f"; {len(source.tree.videos):,} video files are left out" if source.tree.videos else ""
    evidence = f"folders of numbered images: {len(folders):,}, such as {folders[0]}{beside}"
    return finish(source, rows, evidence=evidence)


def _images(source: Source, images: Sequence[str]) -> Listing:
    rows = describe(source.tree.top, images, source.options.labels)
    beside = f"; {len(source.tree.videos):,} video files are left out" if source.tree.videos else ""
    evidence = f"images: {len(images):,}, such as {images[0]}, each a video of one frame{beside}"
    return finish(source, rows, evidence=evidence)


def _webdataset(source: Source, archives: Sequence[str]) -> Listing:
    rows: list[Columns] = []
    damaged: list[tuple[str, str]] = []
    for archive in archives:
        found, damage = contents(source.tree.top / archive)
        rows += _shard(source.tree.top / archive, archive)
        if damage or not found:
            damaged.append((archive, damage or "holds no files"))
    if not rows:
        reasons = "; ".join(f"{archive}: {damage}" for archive, damage in damaged)
        raise DataError(f"{source.tree.top}: no video in {len(archives)} tar files{f' ({reasons})' if reasons else ''}")
    evidence = f"WebDataset: {len(archives):,} tar files, such as {archives[0]}, with {len(rows):,} videos"
    listing = finish(source, rows, evidence=f"{evidence}, read in place", missing=damaged)
    listing.other.pop(".tar", None)
    return listing


def _shard(archive: Path, name: str) -> list[Columns]:
    """A row per video of a shard; files with the same name up to the first dot tell about it (`.cls .txt .json`)."""
    members = contents(archive).members
    samples: defaultdict[str, dict[str, Member]] = defaultdict(dict)
    for member in members:
        folder, _, file = member.rpartition("/")
        samples[f"{folder}/{file.partition('.')[0]}"][member] = members[member]
    rows: list[Columns] = []
    with archive.open("rb") as file_:
        for parts in samples.values():
            told = _about(file_, parts)
            rows += [{"path": f"{name}/{part}", **told} for part in parts if suffix_of(part) in VIDEO_SUFFIXES]
    return rows


def _about(archive: IO[bytes], parts: Mapping[str, Member]) -> Columns:
    """What the files of one sample tell: JSON first, then what it may have left out."""
    told: Columns = {}
    for suffix in (".json", ".cls", ".txt"):
        for member in (member for part, member in parts.items() if suffix_of(part) == suffix):
            archive.seek(member.offset)
            told |= _told(suffix, archive.read(member.bytes))
    return told


def _told(suffix: str, content: bytes) -> Columns:
    """Columns out of a sample's class number, caption, or JSON of both."""
    text = content.decode("utf-8", "replace").strip()
    if suffix == ".cls":
        return {"label": text}
    if suffix == ".txt":
        return {"text": text}
    try:
        stated: Any = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(stated, dict):
        return {}
    found: Columns = {}
    for column in _TOLD:
        value = next((stated[name] for name in _ALIASES.get(column, (column,)) if stated.get(name) is not None), None)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            found[column] = float(value) if column in ("start", "end") else str(value)
    return found


FOLDERS = Layout(
    "plain folders", f"files ending in {' '.join(sorted(VIDEO_SUFFIXES))}", lambda source: source.tree.videos, _folders
)
FRAMES = Layout(
    "folders of numbered images",
    "folders of images such as frame000001.jpg",
    lambda source: source.tree.frames,
    _frames,
)
IMAGES = Layout("images", "image files", lambda source: source.images, _images, frozenset())
WEBDATASET = Layout("WebDataset", "files ending in .tar", lambda source: source.tree.archives, _webdataset)
