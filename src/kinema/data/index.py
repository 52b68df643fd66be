"""From the rows of a manifest to the samples of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.video.probe import VideoInfo


@dataclass(frozen=True)
class Index:
    """Samples as windows of manifest rows.

    Attributes:
        manifest: the table.
        rows: int64 [N], the row of each sample.
        starts, ends: float64 [N], the window in seconds after the first frame of the file.
        short: windows that were left out because they are too short for one sample of the method.
    """

    manifest: Manifest
    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    short: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def video(self, i: int) -> VideoInfo:
        """Frame times and sizes of the file that sample `i` lies in."""
        return self.manifest.video(int(self.rows[i]))

    def frames(self, i: int, *, rate: float | None = None) -> npt.NDArray[np.int64]:
        """All frame indices inside the window of sample `i`, at `rate` frames per second (None: every frame).

        Never empty: a window shorter than one frame holds the frame on show at its start.
        """
        video, start, end = self.video(i), float(self.starts[i]), float(self.ends[i])
        if rate is None:
            found = np.arange(*_span(video, start, end), dtype=np.int64)
        else:
            # Half a microsecond of slack, so that a bound computed as k * period does not lose its frame to rounding.
            found = video.frame_at(np.arange(start, end - 5e-7, 1.0 / rate) + 5e-7)
        return found if len(found) else video.frame_at(np.array([start]))

    def take(self, selection: Sequence[int] | npt.NDArray[np.int64]) -> Index:
        """The samples numbered by `selection`, in that order."""
        chosen = np.asarray(selection, np.int64)
        return Index(self.manifest, self.rows[chosen], self.starts[chosen], self.ends[chosen], self.short)


def by_duration(manifest: Manifest, *, frames: int, rate: float | None = None) -> Index:
    """Cut every row into non-overlapping windows of `frames` frames, so that long files weigh as long as they are.

    A row shorter than one window is one sample; the last window of a row takes what is left over (STS, TPAMI 2021,
    Sec. 4.2: "non-overlapping 16-frame clips"). `rate` is the sampled rate; None means each file's own.
    """
    bounds = _bounds(manifest)
    starts = [_window_starts(manifest, row, bounds[row], frames, rate) for row in range(len(manifest))]
    counts = [len(part) for part in starts]
    joined = np.concatenate(starts)
    ends = np.append(joined[1:], 0.0)
    ends[np.cumsum(counts) - 1] = bounds[:, 1]
    return Index(manifest, np.repeat(np.arange(len(manifest)), counts), joined, ends)


def per_row(manifest: Manifest) -> Index:
    """One sample per row, whatever its length (STS on Kinetics: one random clip per video and epoch)."""
    bounds = _bounds(manifest)
    return Index(manifest, np.arange(len(manifest)), bounds[:, 0], bounds[:, 1])


def _bounds(manifest: Manifest) -> npt.NDArray[np.float64]:
    if not len(manifest):
        raise DataError("the manifest has no rows: nothing to train on. Scan a folder that holds videos.")
    return np.array([manifest.bounds(row) for row in range(len(manifest))], np.float64).reshape(-1, 2)


def _window_starts(
    manifest: Manifest, row: int, bounds: npt.NDArray[np.float64], frames: int, rate: float | None
) -> npt.NDArray[np.float64]:
    """Where the windows of one row begin, in seconds; at the file's own rate frames are counted, not computed."""
    start, end = float(bounds[0]), float(bounds[1])
    if rate is not None:
        count = max(1, int((end - start) * rate / frames + 1e-6))
        return start + np.arange(count, dtype=np.float64) * (frames / rate)
    video = manifest.video(row)
    first, stop = _span(video, start, end)
    starts = video.times[first : stop - frames + 1 : frames]
    return np.concatenate([[start], starts[1:]])


def _span(video: VideoInfo, start: float, end: float) -> tuple[int, int]:
    """First frame of the window [start, end) and the one after its last.

    Times are stored rounded to a tick, so a frame may begin up to half a tick (at most 1/20 interval) early.
    """
    early = min(float(video.time_base) / 2, video.interval / 20) + 5e-7
    first, stop = np.searchsorted(video.times, (start - early, end - early))
    return int(first), int(stop)
