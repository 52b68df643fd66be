"""Sets for label propagation: folders of images with masks or joints. DAVIS, VIP, JHMDB."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from kinema.data.layouts.actions import class_lists
from kinema.data.layouts.listing import Columns, Layout, Listing, Source, finish, listing, official_split
from kinema.errors import DataError

_DAVIS_RATE = 24.0
_DAVIS_PARTS = {"train": "train", "val": "val", "test-dev": "test", "test-challenge": "test"}
_DAVIS_LISTS = {2016: ("ImageSets/2016", "ImageSets/480p", "ImageSets/1080p"), 2017: ("ImageSets/2017",)}
_JHMDB_RATE = 30.0


def _sequences(source: Source, images: str, beside: str) -> list[str]:
    """Folders of frames somewhere below `images`, which has a folder `beside` it."""
    found = []
    for path in source.tree.frames:
        above, below, _ = f"/{path}".partition(f"/{images}/")
        if below and (source.tree.top / above.removeprefix("/") / beside).is_dir():
            found.append(path)
    return found


def _with_masks(source: Source, paths: Iterable[str], images: str, masks: str) -> Callable[[str], Columns]:
    """The columns of a sequence by its name: masks, where it has any."""
    places = {}
    for path in paths:
        folder = f"/{path}".replace(f"/{images}/", f"/{masks}/", 1).removeprefix("/")
        if (source.tree.top / folder).is_dir():
            places[PurePosixPath(path).name] = folder
    return lambda name: {"masks": places.get(name)}


def _davis_lists(source: Source, year: int) -> list[str]:
    for place in _DAVIS_LISTS[year]:
        found = [note for note in source.notes.match(*(f"{part}.txt" for part in _DAVIS_PARTS)) if place in note]
        if found:
            return found
    return []


def _find_davis(source: Source, year: int) -> list[str]:
    if not _sequences(source, "JPEGImages", "Annotations"):
        return []
    bare = not any(_davis_lists(source, other) for other in _DAVIS_LISTS)  # which of the two nothing tells
    return _davis_lists(source, year) or (["JPEGImages", "Annotations"] if bare else [])


def _read_davis(source: Source, notes: Sequence[str], year: int) -> Listing:
    paths = _sequences(source, "JPEGImages", "Annotations")
    sizes = sorted({path.split("JPEGImages/")[1].rpartition("/")[0] for path in paths})
    size = "480p" if "480p" in sizes else sizes[0]
    paths = [path for path in paths if path.split("JPEGImages/")[1].rpartition("/")[0] == size]
    title = f"DAVIS {year}{f' ({size})' if len(sizes) > 1 else ''}"
    lists = [note for note in notes if note.endswith(".txt")]
    title += "" if lists else " (the year is a guess)"
    return _pictures(source, paths, lists, title=title, fps=_DAVIS_RATE, columns=("JPEGImages", "Annotations"))


def _pictures(
    source: Source,
    paths: Sequence[str],
    lists: Sequence[str],
    *,
    title: str,
    fps: float | None,
    columns: tuple[str, str],
) -> Listing:
    """The listed sequences with their masks; all of them where there are no lists."""
    about = _with_masks(source, paths, *columns)
    videos = {PurePosixPath(path).name: path for path in paths}
    if not lists:
        rows = [{"path": path, **{k: v for k, v in about(name).items() if v}} for name, path in videos.items()]
        evidence = f"{title}: {columns[0]} beside {columns[1]}, {len(rows):,} sequences; no lists, so no splits"
        return finish(source, rows, evidence=evidence, fps=fps)
    listed = _listed(source, lists, about)
    return listing(source, listed, title=title, files=lists, fps=fps, videos=videos)


def _listed(
    source: Source, lists: Sequence[str], about: Callable[[str], Columns]
) -> Iterator[tuple[str, str, Columns]]:
    """Sequences by name, or, in the lists of 2016, by every one of their images."""
    for note in lists:
        stem = PurePosixPath(note).stem
        part = next((part for name, part in _DAVIS_PARTS.items() if name in stem), None)
        places = [PurePosixPath(line.split()[0]) for line in source.lines(note)]
        for name in dict.fromkeys(place.parent.name if place.suffix else place.name for place in places):
            yield name, note, {"split": part, **about(name)}


def _find_vip(source: Source) -> list[str]:
    return ["Images", "Annotations/Category_ids"] if _sequences(source, "Images", "Annotations/Category_ids") else []


def _read_vip(source: Source, notes: Sequence[str]) -> Listing:
    paths = _sequences(source, "Images", "Annotations/Category_ids")
    lists = [note for note in source.notes.match("*train*.txt", "*val*.txt", "*test*.txt") if "trainval" not in note]
    return _pictures(source, paths, lists, title="VIP", fps=None, columns=("Images", "Annotations/Category_ids"))


def _find_jhmdb(source: Source) -> list[str]:
    return [note for note in source.tree.notes if note.endswith("joint_positions.mat")]


def _read_jhmdb(source: Source, notes: Sequence[str]) -> Listing:
    tree, split = source.tree, official_split(source.options)
    joints = {PurePosixPath(note).parent.name: note for note in notes}
    puppets = {PurePosixPath(note).parent.name: note for note in tree.notes if note.endswith("puppet_mask.mat")}
    paths = [path for path in tree.frames if PurePosixPath(path).name in joints]
    paths = paths or [path for path in tree.videos if PurePosixPath(path).stem in joints]
    videos = {PurePosixPath(path).stem: path for path in paths}
    if not videos:
        raise DataError(f"{tree.top}: JHMDB's joint_positions are there, but neither Rename_Images nor videos")

    def columns(name: str) -> Columns:
        return {"joints": joints.get(name), "masks": puppets.get(name)}

    lists = source.notes.match(f"*_test_split{split}.txt")
    if not lists:
        rows = [
            {"path": path, "label": PurePosixPath(path).parent.name, **{k: v for k, v in columns(name).items() if v}}
            for name, path in videos.items()
        ]
        evidence = f"JHMDB: {len(notes):,} joint_positions.mat; no lists, so no splits"
        return finish(source, rows, evidence=evidence, fps=_JHMDB_RATE)
    stems = ((PurePosixPath(name).stem, note, about) for name, note, about in class_lists(source, lists, split))
    listed = ((name, note, about | columns(name)) for name, note, about in stems)
    return listing(source, listed, title=f"JHMDB split {split}", files=lists, fps=_JHMDB_RATE, videos=videos)


DAVIS2016 = Layout(
    "DAVIS 2016",
    "JPEGImages beside Annotations, ImageSets/2016 or ImageSets/480p",
    lambda source: _find_davis(source, 2016),
    lambda source, notes: _read_davis(source, notes, 2016),
    yields_to="davis2017",
)
DAVIS2017 = Layout(
    "DAVIS 2017",
    "JPEGImages beside Annotations, ImageSets/2017",
    lambda source: _find_davis(source, 2017),
    lambda source, notes: _read_davis(source, notes, 2017),
)
VIP = Layout("VIP", "Images beside Annotations/Category_ids", _find_vip, _read_vip)
JHMDB = Layout(
    "JHMDB",
    "joint_positions/CLASS/VIDEO/joint_positions.mat beside Rename_Images",
    _find_jhmdb,
    _read_jhmdb,
    frozenset({"split", "fps", "lists"}),
)
