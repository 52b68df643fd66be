"""Claim: re-encoded, rescaled and recoloured copies are found by fingerprint, and other videos hardly ever confused.

Run `python benchmarks/near_duplicates.py FOLDER … [--every 4] [--json OUT]` (two minutes on one core for 400 small
videos). Each FOLDER is scanned like any other; pairs that the scan calls near-identical are printed, to be judged by
eye. Of every fourth video, up to 400 frames long, three copies are made and looked for: H.264 at a quarter of the
bits (crf 35); 20 frames per second with less contrast, brighter and warmer; half the size and more contrast. Last, the
time of comparing 20,000 random fingerprints with each other.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np

from kinema.data.duplicates import near_pairs
from kinema.data.manifest import Manifest
from kinema.data.scan import scan
from kinema.video import VideoInfo, probe, read_frames
from kinema.video.fingerprint import BYTES, fingerprint, unpack

LONGEST = 400
WIDEST = 320
COPIES = ("coarse", "recoloured", "small")


def copy(info: VideoInfo, kind: str, path: Path) -> None:
    """Write one of the `COPIES`."""
    shrink = min(1.0, WIDEST / max(info.height, info.width))
    size = max(16, int(info.height * shrink)), max(16, int(info.width * shrink))
    rate = 20.0 if kind == "recoloured" else info.fps
    frames = read_frames(info, info.frame_at(np.arange(0, info.duration, 1 / rate)), size).astype(np.float32)
    if kind == "recoloured":
        frames = 0.85 * frames + np.array([28, 20, 12], np.float32)
    if kind == "small":
        size = max(16, size[0] // 2), max(16, size[1] * 11 // 20)
        frames = np.stack([cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in frames])
        frames = 1.15 * frames - 10
    with av.open(str(path), "w") as container:
        quality = {"coarse": "35", "recoloured": "28", "small": "30"}[kind]
        stream = container.add_stream("libx264", Fraction(rate).limit_denominator(1001), options={"crf": quality})
        stream.height, stream.width, stream.pix_fmt = size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p"
        for frame in np.clip(frames, 0, 255).astype(np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame[: stream.height, : stream.width], "rgb24")))
        container.mux(stream.encode())


def outcomes(manifest: Manifest, every: int) -> Iterator[tuple[str, bool, bool]]:
    """(kind of copy, whether the original moves, whether the copy is found) of every n-th video."""
    with TemporaryDirectory() as folder:
        for row in range(0, len(manifest), every):
            original, info = manifest.row(row)["fingerprint"], manifest.video(row)
            if original is None or not 8 <= info.frames <= LONGEST:
                continue
            moves = unpack(np.frombuffer(original, np.uint8)[None])[1][0, :, 0].sum() >= 3
            for kind in COPIES:
                path = Path(folder) / "copy.mp4"
                copy(info, kind, path)
                both = np.frombuffer(original + (fingerprint(probe(path)) or bytes(BYTES)), np.uint8)
                yield kind, bool(moves), len(near_pairs(both.reshape(2, BYTES))) == 1


def seconds_for(count: int) -> float:
    """Time to compare random fingerprints of videos that all move."""
    prints = np.random.default_rng(0).integers(0, 256, (count, BYTES), dtype=np.uint8)
    prints.reshape(count, -1, 16)[:, :, 8] |= 128
    start = time.perf_counter()
    near_pairs(prints)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print, and write everything to `--json` where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    record: dict[str, object] = {}
    found: list[tuple[str, bool, bool]] = []
    for folder in arguments.folders:
        report = scan(folder, labels="none")
        videos = len(report.manifest)
        print(f"{folder.name}: {videos} videos, {videos * (videos - 1) // 2:,} pairs, near-identical:")
        for group in report.near_duplicates:
            print(f"  {' ~ '.join(group)}")
        record[folder.name] = {"videos": videos, "groups": report.near_duplicates}
        found += outcomes(report.manifest, arguments.every)
    for kind in COPIES:
        moving = [hit for name, moves, hit in found if name == kind and moves]
        still = [hit for name, moves, hit in found if name == kind and not moves]
        print(f"{kind:<11} {sum(moving)} of {len(moving)} copies found; {len(still)} of videos in which nothing moves")
        record[kind] = {"found": sum(moving), "moving": len(moving), "still": len(still)}
    record["seconds for 20,000"] = seconds_for(20_000)
    print(f"20,000 fingerprints compared in {record['seconds for 20,000']:.1f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
