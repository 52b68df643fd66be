"""From a folder, a list or a file to a manifest of videos that can be read, and a list of those that cannot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kinema.data.duplicates import identical_groups, near_groups
from kinema.data.layouts import AUTO, VIDEO_SUFFIXES, LayoutOptions, Listing, lay_out
from kinema.data.manifest import Manifest
from kinema.data.surveying import Columns, Progress, survey
from kinema.data.tables import write_quarantine
from kinema.errors import DataError, RecipeError, VideoError, suggest
from kinema.video.info import VideoInfo

__all__ = ["VIDEO_SUFFIXES", "ScanReport", "scan"]


@dataclass(frozen=True)
class ScanReport:
    """What a scan found.

    Attributes:
        manifest: one row per readable video (or row of a list), with the columns of `VideoInfo.to_columns`, `hash`,
            `fingerprint`, `modified`, and those of the layout; it remembers what was set aside.
        duplicates: groups of paths with byte-identical content; all of them are in the manifest.
        near_duplicates: groups of paths of videos that look the same, see `kinema.data.duplicates`.
        layout: name of the layout by which a folder was read; "list" or "file" where there was none to read.
        evidence: one line: what was recognised, and by which files.
        reused: number of files taken unread from the earlier scan.
        hidden: number of hidden files and folders that were passed over.
        other: number of files passed over because of their suffix, by suffix.
    """

    manifest: Manifest
    duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    layout: str
    evidence: str = ""
    reused: int = 0
    hidden: int = 0
    other: dict[str, int] = field(default_factory=dict)

    @property
    def quarantined(self) -> list[tuple[str, str]]:
        """(path, reason) of the files that cannot be read, in order; they are not in the manifest."""
        return list(self.manifest.set_aside)

    def write(self, path: Path) -> None:
        """Write the manifest, and beside it `NAME.quarantine.csv` for people, where anything was set aside."""
        self.manifest.write(path)
        write_quarantine(path, self.manifest.set_aside)


def scan(
    source: str | Path,
    *,
    layout: str = AUTO,
    labels: Literal["folder", "none"] | None = None,
    split: int | None = None,
    fps: float | None = None,
    lists: str | Path | None = None,
    previous: Manifest | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    time_limit: float = 60.0,
) -> ScanReport:
    """Read every video once and describe it.

    Files are read in processes apart, so that one that crashes or hangs the decoder is quarantined like any other
    broken one. The result does not depend on the number of workers.

    Args:
        source: a folder of videos; a `.csv` or `.parquet` list, whose columns are kept (those that the scan measures
            are replaced); one video file; one tar file of videos.
        layout: of a folder, one of `kinema.data.layouts.LAYOUTS`, or "auto" to find it out.
        labels: of plain folders: "folder" takes each video's first-level folder as column `label`; "none" takes no
            labels; None takes them when every video lies in a first-level folder and there are at least two such
            folders. A first level of nothing but train, val and test folders becomes column `split`, and the second
            level counts.
        split: number of the official split, for sets that have several (1 unless stated).
        fps: frames per second of folders of images; None takes the set's own rate, or 25.
        lists: folder or file of the set's lists, where they do not lie below `source`.
        previous: an earlier scan; files of the same size and time of change are not read again.
        workers: processes that read at the same time; None takes one per core.
        progress: called with (files done, files in all) after each file.
        time_limit: seconds allowed per file, in addition to two seconds per megabyte.

    Raises:
        DataError: nothing there, no video in it, none that can be read, or no such layout.
        RecipeError: an option is unknown or means nothing here.
    """
    _check(labels, workers, fps)
    options = LayoutOptions(labels, split, fps, None if lists is None else Path(lists))
    listed = _collect(Path(source), layout, options)
    wanted = {str(row["path"] or ""): row.get("fps") or fps for row in listed.rows}
    results, reused = survey(
        wanted,
        listed.root,
        previous=previous,
        workers=workers or _cores(),
        progress=progress,
        time_limit=time_limit,
    )
    manifest = _complete(listed, results)
    return ScanReport(
        manifest,
        identical_groups(manifest),
        near_groups(manifest),
        listed.layout,
        listed.evidence,
        reused,
        listed.hidden,
        listed.other,
    )


def _check(labels: str | None, workers: int | None, fps: float | None) -> None:
    if labels not in (None, "folder", "none"):
        raise RecipeError(f"labels='{labels}' is unknown.{suggest(str(labels), ('folder', 'none'))}")
    if workers is not None and workers < 1:
        raise RecipeError(f"workers={workers}: at least one is needed")
    if fps is not None and not fps > 0:
        raise RecipeError(f"fps={fps}: a rate is above 0")


def _collect(source: Path, layout: str, options: LayoutOptions) -> Listing:
    """Rows to be completed, the folder that their paths start from, and what was passed over."""
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    suffix = source.suffix.lower()
    if source.is_dir() or suffix == ".tar":
        return lay_out(source, layout, options)
    for option, value in (
        ("layout", None if layout == AUTO else layout),
        ("split", options.split),
        ("lists", options.lists),
    ):
        if value is not None:
            raise RecipeError(f"{option}='{value}' is for folders, and {source} is a file")
    if suffix in (".csv", ".parquet"):
        listed = Manifest.read(source, check_files=False)
        rows = [listed.row(i) for i in range(len(listed))]
        # What an earlier scan set aside is in no row, and must not be forgotten.
        return Listing(listed.root, rows, "list", source.name, missing=list(listed.set_aside))
    return Listing(source.parent, [{"path": source.name}], "file", source.name)


def _complete(listed: Listing, results: Mapping[str, Columns | VideoError]) -> Manifest:
    """The rows whose videos can be read, and the reasons why others cannot."""
    readable: list[Columns] = []
    quarantined = dict(listed.missing)
    for row in listed.rows:
        path = str(row["path"] or "")
        result = results[path]
        try:
            if isinstance(result, VideoError):
                raise result
            readable.append({**row, **_bounds(row, result), **result})
        except VideoError as error:
            quarantined[path] = error.reason
    if not readable:
        path, reason = next(iter(quarantined.items()))
        raise DataError(f"{listed.root}: none of {len(quarantined)} videos can be read; the first, {path}: {reason}")
    return Manifest.from_rows(readable, listed.root, quarantined.items())


def _bounds(row: Mapping[str, Any], measured: Columns) -> Columns:
    """Seconds for a row whose list states frames: from the beginning of the first to that of the one after the last."""
    first, stop = row.get("start_frame"), row.get("end_frame")
    if (first is None and stop is None) or row.get("start") is not None or row.get("end") is not None:
        return {}
    info = VideoInfo.from_columns(row["path"], measured)
    if (first or 0) >= info.frames:
        raise VideoError(row["path"], f"listed from frame {first} on, but it has only {info.frames} frames")
    return {
        "start": float(info.times[first]) if first else None,
        "end": float(info.times[stop]) if stop is not None and stop < info.frames else None,
    }


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
