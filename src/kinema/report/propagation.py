"""Propagated masks and joints that a person can watch: over the frames, next to the truth."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import KinemaError
from kinema.evaluation.rows import Array, Results
from kinema.report.clips import Budget, Picture, encode_clip
from kinema.report.gallery import video_row
from kinema.report.markup import Markup, join, tag
from kinema.report.record import Evaluation, Record
from kinema.report.sections import missing, section

_TITLE = "Propagated labels"
_RATE = 8.0  # frames per second of the clips
_GAP = 4  # pixels between the panels
_PANEL = 144  # pixels that a panel is wide where joints state no size
_WEIGHT = 0.55  # of a label's colour over the frame
_MOST = 3  # panels beside the truth
_TURN = 0.381966  # of the colour circle, from label to label: neighbours stay far apart

Pictures = npt.NDArray[np.uint8]


def propagation_section(record: Record, budget: Budget, *, redact: bool) -> Markup | None:
    """The sequences that evaluations of label propagation kept; None where there was none."""
    parts = [_sequences(evaluation, budget, redact=redact) for evaluation in record.evaluations]
    shown = [part for part in parts if part is not None]
    return section("propagation", _TITLE, *shown) if shown else None


def _sequences(evaluation: Evaluation, budget: Budget, *, redact: bool) -> Markup | None:
    kept = evaluation.results.predictions
    names = [name.removeprefix("shown/").removesuffix("/frames") for name in kept if _is_sequence(name)]
    if not names:
        return None
    text = (
        f"Sequences of “{evaluation.name}”, evenly spaced over all, not chosen by how well they do. The labels of the "
        "first frame were given; all others were carried on by the likeness of features."
    )
    if redact:
        return join(tag("p", text), missing("This redacted report leaves the clips out."))
    figures = [_figure(evaluation.results, name, budget) for name in names]
    return join(tag("p", text), tag("div", *figures, class_="pictures"))


def _is_sequence(name: str) -> bool:
    return name.startswith("shown/") and name.endswith("/frames")


def _figure(results: Results, name: str, budget: Budget) -> Markup:
    labels = dict(_panels(results, name))
    order = ", ".join(f"{'left' if not number else 'then'} {title}" for number, title in enumerate(labels))
    caption = tag("figcaption", tag("b", name), f" {order}.")
    try:
        picture = sequence_clip(results, name)
    except KinemaError as error:
        return tag("figure", missing(f"{name} cannot be shown: {error}"), caption)
    if not budget.take(picture, name):
        return tag("figure", missing(f"{name} was left out to keep this page small."), caption)
    return tag("figure", picture.markup(f"labels of {name}: {order}"), caption, class_="wide")


def _panels(results: Results, name: str) -> Iterator[tuple[str, Array]]:
    """The truth and the first arms, by title."""
    kept, place = results.predictions, f"shown/{name}/"
    yield "the truth", kept[f"{place}truth"]
    arms = [key for key in kept if key.startswith(f"{place}arm ")]
    yield from ((key.removeprefix(f"{place}arm "), kept[key]) for key in arms[:_MOST])


def sequence_clip(results: Results, name: str) -> Picture:
    """One moving picture of a kept sequence: frames with the labels of each panel over them, side by side.

    Raises:
        KinemaError: the video is not there any more, or cannot be read.
    """
    from kinema.data.packed import read_row

    root = Path(str(results.info.get("root", ".")))
    manifest = Manifest.from_rows([video_row(root, name)], root)
    panels = [labels for _, labels in _panels(results, name)]
    frames, video = results.predictions[f"shown/{name}/frames"].astype(np.int64), manifest.video(0)
    height, width = panels[0].shape[1:] if panels[0].dtype == np.uint8 else (0, _PANEL)
    height = height or round(_PANEL * video.height / video.width)
    pictures = read_row(manifest, 0, frames, (height, width), thumbnail=True)
    paint = _painted if panels[0].dtype == np.uint8 else _dotted
    gap = np.full((len(frames), height, _GAP, 3), 255, np.uint8)
    pieces = [piece for labels in panels for piece in (gap, paint(pictures, labels))][1:]
    return encode_clip(np.concatenate(pieces, 2), rate=_RATE)


def _painted(frames: Pictures, ids: Array) -> Pictures:
    """Frames [T, H, W, 3] under the colours of ids [T, H, W]; 0 stays as it is."""
    colours = np.array([_colour(number) for number in range(256)], np.float32)
    numbers = ids.astype(np.int64)
    weight = np.where(numbers > 0, _WEIGHT, 0.0)[..., None]
    return np.asarray(frames * (1 - weight) + colours[numbers] * weight, np.uint8)


def _dotted(frames: Pictures, joints: Array) -> Pictures:
    """Frames with a dot at each joint [T, J, 2], given as shares of width and height; negative ones are left out."""
    painted = frames.copy()
    height, width = frames.shape[1:3]
    for picture, places in zip(painted, joints.astype(np.float64), strict=True):
        for number, (x, y) in enumerate(places):
            column, row = round(x * width), round(y * height)
            if min(x, y) >= 0:
                picture[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = _colour(number + 1)
    return painted


def _colour(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number * _TURN % 1.0, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
