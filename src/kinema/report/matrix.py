"""Confusion matrices as inline SVG, each row divided by its sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kinema.evaluation.rows import Results
from kinema.metrics.classification import confusion_matrix
from kinema.report.markup import Markup, tag

_CELL, _LETTER = 44, 6.6
MOST_CLASSES = 40
"""With more classes only the most confused pairs are listed."""


def confusion_figure(results: Results, *, arm: str = "trained") -> Markup | None:
    """The confusion of the arm's first classifier, or a sentence why there is none."""
    found = classifier(results, arm)
    if found is None:
        text = "No confusion matrix: the evaluation holds no scores of a classifier."
        return tag("p", text, class_="missing")
    name, scores = found
    classes = [str(label) for label in results.predictions["classes"]]
    labels = results.predictions["labels"].astype(np.int64)
    counts = confusion_matrix(scores.argmax(1), labels, classes=len(classes))
    text = f"of {name}: each row is one true class, its cells say what these videos were taken for, in percent."
    caption = tag("figcaption", tag("b", "Confusion matrix"), f" {text}")
    drawing = matrix(counts, classes) if len(classes) <= MOST_CLASSES else _pairs(counts, classes)
    return tag("figure", caption, tag("div", drawing, class_="scroll", tabindex="0"), class_="confusion")


def classifier(results: Results, arm: str) -> tuple[str, npt.NDArray[np.float32]] | None:
    """Name and scores [N, C] of the first stored classifier of an arm."""
    needed = {"labels", "classes"} <= results.predictions.keys()
    for name, array in results.predictions.items():
        if needed and name.startswith(f"{arm}/") and array.ndim == 2 and array.dtype.kind == "f":
            return name.split("/")[1], array.astype(np.float32)
    return None


def matrix(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> Markup:
    """Counts [C, C] (row = true class) as shaded cells with percentages; exact counts on hover."""
    left = max(60.0, _LETTER * max(map(len, classes)) + 14)
    top = left * 0.72 + 12
    size = len(classes) * _CELL
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    cells = [
        _cell(int(counts[r, c]), shares[r, c], (classes[r], classes[c]), (left + c * _CELL, top + r * _CELL))
        for r in range(len(classes))
        for c in range(len(classes))
    ]
    rows = [
        tag("text", name, x=left - 8, y=top + (k + 0.5) * _CELL + 4, text_anchor="end")
        for k, name in enumerate(classes)
    ]
    columns = [_slanted(name, left + (k + 0.5) * _CELL, top - 8) for k, name in enumerate(classes)]
    box = tag("rect", x=left, y=top, width=size, height=size, class_="box")
    # Slanted names of the last columns reach beyond the cells.
    width = left + size + left * 0.72
    return tag(
        "svg",
        tag("title", f"Confusion of {len(classes)} classes; the diagonal is right"),
        *rows,
        *columns,
        *cells,
        box,
        viewBox=f"0 0 {width:.0f} {top + size + 4:.0f}",
        role="img",
        class_="chart matrix",
        style=f"min-width: {0.62 * width:.0f}px; max-width: {1.1 * width:.0f}px",
    )


def _slanted(name: str, x: float, y: float) -> Markup:
    return tag("text", name, transform=f"translate({x:.1f} {y:.1f}) rotate(-45)")


def _cell(count: int, share: float, names: tuple[str, str], corner: tuple[float, float]) -> Markup:
    x, y = corner
    title = tag("title", f"{names[0]} taken for {names[1]}: {count} ({share:.0%})")
    square = tag("rect", x=x, y=y, width=_CELL, height=_CELL, class_="cell", fill_opacity=round(float(share), 3))
    text = None
    if count:
        style = "onto" if share > 0.5 else None
        middle = _CELL / 2
        text = tag("text", f"{100 * share:.0f}", x=x + middle, y=y + middle + 4, text_anchor="middle", class_=style)
    return tag("g", title, square, text)


def _pairs(counts: npt.NDArray[np.int64], classes: Sequence[str], most: int = 20) -> Markup:
    """The most frequent mistakes as a list."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(position), len(classes)) for position in order if wrong.flat[position]]
    items = [tag("li", f"{classes[r]} taken for {classes[c]}: {wrong[r, c]} of {counts[r].sum()}") for r, c in pairs]
    return tag("ol", *items)
