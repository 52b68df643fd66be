"""One self-contained HTML page that compares several runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kinema import __version__
from kinema.evaluation.across import Across, Standing
from kinema.evaluation.across_tables import (
    DIFFERENCE_HEAD,
    STANDING_HEAD,
    across_note,
    difference_lines,
    standing_lines,
)
from kinema.evaluation.pixels import REFERENCE_ARMS
from kinema.report.dots import Dots, dot_chart
from kinema.report.markup import Markup, table, tag
from kinema.report.page import document
from kinema.report.results import comparison_table
from kinema.report.sections import section
from kinema.training.files import write_atomic


def write_comparison(across: Across, out: str | Path, folders: Sequence[Path] = ()) -> Path:
    """Write the page; it needs no network and no file beside it.

    Args:
        across: what `compare_across` found.
        out: the HTML file.
        folders: where the evaluations lie, to be named.
    """
    path = Path(out)
    write_atomic(path, render_comparison(across, folders))
    return path


def render_comparison(across: Across, folders: Sequence[Path] = ()) -> str:
    """The whole page as text."""
    methods = list(dict.fromkeys(one.arm for one in across.standings if one.arm not in REFERENCE_ARMS))
    title = " against ".join(methods)
    header = tag(
        "header",
        tag("p", "kinema comparison", class_="over"),
        tag("h1", title),
        tag("p", across_note(across), class_="lead"),
    )
    return document(
        title, header, tag("main", _charts(across), _differences(across), _numbers(across)), _footer(folders)
    )


def _charts(across: Across) -> Markup:
    protocols = dict.fromkeys(one.protocol for one in across.standings)
    charts = [_chart([one for one in across.standings if one.protocol == name], across) for name in protocols]
    note = "Dots: means with their 95 % intervals; small: single seeds; dashed: always naming the largest class."
    return section("standings", "Standings", tag("div", *charts, class_="grid2"), tag("p", note, class_="note"))


def _chart(standings: Sequence[Standing], across: Across) -> Markup:
    rows = [
        Dots(one.arm, one.value, one.low, one.high, _seeds(one), is_reference=one.arm in REFERENCE_ARMS)
        for one in standings
    ]
    first = standings[0]
    guess = across.facts["largest class"]
    marks = [("always naming the largest class", guess)] if guess is not None and first.metric == "top1" else []
    return dot_chart(rows, title=first.protocol, x_label=f"{first.metric}, % of test videos", marks=marks)


def _seeds(standing: Standing) -> dict[str, float]:
    found = {f"seed {seed}": value for seed, value in standing.by_seed.items()}
    return found if len(found) > 1 else {}


def _differences(across: Across) -> Markup:
    adjusted = [(line[0], *line[1:3], *line[5:7], line[8]) for line in difference_lines(across)]
    head = (*DIFFERENCE_HEAD[:3], *DIFFERENCE_HEAD[5:7], DIFFERENCE_HEAD[8])
    caption = "p after Holm's correction for the number of comparisons"
    return section(
        "differences", "Differences", comparison_table(across.comparisons), table(head, adjusted, caption=caption)
    )


def _numbers(across: Across) -> Markup:
    return section("numbers", "Numbers", table(STANDING_HEAD, standing_lines(across), caption="Every value by seed"))


def _footer(folders: Sequence[Path]) -> Markup:
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    named = f" From {', '.join(map(str, folders))}." if folders else ""
    return tag("footer", f"Written by kinema {__version__} on {written}.{named}")
