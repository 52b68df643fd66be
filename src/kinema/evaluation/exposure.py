"""Did pre-training see the test files?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kinema.data.manifest import Manifest

Identity = tuple[str, ...]


class Exposure(NamedTuple):
    """`mark` for result rows, the number of test rows whose file was in the pre-training manifest, and how that was
    established: "content hash", or "path or name and size".
    """

    mark: str
    overlap: int
    compared: str


def exposure(manifest: Manifest, tested: Iterable[int], pretraining: Manifest | None) -> Exposure:
    """Mark a result "transductive" where any tested row's file was trained on, else "inductive".

    Files are the same when their content hashes are equal; where one side was not scanned, when they lie at the same
    place, or have the same name and size. A segment counts as its whole file. Without a manifest: "unknown".
    """
    if pretraining is None:
        return Exposure("unknown", 0, "no pre-training manifest was given")
    hashed = _hashed(manifest) and _hashed(pretraining)
    ours, theirs = (_identities(table, hashed=hashed) for table in (manifest, pretraining))
    seen = set().union(*theirs)
    overlap = sum(1 for row in tested if ours[row] & seen)
    compared = "content hash" if hashed else "path, or name and size"
    return Exposure("transductive" if overlap else "inductive", overlap, compared)


def _hashed(manifest: Manifest) -> bool:
    return "hash" in manifest.columns and all(manifest.column("hash"))


def _identities(manifest: Manifest, *, hashed: bool) -> list[set[Identity]]:
    """For every row, what it shares with another row of the same file."""
    if hashed:
        return [{("hash", str(value))} for value in manifest.column("hash")]
    sizes = manifest.column("bytes") if "bytes" in manifest.columns else [None] * len(manifest)
    found = []
    for row, stated in enumerate(sizes):
        path = manifest.path(row)
        size = stated or (path.stat().st_size if path.exists() else None)
        places: set[Identity] = {("path", str(path.resolve()))}
        found.append(places if size is None else places | {("file", path.name, str(size))})
    return found
