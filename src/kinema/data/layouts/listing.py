"""What a layout makes of a folder: rows of a manifest, and in words by which files it was known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from kinema.data.layouts.tree import Catalogue, Tree, walk
from kinema.errors import DataError, RecipeError
from kinema.video.images import IMAGE_SUFFIXES

Columns = dict[str, Any]

NOT_THERE = "listed in {}, but there is no such file"


@dataclass(frozen=True)
class LayoutOptions:
    """How to read a layout.

    Attributes:
        labels: of plain folders and folders of frames: "folder" takes first-level folders as labels, "none" takes none,
            None takes them where every video lies in one of at least two first-level folders.
        split: number of the official division into training and test videos, where a set has several.
        fps: frames per second of folders of images; None takes that of the set, or 25.
        lists: folder or file of the set's lists, where they lie apart from the videos.
    """

    labels: str | None = None
    split: int | None = None
    fps: float | None = None
    lists: Path | None = None


@dataclass
class Listing:
    """Rows before any video was opened.

    Attributes:
        root: folder that paths start from.
        rows: columns by name; `path` always, the others as the layout knows them.
        layout: its name.
        evidence: one line: what was recognised, and by which files.
        missing: (path, reason) of what is listed but not there.
        hidden: number of hidden files and folders that were passed over.
        other: number of files passed over because of their suffix, by suffix.
    """

    root: Path
    rows: list[Columns]
    layout: str = "folders"
    evidence: str = ""
    missing: list[tuple[str, str]] = field(default_factory=list)
    hidden: int = 0
    other: dict[str, int] = field(default_factory=dict)


class Source:
    """A folder to be read as some layout: its tree, the tree of the lists (the same unless told), the options."""

    def __init__(self, tree: Tree, options: LayoutOptions) -> None:
        self.tree, self.options, self.notes = tree, options, tree
        lists = options.lists
        if lists is not None:
            if not lists.exists():
                raise DataError(f"lists={lists}: no such file or folder")
            self.notes = walk(lists) if lists.is_dir() else Tree(lists.parent, notes=[lists.name])
        self.catalogue = Catalogue(tree)

    @cached_property
    def images(self) -> list[str]:
        """All images below the folder, looked for only when somebody asks."""
        there = any(suffix in IMAGE_SUFFIXES for suffix in self.tree.other)
        return walk(self.tree.top, images=True).images or [] if there else []

    def open(self, note: str) -> Path:
        """The path of one of the notes."""
        return self.notes.top / note

    def lines(self, note: str) -> list[str]:
        """The lines of a note that are not empty, without blanks at their ends."""
        return [line.strip() for line in read_text(self.open(note)).splitlines() if line.strip()]


class Layout(NamedTuple):
    """A way in which a data set is laid out on disk.

    Attributes:
        title: name for people.
        signs: what it is known by, for errors.
        find: the notes or folders by which it is recognised; empty where it is not.
        read: rows of a source that has them.
        takes: options beside `labels` that mean something to it.
        yields_to: another layout that has the same signs and more; where that is recognised, this one is not.
    """

    title: str
    signs: str
    find: Callable[[Source], Sequence[str]]
    read: Callable[[Source, Sequence[str]], Listing]
    takes: frozenset[str] = frozenset({"fps", "lists"})
    yields_to: str = ""


def listing(
    source: Source,
    listed: Iterable[tuple[str, str, Mapping[str, Any]]],
    *,
    title: str,
    files: Sequence[str],
    fps: float | None = None,
    videos: Mapping[str, str] | None = None,
) -> Listing:
    """Find what lists name.

    Args:
        source: where to look.
        listed: (name of the video, the list that names it, further columns).
        title: of the layout and its variant.
        files: the lists.
        fps: the set's own rate, for folders of images.
        videos: paths by name; None finds them with the source's catalogue.

    Raises:
        DataError: nothing of it is there, or a video is listed both to train and to test on.
    """
    rows: list[Columns] = []
    missing: list[tuple[str, str]] = []
    counts: Counter[str] = Counter()
    for name, note, columns in _once(source, listed):
        path = source.catalogue.find(name) if videos is None else videos.get(name)
        counts[str(columns.get("split") or "videos")] += 1
        if path is None:
            missing.append((name, NOT_THERE.format(PurePosixPath(note).name)))
        else:
            rows.append({"path": path, **{key: value for key, value in columns.items() if value is not None}})
    if not rows:
        raise DataError(
            f"{source.tree.top}: {title} lists {len(missing):,} videos ({short(files)}), but none of them is there; "
            f"the first, {missing[0][0] if missing else '?'}, was looked for as a video file or a folder of frames"
        )
    total = " / ".join(f"{count:,} {name}" for name, count in counts.items())
    there = {*source.tree.videos, *source.tree.frames} if videos is None else set(videos.values())
    left_out = len(there - {row["path"] for row in rows})
    evidence = f"{title}: {short(files)}; {total} listed, {len(rows):,} found"
    if left_out:
        evidence += f"; {left_out:,} videos or folders of frames that no list names are left out"
    return finish(source, rows, evidence=evidence, missing=missing, fps=fps)


def _once(
    source: Source, listed: Iterable[tuple[str, str, Mapping[str, Any]]]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every video the first time that it is named."""
    parts: dict[str, str | None] = {}
    for name, note, columns in listed:
        part = columns.get("split")
        if name not in parts:
            parts[name] = part
            yield name, note, columns
        elif parts[name] != part:
            raise DataError(f"{source.open(note)}: {name} is listed for '{part}' here and for '{parts[name]}' before")


def finish(
    source: Source,
    rows: list[Columns],
    *,
    evidence: str,
    missing: Sequence[tuple[str, str]] = (),
    fps: float | None = None,
) -> Listing:
    """Add the columns that any layout may have, rate and flow, and what was passed over."""
    tree, frames = source.tree, frozenset(source.tree.frames)
    rate = source.options.fps or fps
    for row in rows:
        if row["path"] in frames and rate is not None:
            row["fps"] = rate
        flow = source.catalogue.flow(row["path"]) if tree.flows else None
        if flow is not None:
            row["flow"] = flow
    if any(row["path"] in frames for row in rows):
        evidence += f"; images taken at {rate or 25:g} fps"
    used = {PurePosixPath(note).suffix.lower() for note in tree.notes} | IMAGE_SUFFIXES
    other = {suffix: count for suffix, count in tree.other.items() if suffix not in used}
    return Listing(tree.top, rows, evidence=evidence, missing=list(missing), hidden=tree.hidden, other=other)


def short(files: Sequence[str]) -> str:
    """The first two of some files, in words, and how many more."""
    named = ", ".join(files[:2])
    return named + (f" and {len(files) - 2:,} more" if len(files) > 2 else "")


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        DataError: it is none.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from error


def official_split(options: LayoutOptions, count: int = 3) -> int:
    """The division asked for, 1 unless stated.

    Raises:
        RecipeError: there is none of that number.
    """
    split = 1 if options.split is None else options.split
    if not 1 <= split <= count:
        raise RecipeError(f"split={split}: there are splits 1 to {count}")
    return split
