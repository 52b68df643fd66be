"""Claim: no broken video crashes or hangs kinema or goes unreported, and reading for long does not use up memory.

Run `python benchmarks/robustness.py [FOLDER] [--files 2000] [--clips 10000] [--seed 0] [--json OUT]` (five minutes on
two cores). Small videos of eleven codings are made, and the videos in FOLDER (optional) put beside them; out of these
`--files` broken ones by bit flips, noise, zeros, truncation, foreign headers, and stretches repeated or left out.

* They are scanned: each must come out readable, or quarantined with a reason. Of the readable ones all frames are then
  read, in a process apart with a time limit: they must come, or an error that names the file. "crashed" and "hung" must
  be 0, and so must "other errors", which are those without words for a person.
* The resident memory of a process that reads 10,000 random clips of whole videos must not drift: measured after the
  first tenth and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np

from kinema.data.manifest import Manifest
from kinema.data.scan import VIDEO_SUFFIXES, scan
from kinema.errors import VideoError
from kinema.video import read_frames

CODINGS = {
    "h264.mp4": ("libx264", {"bf": "2", "g": "12"}),
    "h264.mkv": ("libx264", {"bf": "0", "g": "6"}),
    "h264.ts": ("libx264", {"bf": "2", "g": "12"}),
    "h264.flv": ("libx264", {"bf": "0", "g": "12"}),
    "hevc.mov": ("libx265", {"x265-params": "keyint=12:log-level=none"}),
    "mpeg4.avi": ("mpeg4", {"bf": "0", "g": "12"}),
    "mpeg4-b.avi": ("mpeg4", {"bf": "2", "g": "12"}),
    "mpeg2.mpg": ("mpeg2video", {"bf": "2", "g": "12"}),
    "vp8.webm": ("libvpx", {"g": "12"}),
    "vp9.webm": ("libvpx-vp9", {"g": "12"}),
    "mjpeg.mov": ("mjpeg", {}),
}
WAYS = ("bits", "noise", "zeros", "truncated", "header", "repeated", "left out")
TIME_LIMIT = 20.0
LARGEST = 2_000_000  # bytes; of larger files the copies alone would take minutes


def write_originals(folder: Path) -> list[Path]:
    """One small video per coding: 40 frames of 96 x 64."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (16, 24, 3)), np.ones((4, 4, 1), int)).astype(np.uint8)
    paths = []
    for name, (codec, options) in CODINGS.items():
        paths.append(folder / name)
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height = 96, 64
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for number in range(40):
                frame = av.VideoFrame.from_ndarray(np.roll(texture, (number, 2 * number), (0, 1)), "rgb24")
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
    return paths


def mutate(data: bytes, other: bytes, way: str, rng: np.random.Generator) -> bytes:
    """A broken copy of `data`; `other` is a file whose header may be put before it."""
    changed = np.frombuffer(data, np.uint8).copy()
    size = len(changed)
    start, stop = sorted(rng.integers(0, size + 1, 2).tolist())
    short = min(stop, start + int(rng.integers(1, 1 + size // 8)))
    if way == "bits":
        places = rng.integers(0, size, int(2 ** rng.uniform(0, 9)))
        changed[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    elif way == "noise":
        changed[start:short] = rng.integers(0, 256, short - start)
    elif way == "zeros":
        changed[start:short] = 0
    elif way == "truncated":
        changed = changed[:stop]
    elif way == "header":
        length = int(2 ** rng.uniform(3, 12))
        changed = np.concatenate([np.frombuffer(other[:length], np.uint8), changed[length:]])
    elif way == "repeated":
        changed = np.concatenate([changed[:short], changed[start:]])
    else:
        changed = np.concatenate([changed[:start], changed[short:]])
    return changed.tobytes()


def write_mutations(originals: list[Path], folder: Path, count: int, seed: int) -> None:
    """`count` broken files; number, way and original are in the name."""
    contents = [path.read_bytes() for path in originals]
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        which, way = number % len(originals), WAYS[number // len(originals) % len(WAYS)]
        other = contents[int(rng.integers(len(contents)))]
        name = f"{number:05d} {way} {originals[which].stem}{originals[which].suffix.lower()}"
        (folder / name).write_bytes(mutate(contents[which], other, way, rng))


def read_whole(manifest: Path) -> None:
    """Read every frame of the rows whose numbers come in on standard input; answer each by one line."""
    videos = Manifest.read(manifest, check_files=False)
    for line in sys.stdin:
        try:
            info = videos.video(int(line))
            for first in range(0, info.frames, 16):
                read_frames(info, np.arange(first, min(first + 16, info.frames)))
            answer = "read"
        except VideoError:
            answer = "told while reading"
        except Exception as error:
            answer = f"other error: {type(error).__name__}: {error}"
        print(answer.splitlines()[0], flush=True)


class Child:
    """This script in a process of its own, which is replaced when it dies or takes too long."""

    def __init__(self, *arguments: str) -> None:
        self.command = [sys.executable, __file__, *arguments]
        self.process: subprocess.Popen[str] | None = None

    def ask(self, question: str, limit: float) -> str:
        """The answer; "crashed" or "hung" where none comes."""
        process = self.process = self.process or subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdin
        assert process.stdout
        late = threading.Event()
        alarm = threading.Timer(limit, lambda: (late.set(), process.kill()))
        alarm.start()
        process.stdin.write(question + "\n")
        process.stdin.flush()
        answer = process.stdout.readline().strip()
        alarm.cancel()
        if answer:
            return answer
        self.close()
        return "hung" if late.is_set() else f"crashed ({process.returncode})"

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def account(folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """What became of the files in a folder, and how often each reason (without its numbers) was given."""
    report = scan(folder, time_limit=TIME_LIMIT)
    files = len(list(folder.iterdir()))
    index = folder.with_suffix(".parquet")
    report.manifest.write(index)
    outcomes: Counter[str] = Counter({"read": 0, "told while reading": 0, "crashed": 0, "hung": 0})
    child = Child("--read", str(index))
    for row in range(len(report.manifest)):
        answer = child.ask(str(row), TIME_LIMIT)
        outcomes[answer] += 1
        if answer not in ("read", "told while reading"):
            print(f"  {report.manifest.column('path')[row]}: {answer}")
    child.close()
    outcomes["quarantined"] = len(report.quarantined)
    reasons = Counter(re.sub(r"\d+", "N", reason)[:90] for _, reason in report.quarantined)
    outcomes["unaccounted"] = files - outcomes.total()
    return dict(outcomes), dict(reasons.most_common())


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def read_clips(manifest: Path, clips: int, seed: int) -> None:
    """Read random clips at random sizes; print memory after the first tenth and at the end."""
    videos = Manifest.read(manifest)
    rng = np.random.default_rng(seed)
    sizes = [None, (32, 48), (48, 64), (56, 56)]
    for number in range(clips + 1):
        info = videos.video(int(rng.integers(len(videos))))
        start = int(rng.integers(max(1, info.frames - 16)))
        read_frames(info, np.arange(start, min(start + 16, info.frames)), sizes[int(rng.integers(len(sizes)))])
        if number in (clips // 10, clips):
            print(f"{resident():.2f}", flush=True)


def drift(originals: Path, clips: int) -> dict[str, float]:
    """Memory in MB early and late, and the change in percent."""
    index = originals.with_suffix(".parquet")
    scan(originals).manifest.write(index)
    done = subprocess.run(
        [sys.executable, __file__, "--clips", str(clips), "--read-clips", str(index)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    early, late = map(float, done.stdout.split())
    return {"clips": clips, "early_mb": early, "late_mb": late, "drift_percent": 100 * (late - early) / early}


def main() -> None:
    """Break, scan, read, print the account, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read-clips", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        return read_whole(arguments.read)
    if arguments.read_clips:
        return read_clips(arguments.read_clips, arguments.clips, arguments.seed)
    record: dict[str, Any] = {"machine": {"av": av.__version__, "system": platform.platform()}}
    with tempfile.TemporaryDirectory() as temporary:
        whole, broken = Path(temporary, "whole"), Path(temporary, "broken")
        whole.mkdir()
        broken.mkdir()
        originals = write_originals(whole)
        for path in sorted(arguments.folder.rglob("*")) if arguments.folder else []:
            if path.suffix.lower() in VIDEO_SUFFIXES and 0 < path.stat().st_size < LARGEST:
                originals.append(path)
        write_mutations(originals, broken, arguments.files, arguments.seed)
        print(f"{arguments.files} broken files made out of {len(originals)}")
        record["outcomes"], record["reasons"] = account(broken)
        for name, count in record["outcomes"].items():
            print(f"{count:>6} {name}")
        for reason, count in record["reasons"].items():
            print(f"       {count:>6} {reason}")
        record["memory"] = drift(whole, arguments.clips)
        print("memory: {early_mb:.1f} MB, after {clips} clips {late_mb:.1f} MB: {drift_percent:+.2f} %".format(
            **record["memory"]))  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
