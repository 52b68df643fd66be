"""Which pictures of which video go where in a store: known before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.data.packed.files import replacing
from kinema.data.packed.layout import PLAN_FILE, Format, Kind, Layout
from kinema.errors import DataError, VideoError
from kinema.video.info import VideoInfo

Indices = npt.NDArray[np.int64]

_MARGIN_SECONDS = 1.0
"""Kept around the segments of a file, for methods that look one flow beyond a clip."""

_FILES_AT_LEAST = 64
"""Small stores are cut into about so many files, so that all cores have work and a stop costs little."""


@dataclass(frozen=True)
class Settings:
    """What a person chooses of a store; the meanings are those of `Layout`.

    Attributes:
        kind, format, size, step, rate, quality, preset, bits: see `Layout`; `size` is (height, width).
        file_bytes: upper bound of a data file.
    """

    kind: Kind
    format: Format
    size: tuple[int, int]
    step: int = 1
    rate: float | None = None
    quality: int = 95
    preset: str = ""
    bits: Literal[8, 16] = 8
    file_bytes: int = 1 << 28


class Piece(NamedTuple):
    """A run of pictures of one video within one data file: numbers `first` to `stop` of that video."""

    entry: int
    row: int
    first: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """Which pictures a store has; one entry per video, in order.

    Attributes:
        rows: int64 [E], a row of the manifest that names the video.
        firsts, stops: int64 [E], the pictures of the video that are kept, numbered from the start of the file.
        unread: reason by entry, of videos that could not even be looked at; they have no pictures.
    """

    rows: Indices
    firsts: Indices
    stops: Indices
    unread: dict[int, str]

    @property
    def starts(self) -> Indices:
        """int64 [E + 1], where the pictures of each entry begin in the store, and the end."""
        return np.concatenate([[0], np.cumsum(self.stops - self.firsts)]).astype(np.int64)

    def pieces(self, span: tuple[int, int]) -> Iterator[Piece]:
        """The runs of pictures between two numbers of the store, in order."""
        starts = self.starts
        low = int(np.searchsorted(starts, span[0], side="right")) - 1
        high = int(np.searchsorted(starts, span[1], side="left"))
        for entry in range(low, high):
            first, stop = max(span[0], int(starts[entry])), min(span[1], int(starts[entry + 1]))
            shift = int(self.firsts[entry] - starts[entry])
            if first < stop:
                yield Piece(entry, int(self.rows[entry]), first + shift, stop + shift)

    def write(self, folder: Path) -> None:
        """Write `plan.npz`."""
        entries = np.array(list(self.unread), np.int64)
        reasons = np.array(list(self.unread.values()), np.str_)
        with replacing(folder / PLAN_FILE) as file:
            np.savez_compressed(
                file, rows=self.rows, firsts=self.firsts, stops=self.stops, entries=entries, reasons=reasons
            )

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read `plan.npz`.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with np.load(folder / PLAN_FILE, allow_pickle=False) as stored:
                unread = dict(zip(stored["entries"].tolist(), stored["reasons"].tolist(), strict=True))
                return cls(stored["rows"], stored["firsts"], stored["stops"], unread)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{folder / PLAN_FILE} cannot be read ({error}): remove the folder and begin anew"
            ) from error


def grid(info: VideoInfo, rate: float | None) -> Indices:
    """The frame on show at each moment of the sampled rate, repeated where frames come more rarely; None: all."""
    if rate is None:
        return np.arange(info.frames, dtype=np.int64)
    return info.frame_at(np.arange(0.0, info.duration, 1.0 / rate) + 5e-7)


def find_fields(frames: Indices, step: int, now: Indices, following: Indices) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Which fields of a chain lead from `now` to `following`, and whether there is one (else its number means nothing).

    Field k of a chain leads from `frames[k]` to `frames[k + step]`; frames never run backwards.
    """
    base = 1 + max(int(frames[-1]), int(following.max(initial=0)))
    known, wanted = frames[:-step] * base + frames[step:], now * base + following
    places = np.searchsorted(known, wanted)
    there = places < len(known)
    there[there] = known[places[there]] == wanted[there]
    return places, there


def kept_frames(info: VideoInfo, layout: Layout | Settings) -> Indices:
    """The frame that each picture shows, or from which its flow leads, numbered through the whole file."""
    frames = grid(info, layout.rate)
    if layout.kind == "frames":
        return np.unique(frames)[:: layout.step]
    return frames[: max(0, len(frames) - layout.step)]


def thinned(info: VideoInfo, kept: Indices, size: tuple[int, int]) -> VideoInfo:
    """The video that a store of frames holds: only the kept frames, at the store's size."""
    pts = info.pts[kept]
    return replace(info, height=size[0], width=size[1], pts=pts, keyframes=pts[:1], seek_stamps=pts[:1])


def plan_store(manifest: Manifest, settings: Settings) -> tuple[Plan, Layout]:
    """Where every picture will lie. Rows of one file share its pictures; of long files only the rows' segments count.

    Raises:
        DataError: nothing to store, or a column that would no longer fit.
    """
    if settings.kind == "frames" and (settings.step > 1 or settings.rate) and "flow" in manifest.columns:
        raise DataError("the column 'flow' belongs to every frame of the files: pack first, then run kinema flow STORE")
    groups = rows_by_file(manifest)
    spans, unread = [], {}
    for entry, rows in enumerate(groups.values()):
        try:
            spans.append(_span(manifest, rows, settings))
        except VideoError as error:
            spans.append((0, 0))
            unread[entry] = error.reason
    firsts, stops = np.array(spans, np.int64).T
    plan = Plan(np.array([rows[0] for rows in groups.values()], np.int64), firsts, stops, unread)
    pictures = int((stops - firsts).sum())
    if not pictures:
        why = f"; the first: {next(iter(unread.values()))}" if unread else ""
        raise DataError(f"{manifest.root}: no video has anything to store ({len(unread)} cannot be read{why})")
    return plan, _layout(manifest, settings, pictures)


def rows_by_file(manifest: Manifest) -> dict[str, list[int]]:
    """The rows of each different file, in order of first appearance: the entries of a plan."""
    groups: dict[str, list[int]] = {}
    for row, path in enumerate(manifest.column("path")):
        groups.setdefault(str(path), []).append(row)
    return groups


def _span(manifest: Manifest, rows: list[int], settings: Settings) -> tuple[int, int]:
    """The pictures of one file that its rows need, with a margin."""
    info = manifest.video(rows[0])
    kept = kept_frames(info, settings)
    if settings.kind == "flow" and settings.rate is not None:
        _check_on_grid(manifest, rows, settings.rate, settings.step)
    bounds = np.array([manifest.bounds(row) for row in rows])
    start, end = info.frame_at([bounds[:, 0].min() - _MARGIN_SECONDS, bounds[:, 1].max() + _MARGIN_SECONDS]).tolist()
    shown = kept[max(0, int(np.searchsorted(kept, start, side="right")) - 1) :][:1]
    return int(np.searchsorted(kept, shown).sum()), int(np.searchsorted(kept, end, side="right"))


def _check_on_grid(manifest: Manifest, rows: list[int], rate: float, step: int) -> None:
    """Segments are sampled from their own start on, flow from that of the file: the two must show the same frames."""
    info = manifest.video(rows[0])
    frames = grid(info, rate)
    for row in rows:
        start, end = manifest.bounds(row)
        sampled = info.frame_at(np.arange(start, end - 5e-7, 1.0 / rate) + 5e-7)
        now, following = sampled[:-step], sampled[step:]
        _, there = find_fields(frames, step, now, following)
        if not (there | (now == following)).all():
            raise DataError(
                f"row {row} ({info.path.name}) begins at {start:g} s, between two frames of --rate {rate:g}, so that "
                f"training would ask for other frames than those with flow: run kinema pack with --rate {rate:g} "
                "first, then kinema flow on that store without --rate"
            )


def _layout(manifest: Manifest, settings: Settings, pictures: int) -> Layout:
    height, width = settings.size
    channels = 3 if settings.kind == "frames" else 2
    most = max(1, settings.file_bytes * 8 // (channels * height * width * settings.bits))
    return Layout(
        kind=settings.kind,
        format=settings.format,
        height=height,
        width=width,
        data=manifest.digest(),
        pictures=pictures,
        per_file=min(most, max(256, -(-pictures // _FILES_AT_LEAST))),
        step=settings.step,
        rate=settings.rate,
        quality=settings.quality,
        preset=settings.preset,
        bits=settings.bits,
    )
