"""One way in: whatever a person points at becomes a scanned manifest."""

from __future__ import annotations

from pathlib import Path

from kinema.data.manifest import Manifest
from kinema.data.packed import finished_manifest, is_store
from kinema.data.scan import scan
from kinema.errors import DataError

_TOLD = 20  # files set aside that are named; a set of which a part was fetched lacks thousands


def open_manifest(source: str | Path, *, workers: int | None = None, refuse_broken: bool = False) -> Manifest:
    """A manifest from a file that `kinema scan` wrote, from a packed store, any other list, or a folder of videos.

    What has not been scanned yet is scanned now; files that cannot be read are left out and said on standard error.

    Args:
        source: manifest, list, folder, or folder of a packed store.
        workers: processes that scan.
        refuse_broken: raise instead of leaving files out, for evaluation, where that would flatter the numbers.

    Raises:
        DataError: nothing there, no readable video, or a broken one with `refuse_broken`.
    """
    import sys

    source = Path(source)
    if not source.exists():
        raise DataError(f"{source} does not exist: give a folder of videos, or a manifest written by kinema scan")
    if is_store(source):
        source = finished_manifest(source)
    if source.is_file() and source.suffix.lower() in {".csv", ".parquet"}:
        manifest = Manifest.read(source)
        if "hash" in manifest.columns:
            return manifest
    report = scan(source, workers=workers)
    if report.layout not in ("folders", "list", "file"):
        print(f"{report.layout}: {report.evidence}", file=sys.stderr)
    for path, reason in report.quarantined[:_TOLD]:
        print(f"set aside: {path}: {reason}", file=sys.stderr)
    if len(report.quarantined) > _TOLD:
        print(f"set aside: {len(report.quarantined) - _TOLD:,} more", file=sys.stderr)
    if report.quarantined and refuse_broken:
        raise DataError(
            f"{len(report.quarantined)} files of {source} cannot be read (named above): repair or remove them, or "
            "evaluate without them with --skip-broken"
        )
    return report.manifest
