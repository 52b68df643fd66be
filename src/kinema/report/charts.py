"""Line charts as inline SVG: axes with round ticks, a legend, the exact value of each point on hover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinema.report.markup import Markup, tag

WIDTH, HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 40
POINTS = 240
_HOVERS = 60
_REACH = 6


@dataclass(frozen=True)
class Series:
    """One named line: `x` and `y` of equal length; a y that is not finite breaks the line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Scale:
    """A linear map of [low, high] to [start, stop] in SVG units."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The position of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) inside [low, high].

    >>> nice_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    gap = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / raw)))
    first, last = math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9)
    return [round(position * gap, 12) for position in range(first, last + 1)]


def number(value: float) -> str:
    """A number for a tick or a table: four digits, thousands apart, a power of ten only where it must be."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def thin(x: Sequence[float], y: Sequence[float], most: int = POINTS) -> tuple[list[float], list[float]]:
    """At most `most` points: the mean of equally long runs of neighbours. Non-finite values are kept as nan."""
    if len(x) <= most:
        return list(x), [value if math.isfinite(value) else math.nan for value in y]
    groups = np.array_split(np.arange(len(x)), most)
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    return [float(xs[group].mean()) for group in groups], [_finite_mean(ys[group]) for group in groups]


def smooth(values: Sequence[float], reach: int) -> list[float]:
    """Centred means over `reach` neighbours to each side, fewer at the ends; what is not finite is left out."""
    found = []
    for middle, value in enumerate(values):
        side = min(reach, middle, len(values) - 1 - middle)
        window = values[middle - side : middle + side + 1]
        finite = [near for near in window if math.isfinite(near)]
        found.append(sum(finite) / len(finite) if math.isfinite(value) else math.nan)
    return found


def _finite_mean(values: npt.NDArray[np.float64]) -> float:
    """Nan as soon as one value is not finite: an average must not hide a divergence."""
    return float(values.mean()) if np.isfinite(values).all() else math.nan


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    unit: str = "",
    limits: tuple[float, float] | None = None,
    noisy: bool = True,
) -> Markup:
    """A figure with one or more lines.

    Args:
        series: the lines; drawn in order, each with its own colour and dash.
        title: what is shown; also the accessible name.
        x_label: under the horizontal axis.
        unit: appended to values on hover and to the title.
        limits: the vertical range; by default that of the data, with zero where it is near.
        noisy: whether a line of many points is drawn pale, below its smoothed self; False for an exact schedule.
    """
    lines = [Series(line.name, *thin(line.x, line.y)) for line in series]
    scales = _scales(lines, limits)
    body = [_axes(*scales, x_label)]
    body += [_line(line, scales, style=style, unit=unit, noisy=noisy) for style, line in enumerate(lines)]
    name = f"{title} ({unit})" if unit else title
    svg = tag(
        "svg",
        tag("title", f"{name}. {_summary(series)}"),
        *body,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )
    return tag("figure", tag("figcaption", tag("b", name), _legend(lines)), svg, class_="panel")


def _summary(series: Sequence[Series]) -> str:
    """First and last value of each line, for those who cannot see it."""
    ends = [(line.name, line.y[0], line.y[-1]) for line in series if len(line.y)]
    return "; ".join(f"{name}: from {number(first)} to {number(last)}" for name, first, last in ends)


def _scales(lines: Sequence[Series], limits: tuple[float, float] | None) -> tuple[Scale, Scale]:
    xs = [value for line in lines for value in line.x]
    ys = [value for line in lines for value in line.y if math.isfinite(value)]
    low, high = limits or _range(ys)
    left, right = (min(xs), max(xs)) if xs else (0.0, 1.0)
    right = right if right > left else left + 1.0
    return Scale(left, right, _LEFT, WIDTH - _RIGHT), Scale(low, high, HEIGHT - _BOTTOM, _TOP)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The vertical range: from zero when the values come near it, with a little air on top."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if 0 <= low < 0.5 * high:
        low = 0.0
    air = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (low if low == 0 else low - air), high + air


def _axes(x_scale: Scale, y_scale: Scale, x_label: str) -> Markup:
    pieces: list[Markup] = []
    for value in nice_ticks(y_scale.low, y_scale.high, 4):
        y = y_scale(value)
        pieces.append(tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        pieces.append(tag("text", number(value), x=_LEFT - 7, y=y + 4, text_anchor="end"))
    base = HEIGHT - _BOTTOM
    for value in nice_ticks(x_scale.low, x_scale.high, 4):
        x = x_scale(value)
        pieces.append(tag("line", x1=x, x2=x, y1=base, y2=base + 4, class_="axis"))
        pieces.append(tag("text", number(value), x=x, y=base + 17, text_anchor="middle"))
    pieces.append(tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=base, y2=base, class_="axis"))
    pieces.append(tag("text", x_label, x=(_LEFT + WIDTH - _RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"))
    return tag("g", *pieces, aria_hidden="true")


def _line(line: Series, scales: tuple[Scale, Scale], *, style: int, unit: str, noisy: bool) -> Markup:
    x_scale, y_scale = scales
    points = [(x_scale(x), y_scale(y), x, y) for x, y in zip(line.x, line.y, strict=True)]
    strokes = [tag("path", d=_stroke(points))]
    if noisy and len(points) >= POINTS:
        even = [(px, y_scale(y), x, y) for (px, _, x, _), y in zip(points, smooth(line.y, _REACH), strict=True)]
        strokes = [tag("path", d=_stroke(points), class_="raw"), tag("path", d=_stroke(even))]
    shown = [point for point in points if math.isfinite(point[3])]
    every = max(1, math.ceil(len(shown) / _HOVERS))
    dots = [
        tag("circle", tag("title", f"{line.name} {number(y)}{unit and ' ' + unit} at {number(x)}"), cx=px, cy=py, r=5)
        for px, py, x, y in shown[::every]
    ]
    marks = [tag("circle", cx=px, cy=py, r=2.2, class_="mark") for px, py, _, _ in shown] if len(shown) <= 12 else []
    return tag("g", *strokes, *marks, tag("g", *dots, class_="hover"), class_=f"line s{style % 6}")


def _stroke(points: Sequence[tuple[float, float, float, float]]) -> str:
    """Path commands; after a gap the pen is lifted."""
    commands: list[str] = []
    pen_down = False
    for px, py, _, y in points:
        if math.isfinite(y):
            commands.append(f"{'L' if pen_down else 'M'}{px:.1f} {py:.1f}")
        pen_down = math.isfinite(y)
    return "".join(commands)


def _legend(lines: Sequence[Series]) -> Markup | None:
    """Samples of the strokes with their names; nothing for a single line, which the title names."""
    if len(lines) < 2:
        return None
    keys = [
        tag("span", tag("svg", tag("path", d="M0 5H22"), viewBox="0 0 22 10", class_=f"key line s{i % 6}"), line.name)
        for i, line in enumerate(lines)
    ]
    return tag("span", *keys, class_="legend")
