"""What lies below a folder, found in one walk, and where in it the videos are that a list names."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from kinema.errors import DataError
from kinema.video.images import IMAGE_SUFFIXES, is_frame_folder

VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif"),
        *(".h264", ".m1v", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ps", ".qt"),
        *(".ts", ".vob", ".webm", ".wmv", ".y4m"),
    }
)
"""Suffixes by which a folder's videos are known (in lower case)."""

_NOTE_SUFFIXES = frozenset({".csv", ".json", ".list", ".mat", ".txt"})


@dataclass
class Tree:
    """The files below a folder; names are relative to it, in order. Links are followed, each folder is entered once.

    Attributes:
        top: the folder.
        videos: video files.
        frames: folders of numbered images that hold no video.
        flows: the same below the `u` of a pair of folders `u` and `v`, by their name below it.
        archives: tar files.
        notes: files that may describe data sets: text, CSV, JSON, MATLAB.
        hidden: number of hidden files and folders, which are passed over.
        other: number of all further files, images and notes included, by suffix.
        images: all images, those of folders of frames included; None where nobody asked for them, since sets of frames
            have millions.
        closed: folders that may not be opened.
    """

    top: Path
    videos: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    flows: dict[str, str] = field(default_factory=dict)
    archives: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hidden: int = 0
    other: Counter[str] = field(default_factory=Counter)
    images: list[str] | None = None
    closed: list[str] = field(default_factory=list)

    def match(self, *patterns: str) -> list[str]:
        """The notes whose file name matches one of the patterns."""
        return [note for note in self.notes if any(fnmatch(PurePosixPath(note).name, pattern) for pattern in patterns)]


def walk(folder: Path, *, images: bool = False) -> Tree:
    """Look at everything below `folder`; `images`: note their names, too."""
    tree = Tree(folder, images=[] if images else None)
    _enter(tree, "", set())
    _part_flows(tree)
    return tree


def _enter(tree: Tree, inside: str, entered: set[str]) -> None:
    """Note the files of one folder, then those of the folders in it."""
    real = os.path.realpath(tree.top / inside)
    if real in entered:
        return
    entered.add(real)
    try:
        entries = sorted(os.scandir(tree.top / inside), key=lambda entry: entry.name)
    except PermissionError:
        tree.closed.append(inside)
        return
    shown = [entry for entry in entries if not entry.name.startswith(".")]
    tree.hidden += len(entries) - len(shown)
    folders = {entry.name for entry in shown if entry.is_dir()}
    files = [entry.name for entry in shown if entry.name not in folders]
    before = f"{inside}/" if inside else ""
    has_video = any(suffix_of(name) in VIDEO_SUFFIXES for name in files)
    if inside and not has_video and is_frame_folder(files):
        tree.frames.append(inside)
    for entry in shown:
        if entry.name in folders:
            _enter(tree, before + entry.name, entered)
        else:
            _note(tree, before + entry.name)


def _note(tree: Tree, file: str) -> None:
    suffix = suffix_of(file)
    if suffix in VIDEO_SUFFIXES:
        tree.videos.append(file)
        return
    tree.other[suffix] += 1
    if tree.images is not None and suffix in IMAGE_SUFFIXES:
        tree.images.append(file)
    if suffix == ".tar":
        tree.archives.append(file)
    elif suffix in _NOTE_SUFFIXES:
        tree.notes.append(file)


def suffix_of(path: str) -> str:
    """As `PurePath.suffix`, in lower case and ten times as fast: data sets have millions of images."""
    stem, _, suffix = path.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if stem and suffix else ""


def _part_flows(tree: Tree) -> None:
    """Take the folders of flow out of the frames: `u` and `v` that hold the same folders, as no third one beside does.

    The third is asked for because `u` and `v` may also be classes, of finger spelling for example.
    """
    below: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in tree.frames:
        parts = PurePosixPath(path).parts
        for depth in range(len(parts) - 1):
            below["/".join(parts[:depth])][parts[depth]].add("/".join(parts[depth + 1 :]))
    for above, folders in below.items():
        pair = [name for name in folders if folders[name] == folders.get("u")]
        if sorted(pair) == ["u", "v"]:
            before = f"{above}/" if above else ""
            tree.flows |= {name: f"{before}u/{name}" for name in sorted(folders["u"])}
            flow = {f"{before}{component}/{name}" for component in "uv" for name in folders["u"]}
            tree.frames = [path for path in tree.frames if path not in flow]


class Catalogue:
    """Finds the videos of a tree by the names that lists give them.

    Lists of known data sets outlive their files' places and formats: `Class/clip.avi` is found as `clip.mp4` below any
    folder, or as the folder of frames `clip`. Video files are preferred to frames, and places that end like the listed
    one to others.
    """

    def __init__(self, tree: Tree) -> None:
        self.top, self._frames, self._flows = tree.top, frozenset(tree.frames), tree.flows
        self._named: defaultdict[str, list[str]] = defaultdict(list)
        for path in (*tree.videos, *tree.frames):
            self._named[_stem(path)].append(path)

    def find(self, listed: str) -> str | None:
        """The video that a list calls `listed`, relative to the tree's folder; None where it is not there.

        Raises:
            DataError: several videos of that name are there.
        """
        found = self._named.get(_stem(listed), [])
        if len(found) < 2:
            return found[0] if found else None
        ranked = sorted(found, key=lambda path: self._rank(path, listed))
        if self._rank(ranked[0], listed) == self._rank(ranked[1], listed):
            raise DataError(
                f"{self.top}: '{listed}' may be {ranked[0]} or {ranked[1]}; point at a folder that holds only one copy"
            )
        return ranked[0]

    def flow(self, path: str) -> str | None:
        """The `u` folder of a video's pre-computed flow, if the tree has one."""
        for name in (path, path.rpartition(".")[0], _stem(path)):
            if name in self._flows:
                return self._flows[name]
        tails = [place for name, place in self._flows.items() if PurePosixPath(name).name == _stem(path)]
        return tails[0] if len(tails) == 1 else None

    def _rank(self, path: str, listed: str) -> tuple[bool, int]:
        ours, theirs = (PurePosixPath(name).parts[-2::-1] for name in (path, listed))
        shared = 0
        while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
            shared += 1
        return path in self._frames, -shared


def _stem(path: str) -> str:
    name = PurePosixPath(path)
    return name.stem if suffix_of(path) in VIDEO_SUFFIXES else name.name
