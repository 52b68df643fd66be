"""One self-contained HTML page about a run: no network, no file beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence, Set
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from kinema import __version__
from kinema.report.clips import Budget
from kinema.report.gallery import gallery_section
from kinema.report.markup import Content, Markup, join, tag
from kinema.report.propagation import propagation_section
from kinema.report.record import Record, read_record
from kinema.report.results import judgement_boxes, results_section
from kinema.report.sections import (
    described,
    health_section,
    next_section,
    pictures_section,
    quarantine_section,
    recipe_section,
    training_section,
)
from kinema.report.segments import segments_section
from kinema.training.files import write_atomic

PAGE_BYTES = 8_000_000
"""What a report may weigh; pictures that do not fit are left out and counted."""

_TEXT_BYTES = 1_000_000  # kept for everything that is not a picture
_CHAPTERS = (
    ("health", "Health"),
    ("training", "Training"),
    ("pictures", "Task"),
    ("results", "Results"),
    ("propagation", "Propagation"),
    ("segments", "Segments"),
    ("gallery", "Neighbours"),
    ("files", "Files"),
    ("recipe", "Recipe"),
    ("next", "Next"),
)


def write_report(run_folder: str | Path, out: str | Path | None = None, *, redact: bool = False) -> Path:
    """Write the report of a run folder.

    Args:
        run_folder: what `pretrain` wrote; training may still be going on, and no evaluation is needed.
        out: the HTML file; by default report.html in the run folder.
        redact: leave out every frame of every video, so that the page shows no faces; file names, classes and numbers
            stay.

    Returns:
        The path of the page.

    Raises:
        DataError: the folder is no run folder.
    """
    folder = Path(run_folder)
    target = folder / "report.html" if out is None else Path(out)
    write_atomic(target, render(read_record(folder), redact=redact))
    return target


def render(record: Record, *, redact: bool = False) -> str:
    """The whole page as text."""
    budget = Budget(PAGE_BYTES - _TEXT_BYTES)
    chapters = [
        health_section(record),
        training_section(record),
        pictures_section(record, budget, redact=redact),
        results_section(record),
        propagation_section(record, budget, redact=redact),
        segments_section(record),
        gallery_section(record, budget, redact=redact),
        quarantine_section(record),
        recipe_section(record),
        next_section(record),
    ]
    title = f"{record.recipe.get('method', 'run')} · {record.folder.resolve().name}"
    left_out = {name for (name, _), chapter in zip(_CHAPTERS, chapters, strict=True) if chapter is None}
    header = _header(record, title, left_out)
    return document(title, header, tag("main", *chapters), _footer(record, budget, redact))


def document(title: str, *content: Content) -> str:
    """A whole page of this content: no network, no file beside it."""
    body = tag("body", *content, _script())
    return f"<!doctype html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Markup:
    # The policy forbids every connection and every script but the one below, should an escape ever be forgotten.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_script_hash()}'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"kinema {__version__}"),
        tag("title", f"{title} · kinema"),
        tag("style", Markup(_shipped("style.css"))),
    )


def _header(record: Record, title: str, left_out: Set[str]) -> Markup:
    links = [tag("li", tag("a", text, href=f"#{name}")) for name, text in _CHAPTERS if name not in left_out]
    button = tag("button", "Pause clips", type="button", hidden=True)
    return tag(
        "header",
        tag("p", "kinema training report", class_="over"),
        tag("h1", title),
        described(record),
        judgement_boxes(record),
        tag("nav", tag("ul", *links, tag("li", button, class_="last")), aria_label="sections"),
    )


def _footer(record: Record, budget: Budget, redact: bool) -> Markup:
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    notes: list[str] = [f"Written by kinema {__version__} on {written} from {record.checkpoint or 'no checkpoint'}."]
    if redact:
        notes.append("Redacted: all video frames were left out.")
    if budget.refused:
        notes.append(f"{len(budget.refused)} picture(s) were left out to keep the page under {PAGE_BYTES // 10**6} MB.")
    return tag("footer", *_spaced(notes))


def _spaced(sentences: Sequence[str]) -> list[str]:
    return [f"{sentence} " for sentence in sentences]


def _script() -> Markup:
    return join(tag("script", Markup(_shipped("page.js"))))


def _script_hash() -> str:
    return base64.b64encode(hashlib.sha256(_shipped("page.js").encode()).digest()).decode()


def _shipped(name: str) -> str:
    """A file that is part of this package."""
    return resources.files("kinema.report").joinpath(name).read_text(encoding="utf-8")
