"""One way in: whatever a person points at becomes a scanned manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinema.data.manifest import Manifest
from kinema.data.packed import finished_manifest, is_store
from kinema.data.scan import scan
from kinema.data.sequences import open_sequences
from kinema.errors import DataError

_TOLD = 20  # files set aside that are named; a set of which a part was fetched lacks thousands


def open_manifest(source: str | Path, *, workers: int | None = None, refuse_broken: bool = False) -> Manifest:
    """A manifest from a file that `kinema scan` wrote, from a packed store, any other list, or a folder of videos.

    What has not been scanned yet is scanned now; files that cannot be read are left out and said on standard error.
    Sequences of embeddings are opened as they are, see `kinema.data.sequences`.

    Args:
        source: manifest, list, folder, or folder of a packed store.
        workers: processes that scan.
        refuse_broken: raise instead of leaving files out, for evaluation, where that would flatter the numbers.

    Raises:
        DataError: nothing there, no readable video, or a broken one with `refuse_broken`.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source} does not exist: give a folder of videos, or a manifest written by kinema scan")
    if is_store(source):
        source = finished_manifest(source)
    sequences = open_sequences(source)
    if sequences is not None:
        _tell(sequences.set_aside, refuse=refuse_broken, source=source)
        return sequences
    if source.is_file() and source.suffix.lower() in {".csv", ".parquet"}:
        manifest = Manifest.read(source)
        if "hash" in manifest.columns:
            return manifest
    import sys

    report = scan(source, workers=workers)
    if report.layout not in ("folders", "list", "file"):
        print(f"{report.layout}: {report.evidence}", file=sys.stderr)
    _tell(report.quarantined, refuse=refuse_broken, source=source)
    return report.manifest


def _tell(aside: Sequence[tuple[str, str]], *, refuse: bool, source: Path) -> None:
    """Name what was set aside on standard error; with `refuse`, raise DataError where anything was."""
    import sys

    for path, reason in aside[:_TOLD]:
        print(f"set aside: {path}: {reason}", file=sys.stderr)
    if len(aside) > _TOLD:
        print(f"set aside: {len(aside) - _TOLD:,} more", file=sys.stderr)
    if aside and refuse:
        raise DataError(
            f"{len(aside)} files of {source} cannot be read (named above): repair or remove them, or "
            "evaluate without them with --skip-broken"
        )
