"""A whole world as video files, with the truth beside them."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinema.data.synthetic.camera import IMU_HEADER, IMU_RATE, accelerometer
from kinema.data.synthetic.encode import replace_file, write_video
from kinema.data.synthetic.facts import Facts, Row, describe_scene
from kinema.data.synthetic.film import Film, render_film
from kinema.data.synthetic.long import LongWorld, compose_long, describe_long
from kinema.data.synthetic.persons import PersonWorld, compose_persons, describe_persons
from kinema.data.synthetic.render import SyntheticClip, compose_scene
from kinema.data.synthetic.scene import World
from kinema.data.synthetic.sound import waveform
from kinema.data.synthetic.truth import TRUTH_COLUMNS, render_truth, write_truth
from kinema.errors import DataError, RecipeError
from kinema.randomness import numpy_generator

AnyWorld = World | PersonWorld | LongWorld
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extras:
    """What is written beside the frames.

    Attributes:
        truth: masks, hidden parts, boxes, flow (and joints) of every frame, see `write_truth`, and objects.csv.
        sound: a sound track of the events, and sounds.csv.
        imu: what an accelerometer on the camera measures, 200 times a second.
        captions: a sentence about each clip, in the column `text`.
        imu_noise: standard deviation of the accelerometer's noise, m/s².
    """

    truth: bool = False
    sound: bool = False
    imu: bool = False
    captions: bool = False
    imu_noise: float = 0.05


def render_world(
    out: str | Path,
    *,
    clips: int = 320,
    seed: int = 0,
    world: AnyWorld | None = None,
    extras: Extras | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Render clips as mp4 files into `out`, with `labels.csv` beside them.

    Clip i shows class number i modulo the number of classes and is the same whatever the number of clips or workers.
    Files that are there already are kept, so that a rendering which was stopped goes on.

    Args:
        out: folder to write.
        clips: number of videos.
        seed: names the world.
        world: its settings; None takes `World()`.
        extras: what to write beside the frames.
        workers: processes; None takes one per core.
        progress: called with (clips done, clips).

    Returns:
        `out`/labels.csv, whose columns docs/synthetic-worlds.md lists: path, label, split, and what else is known.

    Raises:
        RecipeError: no clips.
        DataError: the folder holds another world.
    """
    world, folder, extras = world or World(), Path(out), extras or Extras()
    if clips < 1:
        raise RecipeError(f"clips={clips}: at least one")
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, seed, world, extras)
    facts: list[Facts] = []
    job = partial(_render_files, folder, seed, world, extras)
    for found in _in_processes(job, clips, workers or os.cpu_count() or 1):
        facts.append(found)
        if progress:
            progress(len(facts), clips)
    _write_tables(folder, facts, extras)
    return folder / "labels.csv"


def describe(seed: int, i: int, world: AnyWorld) -> Facts:
    """The facts of clip `i` of any world."""
    if isinstance(world, PersonWorld):
        return describe_persons(seed, i, world)
    return describe_long(seed, i, world) if isinstance(world, LongWorld) else describe_scene(seed, i, world)


def compose(seed: int, i: int, world: AnyWorld) -> Film:
    """The film of clip `i` of any world, for `render_film` and `render_truth`."""
    if isinstance(world, PersonWorld):
        return compose_persons(seed, i, world)
    return compose_long(seed, i, world) if isinstance(world, LongWorld) else compose_scene(seed, i, world)


def write_clip(path: Path, clip: SyntheticClip, fps: float) -> None:
    """Write a clip as mp4."""
    write_video(path, clip.frames, fps)


def imu_table(facts: Facts, rng: np.random.Generator, noise: float) -> str:
    """The accelerometer's CSV: seconds on the clock of the video and m/s² along right, down and forward."""
    times = np.arange(int(facts.duration * IMU_RATE)) / IMU_RATE
    values = rng.normal(0, noise, (len(times), 3))
    starts = [start for start, _ in facts.cameras]
    shown = np.searchsorted(starts, times, side="right") - 1
    for number, (start, camera) in enumerate(facts.cameras):
        now = shown == number
        values[now] += accelerometer(camera, times[now] - start, facts.metre)
    lines = [f"{t:.3f},{a[0]:.5f},{a[1]:.5f},{a[2]:.5f}" for t, a in zip(times, values, strict=True)]
    return "\n".join([IMU_HEADER, *lines, ""])


def _in_processes(job: Callable[[int], Facts], clips: int, workers: int) -> Iterator[Facts]:
    if workers == 1 or clips == 1:
        yield from map(job, range(clips))
        return
    with ProcessPoolExecutor(min(workers, clips), mp_context=get_context("spawn")) as pool:
        yield from pool.map(job, range(clips), chunksize=8)


def _render_files(folder: Path, seed: int, world: AnyWorld, extras: Extras, i: int) -> Facts:
    """Write what is missing of clip `i`."""
    cv2.setNumThreads(1)  # the processes share the cores already
    facts, path, truth = describe(seed, i, world), folder / _name(i), folder / "truth" / f"{i:06d}"
    wants_truth = extras.truth and not (truth / "truth.npz").exists()
    if wants_truth or not path.exists():
        film = compose(seed, i, world)
        if wants_truth:
            frames, found = render_truth(film)
            write_truth(truth, found)
        else:
            frames = render_film(film)
        if not path.exists():
            rng = numpy_generator(seed, "world", i, "hiss")
            sound = waveform(facts.sounds, facts.duration, rng) if extras.sound else None
            write_video(path, frames, world.fps, sound=sound)
    if extras.imu:
        rng = numpy_generator(seed, "world", i, "imu")
        (folder / "imu").mkdir(exist_ok=True)
        replace_file(folder / _imu_name(i), imu_table(facts, rng, extras.imu_noise).encode())
    return facts


def _claim(folder: Path, seed: int, world: AnyWorld, extras: Extras) -> None:
    """Leave a note of what the folder holds; files of two worlds must not be mixed."""
    note = {"world": type(world).__name__, "seed": seed, "sound": extras.sound, **asdict(world)}
    text, path = json.dumps(note, indent=1) + "\n", folder / "world.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise DataError(f"{folder} holds videos of another world or seed, see {path}: give an empty folder")
    replace_file(path, text.encode())


def _write_tables(folder: Path, facts: Sequence[Facts], extras: Extras) -> None:
    """labels.csv, and what goes with the extras."""
    labels, objects, sounds, segments = [], [], [], []
    for i, clip in enumerate(facts):
        path = {"path": _name(i)}
        labels.append({**path, **clip.row, **_columns(i, clip, extras)})
        objects += [{**path, **row} for row in clip.objects]
        sounds += [{**path, **sound._asdict()} for sound in clip.sounds]
        segments += [{**path, **row} for row in clip.segments]
    if extras.truth:
        _write_csv(folder / "objects.csv", objects)
    if extras.sound and sounds:
        _write_csv(folder / "sounds.csv", sounds)
    if segments:
        _write_csv(folder / "segments.csv", segments)
    _write_csv(folder / "labels.csv", labels)


def _columns(i: int, clip: Facts, extras: Extras) -> Row:
    """Names of the files beside a clip, and its caption."""
    row: Row = {}
    if extras.captions:
        row["text"] = clip.text
    if extras.sound:
        row["audio"] = _name(i)
    if extras.imu:
        row["imu"] = _imu_name(i)
    if extras.truth:
        names = (*TRUTH_COLUMNS, "parts", "joints") if clip.persons else TRUTH_COLUMNS
        row |= {name: f"truth/{i:06d}/{name}.np{'z' if name == 'truth' else 'y'}" for name in names}
    return row


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, table.getvalue().encode())


def _name(i: int) -> str:
    return f"{i:06d}.mp4"


def _imu_name(i: int) -> str:
    return f"imu/{i:06d}.csv"
