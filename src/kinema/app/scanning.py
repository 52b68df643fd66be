"""`kinema scan`: look at every video, write the manifest, and say what was found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from kinema.app.progress import progress_bar
from kinema.data.scan import ScanReport, scan

SHOWN = 5
"""So many quarantined files are named on the screen; the rest is in the file."""


def scan_to_file(
    source: Path, out: Path, *, labels: Literal["auto", "folder", "none"] = "auto", workers: int | None = None
) -> ScanReport:
    """Scan `source`, write the manifest to `out` and the quarantine beside it, and print a summary."""
    with progress_bar(f"scanning {source}") as tick:
        report = scan(source, labels=None if labels == "auto" else labels, workers=workers, progress=tick)
    report.manifest.write(out)
    aside = out.with_suffix(".quarantine.csv")
    if report.quarantined:
        report.write_quarantine(aside)
    else:
        aside.unlink(missing_ok=True)
    _summarise(report, out, aside)
    return report


def _summarise(report: ScanReport, out: Path, aside: Path) -> None:
    manifest = report.manifest
    seconds = sum(end - start for start, end in map(manifest.bounds, range(len(manifest))))
    print(f"{len(manifest):,} videos, {_duration(seconds)}, written to {out}")
    if "label" in manifest.columns:
        counts = Counter(manifest.column("label"))
        shown = ", ".join(f"{name} {count}" for name, count in counts.most_common(6))
        print(f"labels: {len(counts)} classes ({shown}{' …' if len(counts) > 6 else ''})")
    if "split" in manifest.columns:
        counts = Counter(manifest.column("split"))
        print(f"splits: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    if report.duplicates:
        print(f"{len(report.duplicates)} groups of identical files, first: {' = '.join(report.duplicates[0])}")
    if report.other:
        print(f"passed over: {', '.join(f'{count} *{suffix}' for suffix, count in report.other.items())}")
    for path, reason in report.quarantined[:SHOWN]:
        print(f"set aside: {path}: {reason}")
    if report.quarantined:
        print(f"{len(report.quarantined)} files cannot be read: the reasons are in {aside}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.1f} minutes"
