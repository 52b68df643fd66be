"""From rows to windows: in proportion to duration, without overlap, inside segments."""

import numpy as np
import pytest

from kinema.data.index import Index, by_duration, per_row
from kinema.data.manifest import Manifest
from kinema.errors import DataError
from tests.helpers import CLIP, FRAMES, RATE, moving_texture, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos of 40, 20 and 5 frames at 10 fps, one at 30 fps in milliseconds, one with a pause in the middle."""
    folder = tmp_path_factory.mktemp("index")
    for name, frames in {"long": 40, "middle": 20, "short": 5}.items():
        write_video(folder / f"{name}.mp4", moving_texture(1, (0, 1), frames=frames))
    thirty = np.round(np.arange(48) * 1000 / 30).astype(int)
    write_video(folder / "milliseconds.mkv", moving_texture(1, (0, 1), frames=48), codec="ffv1", stamps=thirty)
    pause = np.arange(24) * 100 + np.where(np.arange(24) >= 12, 950, 0)
    write_video(folder / "pause.mkv", moving_texture(1, (0, 1), frames=24), codec="ffv1", stamps=pause)
    return folder


def manifest_of(folder, *rows):
    return Manifest.from_rows([{"path": row} if isinstance(row, str) else row for row in rows], folder)


def windows(index):
    """Frame indices of every sample, by row."""
    found = {}
    for i, row in enumerate(index.rows.tolist()):
        found.setdefault(row, []).append(index.frames(i).tolist())
    return found


def test_samples_are_in_proportion_to_duration(folder):
    index = by_duration(manifest_of(folder, "long.mp4", "middle.mp4", "short.mp4"), frames=CLIP)
    assert np.bincount(index.rows).tolist() == [FRAMES // CLIP, 2, 1]
    assert len(index) == 8


@pytest.mark.parametrize("name", ["long.mp4", "middle.mp4", "short.mp4", "milliseconds.mkv", "pause.mkv"])
@pytest.mark.parametrize("frames", [1, 7, 16])
def test_windows_hold_their_frames_and_never_overlap(folder, name, frames):
    """Also where stored times are rounded to milliseconds, and where the file pauses."""
    index = by_duration(manifest_of(folder, name), frames=frames)
    total = index.video(0).frames
    found = windows(index)[0]
    assert [frame for window in found for frame in window] == list(range(total))
    assert [len(window) for window in found[:-1]] == [frames] * (max(1, total // frames) - 1)
    assert len(found[-1]) == total if total < frames else frames <= len(found[-1]) < 2 * frames


def test_segments_are_respected(folder):
    rows = [{"path": "long.mp4", "start": 0.5, "end": 2.1}, {"path": "long.mp4", "start": 3.0, "end": 4.0}]
    found = windows(by_duration(manifest_of(folder, *rows), frames=CLIP))
    assert found == {0: [list(range(5, 13)), list(range(13, 21))], 1: [list(range(30, 40))]}


def test_a_segment_shorter_than_a_window_is_one_sample(folder):
    rows = [{"path": "long.mp4", "start": 1.0, "end": 1.3}, {"path": "long.mp4", "start": 1.04, "end": 1.06}]
    found = windows(by_duration(manifest_of(folder, *rows), frames=CLIP))
    assert found == {0: [[10, 11, 12]], 1: [[10]]}


def test_a_rate_resamples_by_time(folder):
    manifest = manifest_of(folder, "long.mp4", "milliseconds.mkv")
    index = by_duration(manifest, frames=4, rate=5.0)
    assert np.bincount(index.rows).tolist() == [5, 2]
    assert index.frames(1, rate=5.0).tolist() == [8, 10, 12, 14]
    second = int(np.flatnonzero(index.rows == 1)[0])
    assert index.frames(second, rate=5.0).tolist() == [0, 6, 12, 18]
    assert [len(index.frames(i, rate=5.0)) for i in range(5)] == [4, 4, 4, 4, 4]


def test_a_rate_above_the_files_own_repeats_frames(folder):
    index = by_duration(manifest_of(folder, "short.mp4"), frames=10, rate=2.0 * RATE)
    assert index.frames(0, rate=2.0 * RATE).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_per_row_is_one_sample_per_row(folder):
    rows = [{"path": "long.mp4"}, {"path": "short.mp4"}, {"path": "long.mp4", "start": 2.0, "end": 2.4}]
    index = per_row(manifest_of(folder, *rows))
    assert index.rows.tolist() == [0, 1, 2]
    assert [len(index.frames(i)) for i in range(3)] == [40, 5, 4]


def test_take_keeps_the_given_order(folder):
    index = by_duration(manifest_of(folder, "long.mp4", "middle.mp4"), frames=CLIP)
    taken = index.take([6, 0, 6])
    assert taken.rows.tolist() == [1, 0, 1]
    assert taken.frames(0).tolist() == index.frames(6).tolist()


def test_an_impossible_segment_names_row_and_columns(folder):
    manifest = manifest_of(folder, {"path": "long.mp4", "start": 5.0, "end": 6.0})
    with pytest.raises(DataError, match=r"row 0 .*long\.mp4.* columns start and end"):
        by_duration(manifest, frames=CLIP)


def test_an_index_belongs_to_its_manifest(folder):
    manifest = manifest_of(folder, "long.mp4", "short.mp4")
    index = Index(manifest, np.array([1]), np.array([0.0]), np.array([0.5]))
    assert index.video(0).path.name == "short.mp4"
