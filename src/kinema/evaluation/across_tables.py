"""Comparisons of several runs as tables for a terminal and for a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema.evaluation.across import Across
from kinema.evaluation.tables import Lined, markdown_page, rich_page

if TYPE_CHECKING:
    from rich.console import Group

STANDING_HEAD = ("method", "protocol", "metric", "video %", "95 % interval", "by seed", "exposure")
DIFFERENCE_HEAD = ("method", "against", "protocol", "points", "95 % interval", "p", "p (Holm)", "groups", "verdict")


def standing_lines(across: Across) -> list[tuple[str, ...]]:
    """One line per method and protocol (`STANDING_HEAD`)."""
    return [
        (
            found.arm,
            found.protocol,
            found.metric,
            f"{found.value:.2f}",
            f"{found.low:.1f} to {found.high:.1f}",
            " ".join(f"{seed}: {value:.2f}" for seed, value in found.by_seed.items()),
            found.exposure,
        )
        for found in across.standings
    ]


def difference_lines(across: Across) -> list[tuple[str, ...]]:
    """One line per comparison (`DIFFERENCE_HEAD`)."""
    return [
        (
            found.arm,
            found.against,
            found.protocol,
            f"{found.difference:+.2f}",
            f"{found.low:+.2f} to {found.high:+.2f}",
            f"{found.p_value:.4f}",
            f"{adjusted:.4f}",
            str(found.groups),
            found.verdict,
        )
        for found, adjusted in zip(across.comparisons, across.adjusted, strict=True)
    ]


def across_note(across: Across) -> str:
    """What the numbers are about, and what a reader must know before trusting a difference."""
    facts = across.facts
    guess = facts["largest class"]
    kind, classes = ("samples", "") if guess is None else ("videos", f", {facts['classes']} classes")
    named = "" if guess is None else f" Always naming the largest class scores {guess:.2f} %."
    text = (
        f"{facts['test videos']} test {kind} in {facts['groups']} groups{classes}; {facts['split']}.{named} "
        "Intervals: 95 %, resampled over groups and seeds."
    )
    tests = len(across.comparisons)
    chance = [f"Of {tests} comparisons some would fall out by chance: p (Holm) allows for that."] if tests > 1 else []
    return " ".join([text, *chance, *across.notes])


def across_as_markdown(across: Across) -> str:
    """Standings, comparisons and the note in Markdown."""
    return markdown_page(_tables(across), across_note(across))


def across_as_rich(across: Across) -> Group:
    """The same for `rich.print`."""
    return rich_page(_tables(across), across_note(across))


def _tables(across: Across) -> list[Lined]:
    return [(STANDING_HEAD, standing_lines(across)), (DIFFERENCE_HEAD, difference_lines(across))]
