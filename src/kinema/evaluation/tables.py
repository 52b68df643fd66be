"""Results as tables for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kinema.evaluation.arms import CALIBRATED
from kinema.evaluation.rows import Comparison, ResultRow, Results

if TYPE_CHECKING:
    from rich.console import Group

Lined = tuple[Sequence[str], Sequence[Sequence[str]]]
ROW_HEAD = ("arm", "protocol", "metric", "video %", "clip %", "by seed", "exposure")
COMPARISON_HEAD = ("arm", "against", "protocol", "points", "95 % interval", "p", "groups", "verdict")
PROPAGATION_HEADLINES = ("J&F", "J", "F", "mIoU", "PCK@0.1", "PCK@0.2")
_HEADLINES = ("top1", "R@1", "R@5", "AUC", *PROPAGATION_HEADLINES)


def result_lines(results: Results, *, every_metric: bool = False) -> list[tuple[str, ...]]:
    """One line per arm, protocol and metric (`ROW_HEAD`): mean over seeds, clip beside video accuracy."""
    keys = dict.fromkeys((row.arm, row.protocol, row.metric) for row in results.rows)
    lines: list[tuple[str, ...]] = []
    for arm, protocol, metric in keys:
        if every_metric or metric in _HEADLINES:
            rows = results.find(arm=arm, protocol=protocol, metric=metric)
            video, clip = ([row for row in rows if row.level == level] for level in ("video", "clip"))
            seeds = " ".join(f"{row.value:.2f}" for row in video or clip) if len(video or clip) > 1 else ""
            lines.append((arm, protocol, metric, _value(video), _mean(clip), seeds, rows[0].exposure))
    return lines


def comparison_lines(results: Results) -> list[tuple[str, ...]]:
    """One line per comparison (`COMPARISON_HEAD`)."""
    return [
        (
            found.arm,
            found.against,
            _protocols(found),
            f"{found.difference:+.2f}",
            f"{found.low:+.2f} to {found.high:+.2f}",
            f"{found.p_value:.4f}",
            str(found.groups),
            found.verdict,
        )
        for found in results.comparisons
    ]


def footnote(results: Results) -> str:
    """What the numbers are about: split, counts, what was left out or seen before, and what guessing would score."""
    row = results.rows[0]
    card = row.card
    if "task" in card:
        return "".join([_carried(row), *_left_out(results), *_seen_before(results)])
    guess = results.info["largest class"]
    kind = "pairs" if "pairs" in card else "videos"
    text = (
        f"{row.n_test} test {kind} in {card['groups']} groups, {card['classes']} classes, "
        f"{row.n_train} training {kind}; {card['split']}. Always naming the largest class scores {guess:.2f} %. "
        "Intervals: 95 %, resampled over groups (and seeds)."
    )
    return "".join([text, *_left_out(results), *_shared(results), *_seen_before(results)])


def _carried(row: ResultRow) -> str:
    kind = "objects" if row.card["task"] == "objects" else "sequences"
    return (
        f"{row.n_test} {kind} in {row.card['groups']} groups; {row.card['split']}. "
        "Intervals: 95 %, resampled over groups (and seeds)."
    )


def _left_out(results: Results) -> Iterator[str]:
    skipped, aside = (results.info.get(name, 0) for name in ("skipped", "set aside by the scan"))
    if skipped:
        yield f" {skipped} videos could not be read and were left out."
    if aside:
        yield f" {aside} files were set aside by the scan, because they could not be read, and count nowhere."


def _shared(results: Results) -> Iterator[str]:
    same, near = (results.info.get(f"{kind} in training", 0) for kind in ("identical", "near-identical"))
    if same or near:
        yield f" Test videos that lie in the training part, too: {same} identical, {near} near-identical."


def _seen_before(results: Results) -> Iterator[str]:
    """For every pre-trained arm that had seen tested videos, how many; calibration is no pre-training."""
    seen = dict.fromkeys(row.arm for row in results.rows if row.exposure == "transductive")
    for arm in (name for name in seen if name != CALIBRATED):
        card = results.find(arm=arm)[0].card
        same, near = card.get("overlap", 0), card.get("near-identical", 0)
        yield f" Pre-training of '{arm}' saw tested videos: {same} identical, {near} near-identical."


def as_markdown(results: Results, *, every_metric: bool = False) -> str:
    """Both tables and the footnote in Markdown."""
    return markdown_page(_tables(results, every_metric=every_metric), footnote(results))


def as_rich(results: Results, *, every_metric: bool = False) -> Group:
    """Both tables and the footnote for `rich.print`."""
    return rich_page(_tables(results, every_metric=every_metric), footnote(results))


def markdown_page(tables: Sequence[Lined], note: str) -> str:
    """Tables (head, lines) that have lines, and a note below them, in Markdown."""
    return "\n\n".join([*(_markdown(head, lines) for head, lines in tables if lines), note]) + "\n"


def rich_page(tables: Sequence[Lined], note: str) -> Group:
    """The same for `rich.print`."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = []
    for head, body in tables:
        if body:
            table = Table(*head)
            for line in body:
                table.add_row(*map(Text, line))
            parts.append(table)
    return Group(*parts, Text(note))


def _tables(results: Results, *, every_metric: bool) -> list[Lined]:
    return [(ROW_HEAD, result_lines(results, every_metric=every_metric)), (COMPARISON_HEAD, comparison_lines(results))]


def _value(rows: Sequence[ResultRow]) -> str:
    if len(rows) != 1 or "interval" not in rows[0].card:
        return _mean(rows)
    low, high = rows[0].card["interval"]
    return f"{rows[0].value:.2f} ({low:.1f} to {high:.1f})"


def _mean(rows: Sequence[ResultRow]) -> str:
    return f"{np.mean([row.value for row in rows]):.2f}" if rows else "–"


def _protocols(found: Comparison) -> str:
    return f"{found.protocol} / {found.against_protocol}" if found.against_protocol else found.protocol


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    body = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)]
    return "\n".join(body)
