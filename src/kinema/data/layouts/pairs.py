"""Lists for label propagation: on each line a folder of frames (or a video) and what was drawn on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from kinema.data.layouts.listing import Columns, Layout, Listing, Source, listing

_LOOKED_AT = 20  # lines by which a list is known
_JOINTS = ".mat"
_MASKS = (".png", ".npy")


def _find(source: Source) -> list[str]:
    """Text files of whose first lines at least half pair a video with masks or joints that are there."""
    return [note for note in source.notes.match("*.txt") if _pairs_videos(source, note)]


def _pairs_videos(source: Source, note: str) -> bool:
    with source.open(note).open(encoding="utf-8-sig", errors="replace") as file:
        lines = [line.split() for _, line in zip(range(_LOOKED_AT), file, strict=False) if line.strip()]
    return bool(lines) and 2 * sum(_pair(source, words) is not None for words in lines) >= len(lines)


def _pair(source: Source, words: Sequence[str]) -> tuple[str, Columns] | None:
    """Video and column of a line "frames masks", "frames joints.mat" or "joints.mat frames"; None for any other."""
    if len(words) != 2:
        return None
    video, drawn = words if PurePosixPath(words[0]).suffix != _JOINTS else words[::-1]
    path = video.rstrip("/").removeprefix("./")
    place = source.tree.top / drawn
    if path not in source.tree.frames and path not in source.tree.videos:
        return None
    if place.suffix == _JOINTS and place.is_file():
        return path, {"joints": drawn}
    is_mask = place.is_dir() or (place.suffix in _MASKS and place.is_file())
    return (path, {"masks": drawn.rstrip("/")}) if is_mask else None


def _read(source: Source, notes: Sequence[str]) -> Listing:
    videos = {path: path for path in (*source.tree.frames, *source.tree.videos)}
    return listing(source, _listed(source, notes), title="pairs of frames and masks", files=notes, videos=videos)


def _listed(source: Source, notes: Sequence[str]) -> Iterator[tuple[str, str, Columns]]:
    for note in notes:
        for line in source.lines(note):
            found = _pair(source, line.split())
            path, columns = found or (line, {})
            yield path, note, columns


PAIRS = Layout("pairs of frames and masks", "lists of lines 'frames masks' or 'joints.mat frames'", _find, _read)
