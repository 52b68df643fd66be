"""A whole world as video files, with the truth beside them."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinema.data.synthetic.render import SyntheticClip, render_clip
from kinema.data.synthetic.scene import World, draw_scene
from kinema.errors import RecipeError
from kinema.randomness import numpy_generator

Progress = Callable[[int, int], None]
TEST_SHARE = 0.375
"""Share of the rounds through all classes, drawn for each by itself, that `split` calls test."""

# A lookahead of its own thread makes the bytes depend on how busy the machine is.
_QUALITY = {
    "libx264": {"crf": "20", "preset": "veryfast", "x264-params": "threads=1:sync-lookahead=0:rc-lookahead=0"},
    "mpeg4": {"qscale": "3"},
}
_GOP = 12


def render_world(
    out: str | Path,
    *,
    clips: int = 320,
    seed: int = 0,
    world: World | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Render clips as mp4 files into `out`, with `labels.csv` beside them.

    Clip i shows motion number i modulo the number of classes and is the same whatever the number of clips or workers.
    Files that are there already are kept, so that a rendering which was stopped goes on.

    Args:
        out: folder to write.
        clips: number of videos.
        seed: names the world.
        world: its settings.
        workers: processes; None takes one per core.
        progress: called with (clips done, clips).

    Returns:
        `out`/labels.csv with the columns path, label (the motion), split, shape, speed (pixels per second),
        direction (degrees, y down), camera_x and camera_y (pixels per second).
    """
    world, folder = world or World(), Path(out)
    if clips < 1:
        raise RecipeError(f"clips={clips}: at least one")
    folder.mkdir(parents=True, exist_ok=True)
    job = partial(_render_file, folder, seed, world)
    for done, _ in enumerate(_in_processes(job, clips, workers or os.cpu_count() or 1), 1):
        if progress:
            progress(done, clips)
    table = io.StringIO()
    rows = [_truth(seed, i, world) for i in range(clips)]
    writer = csv.DictWriter(table, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _replace(folder / "labels.csv", table.getvalue().encode())
    return folder / "labels.csv"


def write_clip(path: Path, clip: SyntheticClip, fps: float) -> None:
    """Write a clip as mp4: H.264 where this build of PyAV can, else MPEG-4; a key frame every 12 frames."""
    import av
    from av.video.reformatter import VideoReformatter

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=round(fps), options=_QUALITY[codec])
        stream.height, stream.width = clip.frames.shape[1:3]
        stream.pix_fmt, stream.gop_size = "yuv420p", _GOP
        stream.codec_context.thread_count = 1
        converter = VideoReformatter()
        for picture in clip.frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(converter.reformat(frame, format="yuv420p", threads=1)))
        container.mux(stream.encode())
    _replace(path, buffer.getvalue())


def _in_processes(job: Callable[[int], None], clips: int, workers: int) -> Iterator[None]:
    if workers == 1 or clips == 1:
        yield from map(job, range(clips))
        return
    with ProcessPoolExecutor(min(workers, clips), mp_context=get_context("spawn")) as pool:
        yield from pool.map(job, range(clips), chunksize=8)


def _render_file(folder: Path, seed: int, world: World, i: int) -> None:
    cv2.setNumThreads(1)  # the processes share the cores already
    path = folder / _name(i)
    if not path.exists():
        write_clip(path, render_clip(seed, i, world), world.fps)


def _truth(seed: int, i: int, world: World) -> dict[str, Any]:
    scene = draw_scene(seed, i, world)
    body = scene.body
    held_out = numpy_generator(seed, "world", i // len(world.classes), "split").random() < TEST_SHARE
    return {
        "path": _name(i),
        "label": body.motion,
        "split": "test" if held_out else "train",
        "shape": body.shape,
        "speed": round(body.speed, 3),
        "direction": round(math.degrees(body.direction), 2),
        "camera_x": round(float(scene.camera.drift[0]), 3),
        "camera_y": round(float(scene.camera.drift[1]), 3),
    }


def _name(i: int) -> str:
    return f"{i:06d}.mp4"


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_bytes(content)
    aside.replace(path)
