"""Hidden segments of long videos: how often what a run predicts is the right one, beside what costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinema.errors import KinemaError
from kinema.evaluation.masked_segments import MASKED
from kinema.report.markup import Markup, join, table, tag
from kinema.report.record import Record, as_number
from kinema.report.sections import missing, section
from kinema.training.files import read_json

_HEAD = ("predictor", "R@1", "R@5", "R@10", "median rank", "error")
_GALLERIES = {
    "video": "Among all segments of the same video",
    "hidden": "Among the hidden segments of the same video",
    "all": "Among all segments of all videos",
    "captions of video": "Among the captions of the same video",
    "captions of all": "Among the captions of all videos",
}


def segments_section(record: Record) -> Markup | None:
    """What `kinema segments` has left in the run; None where it has not been run."""
    found = sorted(record.folder.glob(f"evaluation/*/{MASKED}"))
    return section("segments", "Hidden segments", *map(_one, found)) if found else None


def _one(path: Path) -> Markup:
    try:
        stored = read_json(path)
        rows, hiding = list(stored["rows"]), dict(stored["hiding"])
        tables = [_gallery(gallery, rows) for gallery in _GALLERIES if any(row["gallery"] == gallery for row in rows)]
    except (KinemaError, KeyError, TypeError, ValueError) as error:
        return missing(f"{path.parent.name}/{path.name} cannot be read: {error}.")
    text = (
        f"“{path.parent.name}”: {as_number(hiding['ratio']):.0%} of the segments were hidden ({hiding['masking']}). A "
        "prediction is right at k when the hidden segment is among the k most similar ones. Small: 95 % interval of "
        "R@1 over videos. The error is relative to predicting nothing."
    )
    return join(tag("p", text), *tables)


def _gallery(gallery: str, rows: Sequence[dict[str, Any]]) -> Markup:
    own = [row for row in rows if row["gallery"] == gallery]
    chance = f"{_GALLERIES[gallery]}: {own[0]['queries']:,} hidden segments, chance {as_number(own[0]['chance']):.1f} %"
    return table(_HEAD, [_cells(row) for row in own], caption=chance)


def _cells(row: dict[str, Any]) -> list[Markup | str]:
    first, *rest = (f"{as_number(value):.1f}" for value in row["hits"].values())
    interval = tag("small", f" {as_number(row['low']):.1f} to {as_number(row['high']):.1f}")
    error = "" if row["error"] is None else f"{as_number(row['error']):.3f}"
    return [str(row["predictor"]), join(first, interval), *rest, f"{as_number(row['median']):.1f}", error]
