"""Dot charts as inline SVG: one row per name with its mean, its interval and every single value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kinema.report.charts import Scale, nice_ticks, number
from kinema.report.markup import Markup, tag

WIDTH = 560
_ROW, _TOP, _BOTTOM, _RIGHT = 26, 8, 40, 16
_LETTER = 6.6  # width of a letter of the chart's type
_LETTERS = 38


@dataclass(frozen=True)
class Dots:
    """One row: `value` with its interval, and the single values it is the mean of, by name."""

    name: str
    value: float
    low: float
    high: float
    singles: dict[str, float] = field(default_factory=dict)
    is_reference: bool = False


def dot_chart(
    rows: Sequence[Dots], *, title: str, x_label: str, unit: str = "%", marks: Sequence[tuple[str, float]] = ()
) -> Markup:
    """A figure with one row per entry.

    Args:
        rows: from top to bottom.
        title: what is shown; also the accessible name.
        x_label: under the axis.
        unit: appended to values on hover.
        marks: vertical lines with their names, for example what guessing scores.
    """
    left = 12 + _LETTER * max(len(_short(row.name)) for row in rows)
    values = [value for row in rows for value in (row.low, row.high, *row.singles.values())]
    values += [place for _, place in marks]
    low, high = min(values), max(values)
    air = 0.04 * (high - low) or 1.0
    scale = Scale(low - air, high + air, left, WIDTH - _RIGHT)
    base = _TOP + _ROW * len(rows)
    told = "; ".join(f"{row.name}: {number(row.value)} {unit}" for row in rows)
    drawn = [_row(row, scale, _TOP + _ROW * (place + 0.5), unit) for place, row in enumerate(rows)]
    svg = tag(
        "svg",
        tag("title", f"{title}. {told}"),
        _axis(scale, base, x_label),
        *(_mark(name, scale(place), base) for name, place in marks),
        *drawn,
        viewBox=f"0 0 {WIDTH} {base + _BOTTOM}",
        role="img",
        class_="chart dots",
    )
    return tag("figure", tag("figcaption", tag("b", title)), svg, class_="panel")


def _row(row: Dots, scale: Scale, y: float, unit: str) -> Markup:
    interval = f"{row.name}: {number(row.value)} {unit} ({number(row.low)} to {number(row.high)})"
    singles = [
        tag("circle", tag("title", f"{row.name}, {name}: {number(value)} {unit}"), cx=scale(value), cy=y, r=3)
        for name, value in row.singles.items()
    ]
    return tag(
        "g",
        tag("text", tag("title", row.name), _short(row.name), x=scale.start - 8, y=y + 4, text_anchor="end"),
        tag("line", x1=scale(row.low), x2=scale(row.high), y1=y, y2=y, class_="whisker"),
        tag("g", *singles, class_="single"),
        tag("circle", tag("title", interval), cx=scale(row.value), cy=y, r=4.4, class_="dot"),
        class_="reference" if row.is_reference else "own",
    )


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _axis(scale: Scale, base: float, label: str) -> Markup:
    pieces = []
    for value in nice_ticks(scale.low, scale.high, 6):
        x = scale(value)
        pieces.append(tag("line", x1=x, x2=x, y1=_TOP, y2=base, class_="grid"))
        pieces.append(tag("text", number(value), x=x, y=base + 15, text_anchor="middle"))
    pieces.append(tag("text", label, x=(scale.start + scale.stop) / 2, y=base + 33, text_anchor="middle"))
    return tag("g", *pieces, aria_hidden="true")


def _mark(name: str, x: float, base: float) -> Markup:
    return tag("line", tag("title", name), x1=x, x2=x, y1=_TOP, y2=base, class_="zero")
