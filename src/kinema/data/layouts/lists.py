"""Text lists of paths with labels, as training scripts of the field read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from kinema.data.layouts.listing import Columns, Layout, Listing, Source, listing
from kinema.data.layouts.plain import SPLITS
from kinema.data.tables import ALIASES

_LINE = re.compile(r"(?P<path>.+?)(?:[\s,;]+(?P<number>\d+))?[\s,;]+(?P<label>\S+)")
_LOOKED_AT = 20  # lines by which a list is known; some of its videos may be missing


def _find(source: Source) -> list[str]:
    """Lists named after a part, of whose first lines at least half name videos that are there."""
    patterns = [f"*{part}*{suffix}" for part in ("train", "val", "test") for suffix in (".txt", ".csv", ".list")]
    notes = [note for note in source.notes.match(*patterns) if "trainval" not in note]
    return [note for note in notes if _names_videos(source, note)]


def _names_videos(source: Source, note: str) -> bool:
    with source.open(note).open(encoding="utf-8-sig", errors="replace") as file:
        lines = [line.strip() for _, line in zip(range(_LOOKED_AT), file, strict=False) if line.strip()]
    if lines and {"path", *ALIASES}.intersection(lines[0].split(",")):
        return False  # it has a head, so it is a manifest, to be scanned itself
    found = [_columns(source, line) for line in lines]
    return bool(found) and 2 * sum(columns is not None for columns in found) >= len(found)


def _columns(source: Source, line: str) -> tuple[str, str] | None:
    """Path and label of a line "path label" or "path number label"; None where no such video is there.

    The path may hold blanks, so of the readings that the line allows the one whose video is there counts.
    """
    match = _LINE.fullmatch(line)
    if not match:
        return None
    readings = [match["path"]] if match["number"] is None else [match["path"], f"{match['path']} {match['number']}"]
    return next(((path, match["label"]) for path in readings if _find_path(source, path) is not None), None)


def _find_path(source: Source, path: str) -> str | None:
    if (source.tree.top / path).exists():
        return path
    return source.catalogue.find(path)


def _read(source: Source, notes: Sequence[str]) -> Listing:
    videos = {
        path: found for note in notes for path, _ in _entries(source, note) if (found := _find_path(source, path))
    }
    return listing(source, _listed(source, notes), title="lists of paths and labels", files=notes, videos=videos)


def _entries(source: Source, note: str) -> Iterator[tuple[str, str]]:
    for line in source.lines(note):
        match = _LINE.fullmatch(line)
        yield _columns(source, line) or ((match["path"], match["label"]) if match else (line, ""))


def _listed(source: Source, notes: Sequence[str]) -> Iterator[tuple[str, str, Columns]]:
    for note in notes:
        stem = PurePosixPath(note).stem.lower()
        part = next((SPLITS[word] for word in re.split(r"[\W_\d]+", stem) if word in SPLITS), None)
        for path, label in _entries(source, note):
            yield path, note, {"label": label or None, "split": part}


LISTS = Layout(
    "lists of paths and labels", "train.txt, val.csv … of lines 'path label' or 'path number label'", _find, _read
)
