"""Videos inside uncompressed tar archives, read where they lie: `shard.tar/clip.mp4` is a path like any other."""

from __future__ import annotations

import posixpath
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from kinema.errors import VideoError

_ARCHIVES_KEPT = 64  # tables of contents kept per process
_BLOCK = 512


class Member(NamedTuple):
    """One file of an archive: the archive, and where in it the file's bytes lie."""

    archive: Path
    offset: int
    bytes: int

    @property
    def address(self) -> str:
        """What FFmpeg opens: a stretch of the archive, by its own protocol for parts of files."""
        return f"subfile,,start,{self.offset},end,{self.offset + self.bytes},,:{self.archive.absolute()}"


class Contents(NamedTuple):
    """The files of an archive by name, in order, and why there may be more ("" where it was read to its end)."""

    members: dict[str, Member]
    damage: str


def archive_of(path: Path) -> Path | None:
    """The archive that a path leads into; None for ordinary paths, and for the archive itself."""
    if ".tar" not in str(path).lower():
        return None
    return next((parent for parent in path.parents if parent.suffix.lower() == ".tar" and parent.is_file()), None)


def contents(archive: Path) -> Contents:
    """The files in a tar archive. They are found by jumping from header to header; no file's content is read."""
    status = archive.stat()
    return _contents(archive, status.st_size, status.st_mtime_ns)


def find_member(path: Path) -> Member | None:
    """Where the file lies that `archive.tar/name` names; None for ordinary paths.

    Raises:
        VideoError: the archive holds no such file.
    """
    archive = archive_of(path)
    if archive is None:
        return None
    members, damage = contents(archive)
    name = path.relative_to(archive).as_posix()
    if name not in members:
        raise VideoError(path, f"no such file in the archive{f', which is {damage}' if damage else ''}")
    return members[name]


def still_there(member: Member, name: str) -> bool:
    """Whether the archive has a file of this name and size at this place: one block is read."""
    if not member.archive.is_file():
        return False
    with member.archive.open("rb") as file:
        file.seek(member.offset - _BLOCK)
        block = file.read(_BLOCK)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    # This block has only the beginning of long names, and no size above 8 GB where another block gives it.
    return header.size in (member.bytes, 0) and posixpath.normpath(header.name)[:90] == name[:90]


@lru_cache(_ARCHIVES_KEPT)
def _contents(archive: Path, size: int, modified: int) -> Contents:
    found: dict[str, Member] = {}
    failure: Exception | None = None
    try:
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                if entry.isreg():
                    found[posixpath.normpath(entry.name)] = Member(archive, entry.offset_data, entry.size)
    except (tarfile.TarError, EOFError, OSError) as error:
        failure = error
    whole = {name: member for name, member in found.items() if member.offset + member.bytes <= size}
    if failure is None and len(whole) == len(found):
        return Contents(whole, "")
    return Contents(whole, _damage(archive, len(whole), failure))


def _damage(archive: Path, count: int, error: Exception | None) -> str:
    if count or error is None:
        return f"cut off after {count} files"
    with archive.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return (
        "compressed, so that files in it cannot be reached: make it a plain .tar" if compressed else f"no tar: {error}"
    )
