"""Writing a store: whatever happens in between, the end is the same, whole, and within its bounds."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.data.packed import (
    Settings,
    check_room,
    estimate,
    finish,
    open_store,
    read_row,
    verify,
    write_files,
    writing,
)
from kinema.data.packed.workers import run_in_processes
from kinema.errors import DataError, KinemaError, VideoError
from kinema.video.decode import read_frames
from tests.data.packed.stores import SIZE, Deadly, contents, job_of, store_of
from tests.helpers import damage

PICTURE = 3 * SIZE[0] * SIZE[1]
KILLED = """
import os, signal, sys
from pathlib import Path
from kinema.data.manifest import Manifest
from kinema.data.packed import writing
from tests.data.packed.stores import store_of
original, count = writing.encode, 0
def encode(picture, layout):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(picture, layout)
writing.encode = encode
store_of(Manifest.read(sys.argv[1]), Path(sys.argv[2]), format=sys.argv[4], file_bytes=17 * 3 * 24 * 32)
"""


class Stop(Exception):
    pass


@pytest.fixture
def broken_videos(tiny_videos, tmp_path):
    """Row 2 was damaged after the scan, row 4 vanished."""
    shutil.copytree(tiny_videos.root, tmp_path / "videos")
    manifest = Manifest(tiny_videos.table, tmp_path / "videos")
    damage(manifest.path(2))
    manifest.path(4).unlink()
    return manifest


@pytest.mark.parametrize("format", ["raw", "intra"])
def test_a_killed_store_goes_on_and_ends_the_same(tiny_videos, tmp_path, format):
    tiny_videos.write(tmp_path / "m.parquet")
    manifest = Manifest.read(tmp_path / "m.parquet")
    store_of(manifest, tmp_path / "whole", format=format, file_bytes=17 * PICTURE)
    killed = [sys.executable, "-c", KILLED, str(tmp_path / "m.parquet"), str(tmp_path / "killed"), "60", format]
    assert subprocess.run(killed, check=False).returncode == -9
    there = {file: file.stat().st_mtime_ns for file in (tmp_path / "killed").glob("0000[012].*")}
    assert len(there) >= 9 and not (tmp_path / "killed" / "manifest.parquet").exists()
    assert list((tmp_path / "killed").glob(".*.tmp"))
    with pytest.raises(DataError, match="is not finished: run the command that began it once more"):
        open_manifest(tmp_path / "killed")
    store_of(manifest, tmp_path / "killed", format=format, file_bytes=17 * PICTURE)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert all(file.stat().st_mtime_ns == time for file, time in there.items())
    assert Manifest.read(tmp_path / "killed" / "manifest.parquet").column("packed_hash") == Manifest.read(
        tmp_path / "whole" / "manifest.parquet"
    ).column("packed_hash")
    assert verify(tmp_path / "killed") == []


def test_an_error_leaves_no_half_file(tiny_videos, tmp_path, monkeypatch):
    job = job_of(tiny_videos, tmp_path / "store", file_bytes=17 * PICTURE)

    def fails(*arguments):
        raise Stop

    monkeypatch.setattr(writing, "encode", fails)
    with pytest.raises(Stop):
        write_files(job)
    assert sorted(file.name for file in (tmp_path / "store").iterdir()) == ["plan.npz", "store.json"]
    assert job.missing() == list(range(job.layout.files))


@pytest.mark.parametrize("format", ["raw", "intra"])
def test_broken_videos_are_left_out_listed_and_cost_the_others_nothing(broken_videos, tmp_path, format):
    job = job_of(broken_videos, tmp_path / "store", format=format, file_bytes=17 * PICTURE)
    assert write_files(job)
    manifest, quarantined = finish(job)
    assert [path for path, _ in quarantined] == [broken_videos.row(2)["path"], broken_videos.row(4)["path"]]
    assert "damaged" in quarantined[0][1] and "no such file" in quarantined[1][1]
    assert manifest.set_aside == tuple(quarantined)
    assert manifest.column("hash") == [broken_videos.row(i)["hash"] for i in (0, 1, 3, 5)]
    limit = 0 if format == "raw" else 40
    for row, source in enumerate((0, 1, 3, 5)):
        expected = read_frames(broken_videos.video(source), np.arange(40), SIZE).astype(int)
        assert np.abs(read_row(manifest, row, np.arange(40)) - expected).mean() <= limit
    assert verify(tmp_path / "store") == []


def test_nothing_but_broken_videos_is_an_error(tiny_videos, tmp_path):
    shutil.copytree(tiny_videos.root, tmp_path / "videos")
    gone = Manifest(tiny_videos.table, tmp_path / "videos")
    for row in range(6):
        damage(gone.path(row))
    job = job_of(gone, tmp_path / "store")
    write_files(job)
    with pytest.raises(DataError, match=r"none of 6 videos can be read; the first, .*damaged"):
        finish(job)
    for row in range(6):
        gone.path(row).unlink()
    with pytest.raises(DataError, match=r"no video has anything to store \(6 cannot be read"):
        job_of(Manifest(tiny_videos.table, tmp_path / "videos"), tmp_path / "other")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_video_that_kills_the_reader_is_found_and_skipped(workers):
    sizes = list(run_in_processes(Deadly({4, 10}), range(4), workers))
    assert sorted(sizes) == [2, 2, 3, 3]


def test_processes_that_cannot_work_at_all_are_no_endless_loop():
    with pytest.raises(KinemaError, match="die at once"):
        list(run_in_processes(Silent(), range(2), 1))


class Silent(Deadly):
    def __init__(self):
        super().__init__(())

    def write_file(self, file, *, skip, notes):
        sys.stdout = None
        import os

        os._exit(1)


def test_processes_write_what_one_process_writes(tiny_videos, tmp_path):
    store_of(tiny_videos, tmp_path / "alone", file_bytes=60 * PICTURE)
    job = job_of(tiny_videos, tmp_path / "shared", file_bytes=60 * PICTURE)
    ticks = []
    assert write_files(job, workers=2, progress=lambda *tick: ticks.append(tick))
    finish(job)
    assert ticks == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert contents(tmp_path / "alone") == contents(tmp_path / "shared")


def test_machines_share_a_store_by_parts(tiny_videos, tmp_path):
    store_of(tiny_videos, tmp_path / "alone", file_bytes=17 * PICTURE)
    jobs = [job_of(tiny_videos, tmp_path / "shared", file_bytes=17 * PICTURE) for _ in range(2)]
    assert not write_files(jobs[0], part=(1, 2))
    assert jobs[1].missing() == [k for k in range(15) if k % 2]
    assert write_files(jobs[1], part=(2, 2))
    finish(jobs[1])
    assert contents(tmp_path / "alone") == contents(tmp_path / "shared")


def test_the_size_is_said_beforehand(tiny_videos, tmp_path):
    for format, tolerance in (("raw", 0), ("intra", 0.3)):
        job = job_of(tiny_videos, tmp_path / format, format=format, file_bytes=17 * PICTURE)
        cost = estimate(tiny_videos, job.plan, job.layout)
        assert cost.exact == (format == "raw") and cost.picture_seconds > 0
        write_files(job)
        files = [f for f in (tmp_path / format).iterdir() if f.suffix in (".npy", ".bin")]
        assert cost.bytes == pytest.approx(sum(f.stat().st_size for f in files), rel=tolerance, abs=0)


def test_a_store_that_will_not_fit_is_refused(tmp_path):
    check_room(tmp_path / "not" / "yet", 1000, 1000)
    with pytest.raises(DataError, match="would take 1,001 bytes, the budget is 1,000: raise --budget"):
        check_room(tmp_path, 1001, 1000)
    with pytest.raises(DataError, match="but the disk of"):
        check_room(tmp_path, 10**18, None)


def test_a_budget_stops_what_grows_beyond_its_estimate_and_more_goes_on(tiny_videos, tmp_path):
    job = job_of(tiny_videos, tmp_path / "store", format="intra", file_bytes=17 * PICTURE)
    with pytest.raises(DataError, match=r"has reached its budget .* after \d+ of 15 files"):
        write_files(job, budget=20_000)
    assert 0 < len(job.missing()) < 15
    assert write_files(job, budget=10**6)


def test_a_folder_of_something_else_is_not_touched(tiny_videos, tmp_path):
    store_of(tiny_videos, tmp_path / "store")
    with pytest.raises(DataError, match=r"begun otherwise \(width was 32, now 40\)"):
        job_of(tiny_videos, tmp_path / "store", size=(24, 40))
    with pytest.raises(DataError, match="begun from other rows: the manifest"):
        job_of(tiny_videos.select([0, 1]), tmp_path / "store")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="exists and is no packed store"):
        job_of(tiny_videos, tmp_path / "other")
    with pytest.raises(DataError, match="is no packed store"):
        verify(tmp_path / "other")


@pytest.mark.parametrize("format", ["raw", "intra"])
def test_damage_is_found_and_named(tiny_videos, tmp_path, format):
    store = store_of(tiny_videos, tmp_path / "store", format=format, file_bytes=60 * PICTURE)
    file = sorted((tmp_path / "store").glob("00001.[nb]*"))[0]
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 4  # the last picture of the second file: number 119, of the third video
    file.write_bytes(flipped)
    assert verify(tmp_path / "store") == [f"{store.row(2)['path']}: damaged in {file}"]
    file.write_bytes(whole[: len(whole) // 2])
    assert len(verify(tmp_path / "store")) >= 1
    open_store.cache_clear()
    with pytest.raises(VideoError, match=r"00001\.(npy|bin)"):
        read_row(store, 2, [30, 39])
    file.write_bytes(whole)
    open_store.cache_clear()
    assert verify(tmp_path / "store") == [] and len(read_row(store, 2, [30, 39])) == 2


def test_a_store_of_another_version_is_refused(tiny_videos, tmp_path):
    store_of(tiny_videos, tmp_path / "store")
    path = tmp_path / "store" / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(DataError, match=r"version 99, this kinema reads \d"):
        verify(tmp_path / "store")


def test_small_stores_are_still_cut_for_all_cores(tiny_videos, tmp_path):
    assert job_of(tiny_videos, tmp_path / "store").layout.files == 1  # 240 pictures are less than one cut
    assert Settings("frames", "raw", SIZE).file_bytes == 1 << 28
