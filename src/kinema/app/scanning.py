"""`kinema scan`: look at every video, write the manifest, and say what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from kinema.app.progress import progress_bar
from kinema.data.duplicates import Overlap, overlap
from kinema.data.manifest import Manifest
from kinema.data.scan import ScanReport, scan
from kinema.data.tables import check_writable, quarantine_file
from kinema.errors import DataError

SHOWN = 5
"""So many quarantined files are named on the screen; the rest is in the file."""


def scan_to_file(
    source: Path,
    out: Path,
    *,
    labels: Literal["auto", "folder", "none"] = "auto",
    against: Path | None = None,
    afresh: bool = False,
    **options: Any,
) -> ScanReport:
    """Scan `source`, write the manifest to `out` and the quarantine beside it, and print a summary.

    Args:
        source: what to scan.
        out: manifest to write; where it exists, files that have not changed are not read again.
        labels: whether first-level folders are classes.
        against: another manifest; what both share is printed.
        afresh: read every file again.
        options: for `kinema.data.scan.scan`.

    Raises:
        DataError: nothing to scan, or no manifest can be written to `out`, which is found out first.
    """
    check_writable(out)
    other = None if against is None else Manifest.read(against, check_files=False)
    previous = None if afresh else _previous(out)
    with progress_bar(f"scanning {source}") as tick:
        report = scan(source, labels=None if labels == "auto" else labels, previous=previous, progress=tick, **options)
    report.write(out)
    _summarise(report, out)
    if other is not None:
        print(f"against {against}: {in_words(overlap(report.manifest, other), report.manifest, other)}")
    return report


def in_words(shared: Overlap, manifest: Manifest, other: Manifest) -> str:
    """One line: how many videos of `manifest` are in `other`, identical and near-identical apart, with an example."""
    parts = []
    for name, pairs in (("identical", shared.identical), ("near-identical", shared.near)):
        example = next((f" ({_pair(manifest, other, pair)})" for pair in pairs.items()), "")
        parts.append(f"{len(pairs):,} {name}{example}")
    return f"{', '.join(parts)}; compared by {shared.compared}"


def _pair(manifest: Manifest, other: Manifest, pair: tuple[int, int]) -> str:
    return f"first: {manifest.row(pair[0])['path']} = {other.row(pair[1])['path']}"


def _previous(out: Path) -> Manifest | None:
    """The manifest to be replaced; one that cannot be read is of no use."""
    try:
        return Manifest.read(out, check_files=False) if out.exists() else None
    except DataError:
        return None


def _summarise(report: ScanReport, out: Path) -> None:
    manifest = report.manifest
    seconds = sum(end - start for start, end in map(manifest.bounds, range(len(manifest))))
    print(f"{report.layout}: {report.evidence}")
    print(f"{len(manifest):,} videos, {_duration(seconds)}, written to {out}")
    if report.reused:
        print(f"{report.reused:,} files had not changed since the last scan and were not read again")
    if "label" in manifest.columns:
        counts = Counter(manifest.column("label"))
        shown = ", ".join(f"{name} {count}" for name, count in counts.most_common(6))
        print(f"labels: {len(counts)} classes ({shown}{' …' if len(counts) > 6 else ''})")
    if "split" in manifest.columns:
        counts = Counter(manifest.column("split"))
        print(f"splits: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    _print_groups("identical files", report.duplicates, " = ")
    _print_groups("near-identical videos", report.near_duplicates, " ~ ")
    if report.other:
        print(f"passed over: {', '.join(f'{count} *{suffix}' for suffix, count in report.other.items())}")
    for path, reason in report.quarantined[:SHOWN]:
        print(f"set aside: {path}: {reason}")
    if report.quarantined:
        print(f"{len(report.quarantined)} files cannot be read: the reasons are in {quarantine_file(out)}")


def _print_groups(what: str, groups: Sequence[Sequence[str]], sign: str) -> None:
    if groups:
        print(f"{len(groups)} groups of {what}, first: {sign.join(groups[0][:SHOWN])}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"
