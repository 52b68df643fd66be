"""Claim: kinema reads clips faster than plain PyAV, OpenCV and others, one decode serving all views of a sample.

Run `python benchmarks/reading.py [--videos 12] [--clips 24] [--rounds 7] [--json OUT]` (about ten minutes on one core;
`--videos 2 --clips 4 --rounds 5 --gops 12` shows in seconds that it runs). Videos of 300 frames, 320 x 240, H.264, are
made first, at groups of 250, 12 and 1 pictures; for these jobs, all scaled to 128 x 171:

* `clip 1`, `clip 4`: 16 frames at stride 1 or 4 from a random place of a random video, another video each time;
* `two views`: two such clips of stride 2 of one video, each at a random place, so that few overlap;
* `two speeds`: a clip of stride 2 and one of stride 1 inside its span, as methods that tell speeds apart want them;
* `sequential`: all 300 frames of a video, 16 at a time, as when features of whole videos are taken.

Clips (of 16 frames) per second of processor time, so per core: median over rounds, in which the readers take turns, and
quartiles. The peers at their best: no threads, one scaler straight to the wanted size and to RGB, a jump to the clip,
decoding no further than its end; in `sequential` a file stays open. `PyAV, as documented` is what most code does: its
frames' own `to_ndarray`. `wrong` is the share of frames that are not those asked for. The ratio is kinema's median to
that of the best peer; below 1 it loses.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from kinema.video import VideoInfo, probe, read_frames

LENGTH, HEIGHT, WIDTH = 300, 240, 320
SIZE = (128, 171)
CLIP = 16
OFF = 15.0  # mean difference in grey levels between a frame and the next one: scalers differ by a third of that

Frames = npt.NDArray[np.uint8]
Sample = tuple[VideoInfo, list[npt.NDArray[np.int64]]]


class Row(NamedTuple):
    """One line of the table; rates in clips per second and core."""

    gop: int
    job: str
    reader: str
    median: float
    low: float
    high: float
    wrong: float


def scene(seed: int) -> Iterator[Frames]:
    """A textured square that moves over a ground which moves otherwise."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (2, 2 * HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    ground, square = (cv2.normalize(cv2.GaussianBlur(n, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX) for n in noise)
    drift = rng.integers(-3, 4, 2)
    for t in range(LENGTH):
        frame = np.roll(ground, drift * t, (0, 1))[:HEIGHT, :WIDTH].astype(np.uint8)
        top, left = 60 + int(40 * np.sin(t / 9 + seed)), 100 + int(80 * np.cos(t / 7 + seed))
        frame[top : top + 80, left : left + 80] = square[:80, :80]
        yield frame


def write(path: Path, seed: int, gop: int) -> VideoInfo:
    """An H.264 video with the encoder's own choice of B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": str(gop), "crf": "23"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for picture in scene(seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return probe(path)


class PlainPyAV:
    """A jump, then decoding to the end of the clip; `documented` converts by the frames' own method."""

    def __init__(self, *, documented: bool = False) -> None:
        self.documented, self.scaler = documented, VideoReformatter()

    def __call__(self, info: VideoInfo, clips: list[npt.NDArray[np.int64]]) -> list[Frames]:
        """The clips of one sample."""
        return [self.clip(info, info.pts[clip].tolist()) for clip in clips]

    def clip(self, info: VideoInfo, stamps: list[int]) -> Frames:
        """The frames shown at these times."""
        with av.open(str(info.path)) as container:
            video = container.streams.video[0]
            video.thread_type = "NONE"
            container.seek(stamps[0], stream=video)
            return np.stack([self.convert(frame) for frame in _shown(container.decode(video), stamps)])

    def sequential(self, info: VideoInfo) -> Iterator[Frames]:
        """All frames, clip by clip."""
        with av.open(str(info.path)) as container:
            video = container.streams.video[0]
            video.thread_type = "NONE"
            frames = container.decode(video)
            while clip := [self.convert(frame) for _, frame in zip(range(CLIP), frames, strict=False)]:
                yield np.stack(clip)

    def convert(self, frame: Any) -> Frames:
        """RGB at the wanted size."""
        height, width = SIZE
        if self.documented:
            return frame.to_ndarray(format="rgb24", width=width, height=height)
        return self.scaler.reformat(frame, width, height, "rgb24", interpolation="BILINEAR", threads=1).to_ndarray()


def _shown(frames: Iterator[Any], stamps: list[int]) -> Iterator[Any]:
    wanted = set(stamps)
    for frame in frames:
        if frame.pts in wanted:
            yield frame
        if frame.pts >= stamps[-1]:
            return


class OpenCV:
    """Its own jump to a frame, `grab` for what is not wanted, `retrieve` for what is."""

    def __call__(self, info: VideoInfo, clips: list[npt.NDArray[np.int64]]) -> list[Frames]:
        """The clips of one sample."""
        return [self.clip(info, clip.tolist()) for clip in clips]

    def clip(self, info: VideoInfo, indices: list[int]) -> Frames:
        """The frames with these numbers."""
        capture = self.capture(info)
        capture.set(cv2.CAP_PROP_POS_FRAMES, indices[0])
        wanted = set(indices)
        clip = [self.convert(capture) for index in range(indices[0], indices[-1] + 1)
                if capture.grab() and index in wanted]  # fmt: skip
        capture.release()
        return np.stack(clip)

    def sequential(self, info: VideoInfo) -> Iterator[Frames]:
        """All frames, clip by clip."""
        capture = self.capture(info)
        while clip := [self.convert(capture) for _ in range(CLIP) if capture.grab()]:
            yield np.stack(clip)
        capture.release()

    def capture(self, info: VideoInfo) -> cv2.VideoCapture:
        """The opened file, without threads."""
        return cv2.VideoCapture(str(info.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])

    def convert(self, capture: cv2.VideoCapture) -> Frames:
        """RGB at the wanted size."""
        small = cv2.resize(capture.retrieve()[1], SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


class Decord:
    """Scaled while decoding; two clips in one batch."""

    def __init__(self) -> None:
        self.package = importlib.import_module("decord")

    def video(self, info: VideoInfo) -> Any:
        """The opened file, without threads."""
        return self.package.VideoReader(str(info.path), width=SIZE[1], height=SIZE[0], num_threads=1)

    def __call__(self, info: VideoInfo, clips: list[npt.NDArray[np.int64]]) -> list[Frames]:
        """The clips of one sample."""
        frames = self.video(info).get_batch(np.concatenate(clips).tolist()).asnumpy()
        return np.split(frames, len(clips))

    def sequential(self, info: VideoInfo) -> Iterator[Frames]:
        """All frames, clip by clip."""
        video = self.video(info)
        for first in range(0, len(video), CLIP):
            yield video.get_batch(list(range(first, min(first + CLIP, len(video))))).asnumpy()


class TorchCodec:
    """Scaled by torch after decoding, without threads, seeking without a scan of the file."""

    def __init__(self) -> None:
        self.package = importlib.import_module("torchcodec.decoders")

    def video(self, info: VideoInfo) -> Any:
        """The opened file."""
        return self.package.VideoDecoder(str(info.path), num_ffmpeg_threads=1, seek_mode="approximate")

    def resized(self, batch: Any) -> Frames:
        """RGB at the wanted size."""
        import torch

        small = torch.nn.functional.interpolate(batch.data, SIZE, mode="bilinear", antialias=True)
        return small.permute(0, 2, 3, 1).numpy()

    def __call__(self, info: VideoInfo, clips: list[npt.NDArray[np.int64]]) -> list[Frames]:
        """The clips of one sample."""
        return np.split(self.resized(self.video(info).get_frames_at(np.concatenate(clips).tolist())), len(clips))

    def sequential(self, info: VideoInfo) -> Iterator[Frames]:
        """All frames, clip by clip."""
        video = self.video(info)
        for first in range(0, len(video), CLIP):
            yield self.resized(video.get_frames_in_range(first, min(first + CLIP, len(video))))


class Kinema:
    """`read_frames`, once for all clips of a sample, as the loader calls it."""

    def __call__(self, info: VideoInfo, clips: list[npt.NDArray[np.int64]]) -> list[Frames]:
        """The clips of one sample."""
        union, where = np.unique(np.concatenate(clips), return_inverse=True)
        frames = read_frames(info, union, SIZE)
        return [frames] if len(clips) == 1 else [frames[part] for part in np.split(where, len(clips))]

    def sequential(self, info: VideoInfo) -> Iterator[Frames]:
        """All frames, clip by clip."""
        for first in range(0, info.frames, CLIP):
            yield read_frames(info, np.arange(first, min(first + CLIP, info.frames)), SIZE)


PEERS: dict[str, Callable[[], Any]] = {
    "kinema": Kinema,
    "PyAV, at its best": PlainPyAV,
    "PyAV, as documented": lambda: PlainPyAV(documented=True),
    "OpenCV": OpenCV,
    "decord": Decord,
    "torchcodec": TorchCodec,
}


def loaded() -> dict[str, Any]:
    """The readers that are there; others are named with the reason."""
    readers = {}
    for name, make in PEERS.items():
        try:
            readers[name] = make()
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name} does not load: {str(error).splitlines()[0]}")
    return readers


def samples(infos: list[VideoInfo], count: int, strides: tuple[int, ...], *, inside: bool = False) -> list[Sample]:
    """A clip of each stride from each of `count` videos in turn, at random places, or `inside` the first one's span."""
    rng = np.random.default_rng(len(strides) + strides[0])
    steps = np.arange(CLIP)
    work = []
    for i in range(count):
        starts = [int(rng.integers(LENGTH - (CLIP - 1) * stride)) for stride in strides]
        if inside:
            starts[1:] = [starts[0] + int(rng.integers(1 + (CLIP - 1) * (strides[0] - s))) for s in strides[1:]]
        clips = [start + steps * stride for start, stride in zip(starts, strides, strict=True)]
        work.append((infos[i % len(infos)], clips))
    return work


def seconds(reader: Any, work: list[Sample] | list[VideoInfo]) -> float:
    """Processor time for all of it."""
    start = time.process_time()
    for item in work:
        if isinstance(item, VideoInfo):
            for _ in reader.sequential(item):
                pass
        else:
            reader(*item)
    return time.process_time() - start


def share_wrong(reader: Any, work: list[Sample] | list[VideoInfo]) -> float:
    """Share of frames that look otherwise than those of a decode from the start (kinema's, which tests compare)."""
    off = []
    for item in work[:8]:
        if isinstance(item, VideoInfo):
            given, truth = list(reader.sequential(item)), list(Kinema().sequential(item))
        else:
            given, truth = reader(*item), Kinema()(*item)
        for some, right in zip(given, truth, strict=True):
            off += [np.abs(some[..., :3].astype(float) - right).mean((1, 2, 3)) > OFF]
    return float(np.concatenate(off).mean())


def measure(
    readers: dict[str, Any], gop: int, job: str, work: list[Sample] | list[VideoInfo], *, clips: float, rounds: int
) -> list[Row]:
    """One row per reader."""
    wrong = {name: share_wrong(reader, work) for name, reader in readers.items()}
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, reader in readers.items():
            rates[name].append(clips / seconds(reader, work))
    rows = []
    for name, found in rates.items():
        low, median, high = statistics.quantiles(found, n=4)
        rows.append(Row(gop, job, name, median, low, high, wrong[name]))
    return rows


def show(rows: list[Row]) -> float:
    """Print one job's rows; the ratio of kinema to the best peer."""
    ratio = rows[0].median / max(row.median for row in rows[1:])
    for row in rows:
        quartiles = f"{row.low:.1f} … {row.high:.1f}"
        print(f"{row.gop:>4} {row.job:<11} {row.reader:<20} {row.median:>9.1f} {quartiles:>18} {row.wrong:>7.1%}")
    print(f"{'':16} ratio to the best peer: {ratio:.2f}{'' if ratio >= 1 else '  (kinema loses)'}")
    return ratio


def main() -> None:
    """Make the videos, measure, print the table, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--gops", type=int, nargs="+", default=[250, 12, 1])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    readers = loaded()
    print(f"{'gop':>4} {'job':<11} {'reader':<20} {'clips/s':>9} {'quartiles':>18} {'wrong':>7}")
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for gop in arguments.gops:
            infos = [write(Path(folder) / f"{gop}-{seed}.mp4", seed, gop) for seed in range(arguments.videos)]
            jobs: dict[str, tuple[Any, int]] = {
                "clip 1": (samples(infos, arguments.clips, (1,)), arguments.clips),
                "clip 4": (samples(infos, arguments.clips, (4,)), arguments.clips),
                "two views": (samples(infos, arguments.clips, (2, 2)), 2 * arguments.clips),
                "two speeds": (samples(infos, arguments.clips, (2, 1), inside=True), 2 * arguments.clips),
                "sequential": (infos[:4], len(infos[:4]) * LENGTH / CLIP),
            }
            for job, (work, clips) in jobs.items():
                rows = measure(readers, gop, job, work, clips=clips, rounds=arguments.rounds)
                ratio = show(rows)
                table += [{**row._asdict(), "ratio": ratio} for row in rows]
    if arguments.json:
        machine = {"av": av.__version__, "opencv": cv2.__version__, "system": platform.platform()}
        machine |= {"processor": platform.processor() or platform.machine(), "cores": str(os.cpu_count())}
        record = {"machine": machine, "rounds": arguments.rounds, "videos": arguments.videos, "rows": table}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
