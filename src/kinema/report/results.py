"""Result tables: arms by protocols, paired differences with their intervals, protocol cards, confusion matrices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kinema.evaluation.rows import Comparison, ResultRow, Results
from kinema.evaluation.tables import PROPAGATION_HEADLINES
from kinema.metrics.statistics import paired_bootstrap
from kinema.report.charts import Scale
from kinema.report.judgement import Finding, findings, signed
from kinema.report.markup import Content, Markup, join, table, tag
from kinema.report.matrix import confusion_figure
from kinema.report.record import Evaluation, Record, as_number
from kinema.report.sections import evaluate_command, missing, section

_EXPOSURE = {
    "transductive": ("T", "transductive: pre-training saw the test videos, without their labels"),
    "inductive": ("I", "inductive: pre-training never saw the test videos"),
    "unknown": ("?", "whether pre-training saw the test videos is not known"),
}
_DRAWS = 2000
_INTERVAL_WIDTH = 176

_HEADLINES = ("top1", "R@1", "R@5", *PROPAGATION_HEADLINES)


class Key(NamedTuple):
    """What a column of the tables holds."""

    protocol: str
    metric: str
    level: str
    split: str


def judgement_boxes(record: Record) -> Markup:
    """The sentence that the page is read for, one box per evaluation."""
    if not record.evaluations:
        text = missing(
            "Not evaluated yet, so nothing is known about what the features are worth.", evaluate_command(record)
        )
        return tag("div", tag("h2", "Not evaluated yet"), text, class_="judgement none")
    return join(*(_judgement_box(evaluation) for evaluation in record.evaluations))


def _judgement_box(evaluation: Evaluation) -> Markup:
    found = findings(evaluation.results)
    if not found:
        headline, level = "Evaluated, but compared with nothing: nothing can be claimed", "none"
    else:
        headline, level = _overall(found)
    items = [tag("li", finding.sentence) for finding in found if finding.sentence]
    return tag(
        "div",
        tag("p", f"evaluation “{evaluation.name}”", class_="over"),
        tag("h2", headline, "."),
        tag("ul", *items) if items else None,
        class_=f"judgement {level}",
    )


def _overall(found: Sequence[Finding]) -> tuple[str, str]:
    """The finding that all share; where protocols disagree the first speaks for itself only, and that is said."""
    first = found[0]
    agreeing = sum(finding.headline == first.headline for finding in found)
    if agreeing == len(found):
        return first.headline, first.level
    others = f" (by {first.protocol}, {first.metric}; {agreeing} of {len(found)} measures say so)"
    return first.headline + others, first.level if first.level != "good" else "warning"


def results_section(record: Record) -> Markup:
    """Everything that was evaluated."""
    if not record.evaluations:
        return section("results", "Results", missing("Not evaluated yet.", evaluate_command(record)))
    return section("results", "Results", *(_one_evaluation(evaluation) for evaluation in record.evaluations))


def _one_evaluation(evaluation: Evaluation) -> Markup:
    results = evaluation.results
    return join(
        tag("h3", f"Evaluation “{evaluation.name}”"),
        _tables(results.rows),
        comparison_table(results.comparisons),
        _cards(results),
        confusion_figure(results),
    )


def _tables(rows: Sequence[ResultRow]) -> Markup:
    """The headline numbers of whole videos; every other number folded away."""
    whole = [row for row in rows if row.level == "video" and row.metric in _HEADLINES]
    headline = whole or [row for row in rows if row.metric in _HEADLINES] or list(rows)
    others = [row for row in rows if row not in headline]
    legend = [f"{short} {words}. " for name, (short, words) in _EXPOSURE.items() if name in {r.exposure for r in rows}]
    note = tag("p", *legend, "Small: 95 % interval by bootstrap over groups of test videos.", class_="note")
    clips = [row for row in others if row.level == "clip"]
    caption = f"Percent of {headline[0].level}s right" if headline else "Percent right"
    if not others:
        return join(_value_table(headline, clips, caption), note)
    by_kind = dict.fromkeys((row.protocol, row.level) for row in others)
    folded = [
        _value_table([row for row in others if (row.protocol, row.level) == kind], (), f"{kind[0]}, by {kind[1]}")
        for kind in by_kind
    ]
    details = tag("details", tag("summary", f"All other measures ({len(others)} numbers)"), *folded)
    return join(_value_table(headline, clips, caption), note, details)


def _value_table(rows: Sequence[ResultRow], clips: Sequence[ResultRow], caption: str) -> Markup:
    """Arms by measures; below each value its interval over groups, its range over seeds and that of single `clips`."""
    keys = list(dict.fromkeys(_key(row) for row in rows))
    arms = list(dict.fromkeys(row.arm for row in rows))
    head = ["arm", *(_column_head(key) for key in keys)]
    lines = [
        tag("tr", tag("th", arm, scope="row"), *(_cell(rows, clips, arm, key) for key in keys), class_=_own(arm))
        for arm in arms
    ]
    body = tag("table", tag("caption", caption), _head(head), tag("tbody", *lines))
    return tag("div", body, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _own(arm: str) -> str | None:
    return "own" if arm == "trained" else None


def _key(row: ResultRow) -> Key:
    return Key(row.protocol, row.metric, row.level, row.split)


def _column_head(key: Key) -> Markup:
    return join(f"{key.protocol} {key.metric}", tag("br"), tag("small", key.split))


def _head(cells: Iterable[Content]) -> Markup:
    return tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in cells)))


def _cell(rows: Sequence[ResultRow], clips: Sequence[ResultRow], arm: str, key: Key) -> Markup:
    """The value of an arm; beside that of whole videos, small, that of single clips: the two are easily confused."""
    alone = [row.value for row in clips if row.arm == arm and _key(row) == key._replace(level="clip")]
    beside = f"clips {sum(alone) / len(alone):.1f}" if alone and key.level == "video" else ""
    return _value_cell([row for row in rows if row.arm == arm and _key(row) == key], beside)


def _value_cell(rows: Sequence[ResultRow], beside: str) -> Markup:
    if not rows:
        return tag("td", "–")
    values = [row.value for row in rows]
    mean = f"{sum(values) / len(values):.1f}"
    short, words = _EXPOSURE.get(rows[0].exposure, ("", ""))
    mark = tag("abbr", f"\N{NO-BREAK SPACE}{short}", title=words) if short else None
    seeds = f"{len(rows)} seeds: {min(values):.1f} to {max(values):.1f}" if len(rows) > 1 else ""
    return tag("td", mean, mark, *(tag("small", text) for text in (_interval(rows), seeds, beside) if text))


def _interval(rows: Sequence[ResultRow]) -> str:
    groups = list(rows[0].per_group)
    kept = rows[0].card.get("interval")
    if len(rows) == 1 and isinstance(kept, list) and len(kept) == 2:
        return f"{as_number(kept[0]):.1f} – {as_number(kept[1]):.1f}"
    if len(groups) < 2 or any(row.per_group.keys() != rows[0].per_group.keys() for row in rows):
        return ""
    found = paired_bootstrap([[row.per_group[group] for group in groups] for row in rows], draws=_DRAWS)
    return f"{found.low:.1f} – {found.high:.1f}"


def comparison_table(comparisons: Sequence[Comparison]) -> Markup:
    """Paired differences with their intervals drawn."""
    if not comparisons:
        return missing("Nothing was compared, so no difference can be called more than chance.")
    scale = _difference_scale(comparisons)
    lines = [
        (f"{c.arm} − {c.against}", _protocol(c), signed(c.difference), _whisker(c, scale), *_words(c))
        for c in comparisons
    ]
    head = ["arms", "protocol", "points", "95 % interval", "p", "groups", "verdict"]
    return table(head, lines, caption="Paired differences on the same test videos, in percentage points")


def _protocol(c: Comparison) -> str:
    against = f" against {c.against_protocol}" if c.against_protocol else ""
    return f"{c.protocol}, {c.metric}{against}"


def _words(c: Comparison) -> tuple[str, str, Markup]:
    p_value = "< 0.001" if c.p_value < 0.001 else f"{c.p_value:.3f}"
    level = {"useful": "good", "beats": "good", "loses": "bad"}.get(c.verdict, "none")
    return p_value, str(c.groups), tag("span", c.verdict, class_=f"badge {level}")


def _difference_scale(comparisons: Sequence[Comparison]) -> Scale:
    """One scale for all rows, zero included."""
    low, high = min(0.0, *(c.low for c in comparisons)), max(0.0, *(c.high for c in comparisons))
    return Scale(low, high if high > low else low + 1.0, 5, _INTERVAL_WIDTH - 5)


def _whisker(c: Comparison, scale: Scale) -> Markup:
    text = f"{signed(c.low)} to {signed(c.high)}"
    drawing = tag(
        "svg",
        tag("line", x1=scale(0), x2=scale(0), y1=0, y2=20, class_="zero"),
        tag("line", x1=scale(c.low), x2=scale(c.high), y1=10, y2=10, class_="whisker"),
        tag("circle", cx=scale(c.difference), cy=10, r=3.6, class_="dot"),
        viewBox=f"0 0 {_INTERVAL_WIDTH} 20",
        class_="interval",
        aria_hidden="true",
    )
    return join(drawing, tag("small", text))


def _cards(results: Results) -> Markup:
    """How each number was made, folded away; settings that all rows share stand under their own head."""
    cards: dict[str, Mapping[str, object]] = {"shared by all rows": results.info} if results.info else {}
    for row in results.rows:
        cards.setdefault(f"{row.protocol} ({row.arm})", row.card)
    folded = [tag("details", tag("summary", name), _card(card)) for name, card in cards.items() if card]
    return tag("details", tag("summary", "How these numbers were made"), *folded)


def _card(card: Mapping[str, object]) -> Markup:
    pairs = [join(tag("dt", key), tag("dd", _plain(value))) for key, value in card.items()]
    return tag("dl", *pairs, class_="card")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
