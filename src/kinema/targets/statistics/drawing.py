"""Pictures that explain the statistics labels of a clip to a person."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from kinema.targets.statistics.colours import COLOURS
from kinema.targets.statistics.motion import motion_statistics, summed_boundaries
from kinema.targets.statistics.patterns import PATTERNS, partition

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]

_SIDE = 224  # of a panel
_GAP, _TITLE, _LINE = 14, 26, 19
_PAPER, _INK, _FAINT = (255, 255, 255), (32, 33, 36), (200, 203, 208)
_U, _V = (230, 126, 0), (30, 144, 235)  # orange and blue stay apart for colour-blind eyes too
_MOST, _LEAST = (214, 39, 140), (0, 170, 110)
_OCTANT_RGB: tuple[Colour, ...] = (
    (0, 0, 255), (0, 255, 255), (255, 0, 255), (255, 255, 255), (0, 0, 0), (0, 255, 0), (255, 0, 0), (255, 255, 0),
)  # fmt: skip
_PATTERN_TITLES = ("1: grid", "2: rings", "3: triangles")
_COMPASS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")


class Note(NamedTuple):
    """A line under a panel, behind a square of `colour` where given."""

    text: str
    colour: Colour | None = None


class Panel(NamedTuple):
    """One picture of the page: `frames` is uint8 [T or 1, 224, 224, 3]."""

    title: str
    frames: Pixels
    notes: tuple[Note, ...]


def draw_labels(clip: Tensor, flow: Tensor, motion: Tensor, appearance: Tensor) -> Pixels:
    """An explained clip as an animation: what moves, when and where, and what changes its colours.

    First row: the clip, the summed motion boundaries M_u and M_v (hue: direction, brightness: strength), and the
    boundary energy of every frame with the largest one marked. Second row: the three patterns with the regions of
    largest motion and an arrow for their direction. Third row: the regions whose colours change most and least.

    Args:
        clip: uint8 RGB [3, T, S, S].
        flow: float [2, F, S, S] in pixels per frame.
        motion: integers [14], as of `motion_labels`; 0 for no label.
        appearance: integers [13], as of `appearance_labels`.

    Returns:
        uint8 RGB [T, height, width, 3].
    """
    frames = _enlarge(clip.permute(1, 2, 3, 0).cpu().numpy())
    rows = [_boundary_row(frames, flow, motion.tolist())]
    rows.append(_motion_row(frames, clip.shape[-1], motion.tolist()))
    rows.append(_appearance_row(frames, clip.shape[-1], appearance.tolist()))
    return _page(rows, len(frames))


def _boundary_row(frames: Pixels, flow: Tensor, labels: list[int]) -> list[Panel]:
    x, y = (part[0].cpu().numpy() for part in summed_boundaries(flow[None]))
    energy = motion_statistics(flow[None], rgb_frames=min(len(frames), flow.shape[1] + 1)).energy[0].cpu().numpy()
    strongest = float(np.hypot(x, y).max())
    panels = [Panel("Clip", frames, (Note("as the network sees it"),))]
    peaks = []
    for w, (name, way, colour) in enumerate((("u", "horizontal", _U), ("v", "vertical", _V))):
        picture = _enlarge(_direction_colours(x[w], y[w], strongest)[None])
        notes = (Note(f"edges of {way} motion", colour), Note("summed over the clip"))
        panels.append(Panel(f"Motion boundaries M_{name}", picture, notes))
        moment = labels[12 + w]
        peaks.append(Note(f"{way} motion peaks at {moment} (I_{name})" if moment else f"no {way} motion", colour))
    return [*panels, Panel("Motion over time", _timeline(energy, labels[12:], len(frames)), tuple(peaks))]


def _motion_row(frames: Pixels, size: int, labels: list[int]) -> list[Panel]:
    grey = np.repeat(frames.mean(3, keepdims=True) * 0.55 + 40, 3, 3).astype(np.uint8)
    panels = []
    for pattern in PATTERNS:
        masks = _masks(pattern, size)
        place_u, way_u, place_v, way_v = labels[4 * pattern - 4 : 4 * pattern]
        pictures = _draw_lines(grey, masks)
        for place, way, colour, inset in ((place_u, way_u, _U, 0), (place_v, way_v, _V, 4)):
            if place:
                both = place_u == place_v
                _outline(pictures, masks[place - 1], colour, inset * both)
                _arrow(pictures, _anchor(masks[place - 1], second=inset > 0, both=both), way, colour)
        notes = (_motion_note("u", place_u, way_u, _U), _motion_note("v", place_v, way_v, _V))
        panels.append(Panel(f"Motion, pattern {_PATTERN_TITLES[pattern - 1]}", pictures, notes))
    notes = (Note("horizontal motion is largest", _U), Note("vertical motion is largest", _V))
    return [*panels, Panel("Direction: hue, arrow, label", _wheel(), notes)]


def _appearance_row(frames: Pixels, size: int, labels: list[int]) -> list[Panel]:
    panels = []
    for pattern in PATTERNS:
        masks = _masks(pattern, size)
        most, most_colour, least, least_colour = labels[4 * pattern - 4 : 4 * pattern]
        pictures = _draw_lines(frames, masks)
        for place, octant, colour, inset in ((most, most_colour, _MOST, 0), (least, least_colour, _LEAST, 4)):
            both = most == least
            _outline(pictures, masks[place - 1], colour, inset * both)
            _swatch(pictures, _anchor(masks[place - 1], second=inset > 0, both=both), octant)
        notes = (
            Note(f"most change: {most}, {COLOURS[most_colour - 1]} ({most_colour})", _MOST),
            Note(f"least change: {least}, {COLOURS[least_colour - 1]} ({least_colour})", _LEAST),
        )
        panels.append(Panel(f"Colour, pattern {_PATTERN_TITLES[pattern - 1]}", pictures, notes))
    whole = labels[12]
    solid = np.full((1, _SIDE, _SIDE, 3), _OCTANT_RGB[whole - 1], np.uint8)
    solid[:, [0, -1]] = solid[:, :, [0, -1]] = _FAINT
    notes = (Note(f"{COLOURS[whole - 1]} (C = {whole})"), Note("dots: main colours of regions"))
    return [*panels, Panel("Colour of the whole clip", solid, notes)]


def _motion_note(name: str, place: int, way: int, colour: Colour) -> Note:
    if not place:
        return Note(f"{name}: no motion", colour)
    return Note(f"{name}: region {place}, points {_COMPASS[way - 1]} ({way})", colour)


def _direction_colours(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], strongest: float) -> Pixels:
    """Hue by angle (red to the right, then clockwise), brightness by the root of the magnitude: uint8 [S, S, 3]."""
    degrees = np.degrees(np.arctan2(y, x)) % 360
    strength = np.sqrt(np.hypot(x, y) / (strongest or 1.0))
    hsv = np.stack((degrees, np.ones_like(degrees), strength), 2).astype(np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255, np.uint8)


def _wheel() -> Pixels:
    """The eight directions with their label numbers on a wheel of the hues used for M_u and M_v."""
    along = np.linspace(-1, 1, _SIDE, dtype=np.float32)
    x, y = np.broadcast_arrays(along, along[:, None])
    wheel = _direction_colours(x, y, 1.0)
    radius = np.hypot(x, y)
    wheel[(radius > 0.95) | (radius < 0.45)] = _PAPER
    picture = Image.fromarray(wheel)
    pen = ImageDraw.Draw(picture)
    middle = _SIDE / 2
    for number in range(1, 9):
        angle = np.radians(45 * (number - 1))
        at = (middle + 0.7 * middle * np.cos(angle), middle + 0.7 * middle * np.sin(angle))
        pen.text(at, str(number), _INK, _font(22), anchor="mm", stroke_width=3, stroke_fill=_PAPER)
    pen.multiline_text((middle, middle), "points\nthis way", _INK, _font(15), anchor="mm", align="center")
    return np.asarray(picture)[None]


def _timeline(energy: npt.NDArray[np.float32], moments: list[int], frames: int) -> Pixels:
    """Bars of the energy of u (above) and v (below) per field, and where the animation stands: [T, 224, 224, 3]."""
    picture = np.full((_SIDE, _SIDE, 3), _PAPER, np.uint8)
    fields, half = energy.shape[1], _SIDE // 2
    edges = np.linspace(0, _SIDE, fields + 1).round().astype(int)
    for w, colour in enumerate((_U, _V)):
        foot = half * (w + 1) - 4
        heights = energy[w] / (energy[w].max() or 1.0) * (half - 14)
        for i, height in enumerate(heights.round().astype(int)):
            paler = tuple((c + 2 * 255) // 3 for c in colour)
            picture[foot - height : foot, edges[i] + 1 : edges[i + 1] - 1] = colour if i + 1 == moments[w] else paler
        picture[foot : foot + 1] = _FAINT
    animated = np.repeat(picture[None], frames, 0)
    for t in range(min(frames, fields)):
        middle = (edges[t] + edges[t + 1]) // 2
        animated[t, :, middle : middle + 2] = _INK
    return animated


def _masks(pattern: int, size: int) -> Mask:
    """Region masks enlarged to the panel: bool [R, 224, 224]."""
    masks = partition(pattern, size).numpy().astype(np.uint8)
    return np.stack([cv2.resize(mask, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST) for mask in masks]) > 0


def _draw_lines(frames: Pixels, masks: Mask) -> Pixels:
    """A copy of the frames with the borders of all regions."""
    line = np.any([_rim(mask, 1) for mask in masks], 0)
    drawn = frames.copy()
    drawn[:, line] = (drawn[:, line] * 0.45 + 140).astype(np.uint8)
    return drawn


def _outline(pictures: Pixels, mask: Mask, colour: Colour, inset: int) -> None:
    """Draw the inner rim of a region, four pixels wide, `inset` pixels inside its border, so that two can nest."""
    inner = mask if not inset else _shrink(mask, inset)
    pictures[:, _rim(inner, 4)] = colour


def _rim(mask: Mask, width: int) -> Mask:
    return mask & ~_shrink(mask, width)


def _shrink(mask: Mask, width: int) -> Mask:
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(eroded, np.bool_)


def _anchor(mask: Mask, *, second: bool, both: bool) -> tuple[int, int]:
    """(x, y) well inside a region, on its upper half or, for a `second` mark, the lower; aside if it holds `both`."""
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.8 * depth.max())
    off_centre = np.abs(columns - np.nonzero(mask)[1].mean()).astype(int)
    best = np.lexsort((-rows if second else rows, -depth[rows, columns], off_centre))[0]
    aside = (11 if second else -11) if both else 0
    return int(columns[best]) + aside, int(rows[best])


def _arrow(pictures: Pixels, at: tuple[int, int], way: int, colour: Colour) -> None:
    dx, dy = (12 * float(f(np.radians(45 * (way - 1)))) for f in (np.cos, np.sin))
    ends = (round(at[0] - dx), round(at[1] - dy)), (round(at[0] + dx), round(at[1] + dy))
    for picture in pictures:
        cv2.arrowedLine(picture, *ends, _PAPER, 6, cv2.LINE_AA, tipLength=0.45)
        cv2.arrowedLine(picture, *ends, colour, 3, cv2.LINE_AA, tipLength=0.45)


def _swatch(pictures: Pixels, at: tuple[int, int], octant: int) -> None:
    for picture in pictures:
        for radius, colour in ((10, _PAPER), (9, _INK), (8, _OCTANT_RGB[octant - 1])):
            cv2.circle(picture, at, radius, colour, -1, cv2.LINE_AA)


def _enlarge(frames: Pixels) -> Pixels:
    return np.stack([cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC) for frame in frames])


def _page(rows: list[list[Panel]], frames: int) -> Pixels:
    """Panels with titles and notes, row by row: uint8 [frames, height, width, 3]."""
    notes = max(len(panel.notes) for row in rows for panel in row)
    pitch_x, pitch_y = _SIDE + _GAP, _TITLE + _SIDE + 6 + notes * _LINE + _GAP
    page = Image.new("RGB", (_GAP + pitch_x * max(map(len, rows)), _GAP + pitch_y * len(rows)), _PAPER)
    pen = ImageDraw.Draw(page)
    places = [
        (panel, _GAP + column * pitch_x, _GAP + row * pitch_y + _TITLE)
        for row, panels in enumerate(rows)
        for column, panel in enumerate(panels)
    ]
    for panel, left, top in places:
        pen.text((left, top - _TITLE), panel.title, _INK, _font(17))
        for line, note in enumerate(panel.notes):
            _write(pen, note, left, top + _SIDE + 6 + line * _LINE)
    animated = np.repeat(np.asarray(page)[None], frames, 0)
    for panel, left, top in places:
        animated[:, top : top + _SIDE, left : left + _SIDE] = panel.frames
    return animated


def _write(pen: ImageDraw.ImageDraw, note: Note, left: int, top: int) -> None:
    if note.colour is not None:
        pen.rectangle((left, top + 3, left + 10, top + 13), note.colour)
        left += 16
    pen.text((left, top), note.text, _INK, _font(13))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
