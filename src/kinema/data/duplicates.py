"""Videos that are the same, byte for byte or nearly, within one manifest or between two.

Nearly the same means: the looks of the two fingerprints (`kinema.video.fingerprint`) differ in at most `LOOK` of their
bits and the motions, over the frames in which both moved, in at most `MOTION`. A video in which nothing moves is never
called near-identical: two stretches of a still scene look as much alike as a copy does. docs/how-to/layouts.md says
what these limits find and miss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.video.container import stored_bytes
from kinema.video.fingerprint import BYTES, unpack

LOOK, MOTION = 0.1, 0.25
"""Largest shares of bits in which near-identical videos differ."""

_MOVING_FRAMES = 3  # frames that must have moved in both
_BLOCK = 4096
_VERIFIED_AT_ONCE = 1 << 15

Pairs = npt.NDArray[np.int64]
Fingerprints = npt.NDArray[np.uint8]


class Overlap(NamedTuple):
    """What two manifests share.

    Attributes:
        identical: by row of the first, the first row of the second with the same file.
        near: the same for rows that are near-identical to one and identical to none.
        compared: how that was established.
    """

    identical: dict[int, int]
    near: dict[int, int]
    compared: str


def overlap(manifest: Manifest, other: Manifest, rows: Iterable[int] | None = None) -> Overlap:
    """Which of `rows` (None: all) of `manifest` show a video that is in `other` too; segments count as whole files.

    Files are the same when their content hashes are equal; where one side was not scanned, when they lie at the same
    place, or have the same name and size. Near-identical ones are found where both sides have fingerprints.
    """
    rows = range(len(manifest)) if rows is None else list(rows)
    hashed = _has(manifest, "hash") and _has(other, "hash")
    ours, theirs = (_identities(table, hashed=hashed) for table in (manifest, other))
    first: dict[Hashable, int] = {}
    for place, names in enumerate(theirs):
        for name in names:
            first.setdefault(name, place)
    identical = {row: min(first[name] for name in ours[row] & first.keys()) for row in rows if ours[row] & first.keys()}
    compared = "content hash" if hashed else "path, or name and size"
    if not all("fingerprint" in table.columns for table in (manifest, other)):
        return Overlap(identical, {}, compared)
    pairs = _near_rows(manifest, [row for row in rows if row not in identical], other)
    return Overlap(identical, pairs, f"{compared}, and fingerprint")


def identical_groups(manifest: Manifest) -> list[list[str]]:
    """Paths of files with the same content, in order."""
    by_hash: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for path, digest in zip(manifest.column("path"), manifest.column("hash"), strict=True):
        by_hash[digest][path] = None
    return [list(paths) for paths in by_hash.values() if len(paths) > 1]


def near_groups(manifest: Manifest) -> list[list[str]]:
    """Paths of videos that are near-identical, directly or through others; of identical files the first stands."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if "fingerprint" not in manifest.columns:
        return []
    first: dict[str, int] = {}
    for row, digest in enumerate(manifest.column("hash")):
        first.setdefault(digest, row)
    rows, prints = _fingerprints(manifest, first.values())
    pairs = near_pairs(prints)
    if not len(pairs):
        return []
    edges = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(rows), len(rows)))
    _, member = connected_components(edges, directed=False)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for node in np.unique(pairs).tolist():
        groups[member[node]].append(rows[node])
    paths = manifest.column("path")
    return [[paths[row] for row in group] for group in groups.values()]


def near_pairs(first: Fingerprints, second: Fingerprints | None = None) -> Pairs:
    """(i, j) of near-identical videos, int64 [P, 2]: `first[i]` and `second[j]`, or i < j of `first` alone.

    Fingerprints are uint8 [N, BYTES]. Every pair is looked at, in blocks, by matrix products: 100,000 videos among
    themselves take minutes.
    """
    others = first if second is None else second
    ours, theirs = _moving(first), _moving(others)
    found = [np.empty((0, 2), np.int64)]
    for i in range(0, len(ours), _BLOCK):
        left = _signs(first[ours[i : i + _BLOCK]])
        for j in range(i if second is None else 0, len(theirs), _BLOCK):
            right = _signs(others[theirs[j : j + _BLOCK]])
            # The product of two vectors of n signs is n less twice the number of those that differ.
            close = np.argwhere(left @ right.T >= left.shape[1] * (1 - 2 * LOOK))
            pairs = np.stack([ours[i + close[:, 0]], theirs[j + close[:, 1]]], axis=1)
            pairs = pairs[pairs[:, 0] < pairs[:, 1]] if second is None else pairs
            found.append(pairs[_move_alike(first, others, pairs)])
    return np.concatenate(found)


def _move_alike(first: Fingerprints, second: Fingerprints, pairs: Pairs) -> npt.NDArray[np.bool_]:
    alike = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _VERIFIED_AT_ONCE):
        part = slice(start, start + _VERIFIED_AT_ONCE)
        _, left = unpack(first[pairs[part, 0]])
        _, right = unpack(second[pairs[part, 1]])
        both = left[:, :, 0] & right[:, :, 0]
        differing = ((left != right)[:, :, 1:].mean(2) * both).sum(1) / both.sum(1).clip(1)
        alike[part] = (both.sum(1) >= _MOVING_FRAMES) & (differing <= MOTION)
    return alike


def _moving(prints: Fingerprints) -> npt.NDArray[np.int64]:
    """Those that can be near-identical to anything."""
    _, motion = unpack(prints)
    return np.flatnonzero(motion[:, :, 0].sum(1) >= _MOVING_FRAMES)


def _signs(prints: Fingerprints) -> npt.NDArray[np.float32]:
    look, _ = unpack(prints)
    return np.where(look[:, :, 1:], np.float32(1), np.float32(-1)).reshape(len(prints), -1)


def _near_rows(manifest: Manifest, rows: Sequence[int], other: Manifest) -> dict[int, int]:
    ours, prints = _fingerprints(manifest, rows)
    theirs, other_prints = _fingerprints(other, range(len(other)))
    found: dict[int, int] = {}
    for i, j in near_pairs(prints, other_prints).tolist():
        found.setdefault(ours[i], theirs[j])
    return found


def _fingerprints(manifest: Manifest, rows: Iterable[int]) -> tuple[list[int], Fingerprints]:
    """Rows that have a fingerprint, and those as uint8 [N, BYTES]."""
    column = manifest.column("fingerprint")
    kept = [row for row in rows if column[row] is not None]
    joined = b"".join(column[row] for row in kept)
    return kept, np.frombuffer(joined, np.uint8).reshape(len(kept), BYTES)


def _has(manifest: Manifest, column: str) -> bool:
    return column in manifest.columns and all(manifest.column(column))


def _identities(manifest: Manifest, *, hashed: bool) -> list[set[Hashable]]:
    """For every row, what it shares with another row of the same file."""
    if hashed:
        return [{value} for value in manifest.column("hash")]
    sizes = manifest.column("bytes") if "bytes" in manifest.columns else [None] * len(manifest)
    found = []
    for row, stated in enumerate(sizes):
        path = manifest.path(row)
        size = stated or (stored_bytes(path) if path.is_file() else None)
        places: set[Hashable] = {("path", str(path.resolve()))}
        found.append(places if size is None else places | {("file", path.name, size)})
    return found
