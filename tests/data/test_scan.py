"""From folders and lists to manifests: what is found, passed over, quarantined, and survived."""

import csv
import os
import shutil
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.data.scan import VIDEO_SUFFIXES, scan
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.video import worker
from kinema.video.decode import read_frames
from tests.video.rendering import numbers_in, write_frames, write_numbered

# A probing process whose decoder dies or hangs on files of certain names; it also prints, as libraries do.
TRAITOR = """
import os, time
import kinema.video.worker as worker
probe = worker.probe
def survey(path, fps):
    name = os.path.basename(path)
    print("noise", flush=True)
    if "crash" in name:
        os._exit(139)
    if "hang" in name:
        time.sleep(60)
        open(path + ".slept", "w").close()
    if "odd" in name:
        raise ZeroDivisionError("division by zero")
    return probe(path, fps=fps)
worker.probe = survey
worker.main()
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_numbered(tmp_path_factory.mktemp("clip") / "clip.mp4", 10)


@pytest.fixture
def tree(tmp_path, clip):
    """Function: a folder with copies of one clip under these names; a name after "!" gets junk for content."""

    def make(*names):
        for name in names:
            path = tmp_path / "set" / name.removeprefix("!")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no video at all" * 9 if name.startswith("!") else clip.read_bytes())
        return tmp_path / "set"

    return make


def test_a_folder_with_everything_in_it(tree, tmp_path):
    folder = tree(
        "b/2.mp4", "a.MP4", "-dash-.mp4", "sub dir/é中.mkv", "!broken.avi", ".hidden.mp4", ".git/x.mp4", "n.txt"
    )
    shutil.copy(write_numbered(tmp_path / "other.mp4", 12), folder / "b" / "1.mp4")
    (folder / "README").touch()
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "linked.mp4").symlink_to(folder / "b" / "1.mp4")
    (folder / "b" / "round").symlink_to(folder)
    seen = []
    report = scan(folder, workers=2, progress=lambda done, count: seen.append((done, count)))
    assert report.manifest.column("path") == [
        "-dash-.mp4",
        "a.MP4",
        "b/1.mp4",
        "b/2.mp4",
        "linked.mp4",
        "sub dir/é中.mkv",
    ]
    assert report.manifest.column("frames") == [10, 10, 12, 10, 12, 10]
    assert "label" not in report.manifest.columns
    assert [path for path, _ in report.quarantined] == ["broken.avi", "gone.mp4"]
    assert report.quarantined[0][1].startswith("not a video")
    assert report.quarantined[1][1] == "broken link"
    assert all(Path(path).suffix.lower() in VIDEO_SUFFIXES for path in report.manifest.column("path"))
    assert report.duplicates == [["-dash-.mp4", "a.MP4", "b/2.mp4", "sub dir/é中.mkv"], ["b/1.mp4", "linked.mp4"]]
    assert report.hidden == 2
    assert report.other == {".txt": 1, "": 1}
    assert seen == [(done, 8) for done in range(1, 9)]
    assert scan(folder, workers=1).manifest.table.equals(report.manifest.table)

    report.write(tmp_path / "all.parquet")
    rows = list(csv.reader((tmp_path / "all.quarantine.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [["path", "reason"], *map(list, report.quarantined)]


def test_a_scanned_manifest_reads_frames_from_parquet(tree, tmp_path):
    scan(tree("walk/1.mp4", "jump/1.mp4"), workers=1).manifest.write(tmp_path / "set.parquet")
    manifest = Manifest.read(tmp_path / "set.parquet")
    assert manifest.column("path") == ["set/jump/1.mp4", "set/walk/1.mp4"]
    assert manifest.column("label") == ["jump", "walk"]
    assert numbers_in(read_frames(manifest.video(1), [7, 2])) == [7, 2]


@pytest.mark.parametrize(
    ("names", "labels", "split", "label"),
    [
        (("a/1.mp4", "a/b/2.mp4", "c/3.mp4"), None, None, ["a", "a", "c"]),
        (("a/1.mp4", "c/3.mp4"), "none", None, None),
        (("a/1.mp4", "a/2.mp4"), None, None, None),
        (("a/1.mp4", "a/2.mp4"), "folder", None, ["a", "a"]),
        (("a/1.mp4", "c/3.mp4", "4.mp4"), None, None, None),
        (("train/a/1.mp4", "val/b/2.mp4"), None, ["train", "val"], ["a", "b"]),
        (("test/1.mp4", "train/2.mp4"), None, ["test", "train"], None),
        (("test/1.mp4", "walk/2.mp4"), None, None, ["test", "walk"]),
    ],
)
def test_labels_and_splits_of_folders(tree, monkeypatch, names, labels, split, label):
    monkeypatch.setattr("kinema.data.surveying.Prober", ProberOfNothing)
    manifest = scan(tree(*names), labels=labels, workers=1).manifest
    assert manifest.column("path") == sorted(names, key=lambda name: Path(name).parts)
    for column, wanted in {"split": split, "label": label}.items():
        assert (manifest.column(column) if column in manifest.columns else None) == wanted


class ProberOfNothing:
    """Stands in for the probing process where only names matter."""

    def columns(self, path, time_limit, fps=None):
        return {"frames": 1, "hash": str(path)}

    def close(self):
        pass


def test_a_video_outside_all_class_folders_is_told(tree):
    with pytest.raises(DataError, match=r"4.mp4: lies in no class folder"):
        scan(tree("a/1.mp4", "4.mp4"), labels="folder")


def test_crashes_and_hangs_cost_one_file_each(tree, monkeypatch):
    monkeypatch.setattr(worker, "_COMMAND", (sys.executable, "-c", TRAITOR))
    folder = tree("1.mp4", "2-crash.mp4", "3.mp4", "4-hang.mp4", "5-odd.mp4", "6.mp4")
    report = scan(folder, workers=1, time_limit=3.0)
    assert report.manifest.column("path") == ["1.mp4", "3.mp4", "6.mp4"]
    assert report.quarantined == [
        ("2-crash.mp4", "damaged: crashed the decoder"),
        ("4-hang.mp4", "damaged: took more than 3 s to read"),
        ("5-odd.mp4", "damaged: ZeroDivisionError: division by zero"),
    ]


def test_a_worker_that_cannot_start_is_no_fault_of_the_files(tree, monkeypatch):
    monkeypatch.setattr(worker, "_COMMAND", (sys.executable, "-c", "import kinema.nothing"))
    with pytest.raises(KinemaError, match=r"does not start .*No module named 'kinema.nothing'"):
        scan(tree("1.mp4"))


def test_an_interrupted_scan_ends_at_once(tree, monkeypatch):
    monkeypatch.setattr(worker, "_COMMAND", (sys.executable, "-c", TRAITOR))
    before = threading.active_count()

    def interrupt(done, count):
        raise KeyboardInterrupt

    folder = tree("1.mp4", *(f"hang{n}.mp4" for n in range(5)))
    with pytest.raises(KeyboardInterrupt):
        scan(folder, workers=2, time_limit=500, progress=interrupt)
    assert threading.active_count() == before
    assert not list(folder.glob("*.slept"))


def test_a_list_keeps_its_columns_and_segments(tree, tmp_path):
    folder = tree("1.mp4", "!2.mp4")
    rows = ["path,start,end,label,frames", "1.mp4,0,0.2,x,99", "1.mp4,0.2,,y,99", "2.mp4,,,x,99", "3.mp4,,,x,99"]
    (folder / "list.csv").write_text("\n".join(rows))
    report = scan(folder / "list.csv", workers=1)
    assert report.manifest.column("label") == ["x", "y"]
    assert report.manifest.column("frames") == [10, 10]
    assert report.manifest.bounds(1) == pytest.approx((0.2, 0.4))
    assert report.manifest.root == folder
    assert [path for path, _ in report.quarantined] == ["2.mp4", "3.mp4"]
    assert report.quarantined[1][1] == "no such file"
    assert report.duplicates == []


def test_what_was_set_aside_is_still_told_when_a_manifest_is_scanned_again(tree):
    folder = tree("1.mp4", "!2.mp4")
    report = scan(folder, workers=1)
    report.write(folder / "set.parquet")
    assert len(report.quarantined) == 1
    assert scan(folder / "set.parquet", workers=1).quarantined == report.quarantined


def test_one_file(tree):
    report = scan(tree("only.mp4") / "only.mp4")
    assert report.manifest.column("path") == ["only.mp4"]
    assert report.manifest.video(0).frames == 10
    assert np.isclose(report.manifest.column("fps")[0], 25)


def test_nothing_to_scan_is_told(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        DataError, match=r"no video found in .*\.avi .*\.mp4.*frame000001.jpg; passed over 0 hidden and 1 other files"
    ):
        scan(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        scan(tmp_path / "none")


def test_nothing_readable_is_told(tree):
    with pytest.raises(DataError, match=r"none of 2 videos can be read; the first, 1.mp4: not a video"):
        scan(tree("!1.mp4", "!2.mp4"), workers=1)


def test_names_that_are_no_unicode_are_told(tree):
    folder = tree("1.mp4")
    bad = bytes(folder) + b"/\xff.mp4"
    shutil.copy(bytes(folder / "1.mp4"), bad)
    report = scan(folder, workers=1)
    assert [reason for _, reason in report.quarantined] == ["its name is not valid Unicode: rename it"]
    report.write(folder / "all.csv")
    assert r"\udcff.mp4" in (folder / "all.quarantine.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "value"), [("labels", "folders"), ("workers", 0), ("fps", 0.0), ("layout", "folder")]
)
def test_wrong_options_are_told(tree, option, value):
    with pytest.raises(RecipeError, match=f"{option}="):
        scan(tree("1.mp4"), **{option: value})


def test_broken_files_of_the_real_world(shared_data, tmp_path):
    names = ["corrupted.mp4", "zero_byte.webm", "truncated_60pct_nasa.mp4", "sample_audio_only.mp4", "avi_named.mp4"]
    for name in [*names, "sample.avi"]:
        (tmp_path / name).symlink_to(shared_data / "difficult_files" / name)
    report = scan(tmp_path, workers=1)
    assert report.manifest.column("codec") == ["mpeg4", "mpeg4"]
    assert [path for path, _ in report.quarantined] == sorted(names[:4])
    assert report.duplicates == [["avi_named.mp4", "sample.avi"]]


def again(report, folder, **options):
    return scan(folder, previous=report.manifest, workers=1, **options)


def test_a_second_scan_reads_only_what_changed(tree, monkeypatch, tmp_path):
    folder = tree("1.mp4", "2.mp4", "!broken.mp4")
    write_frames(folder / "walk", range(4))
    first = scan(folder, workers=1)
    first.write(tmp_path / "all.parquet")
    stored = Manifest.read(tmp_path / "all.parquet")
    shutil.copy(write_numbered(tmp_path / "longer.mp4", 14), folder / "2.mp4")
    (folder / "3.mp4").write_bytes((folder / "1.mp4").read_bytes())
    seen = []
    second = scan(folder, previous=stored, workers=1, progress=lambda done, count: seen.append((done, count)))
    assert second.reused == 1
    assert second.manifest.column("frames") == [10, 14, 10]
    assert second.manifest.row(0) == first.manifest.row(0)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [path for path, _ in second.quarantined] == ["broken.mp4"]
    monkeypatch.setattr("kinema.data.surveying.Prober", ProberOfNothing)
    (folder / "broken.mp4").unlink()
    third = again(second, folder)
    assert third.reused == 3 and third.manifest.table.equals(second.manifest.table)
    assert scan(folder, previous=Manifest(stored.table.drop(["fingerprint"]), stored.root), workers=1).reused == 0


def test_files_are_known_by_size_and_time_of_change(tree):
    folder = tree("1.mp4", "2.mp4")
    first = scan(folder, workers=1)
    status = (folder / "1.mp4").stat()
    os.utime(folder / "1.mp4", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    content = (folder / "2.mp4").read_bytes()
    status = (folder / "2.mp4").stat()
    (folder / "2.mp4").write_bytes(content + b"x")
    os.utime(folder / "2.mp4", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = again(first, folder)
    assert second.reused == 0
    assert second.manifest.digest() != first.manifest.digest()  # for the size of the second
    assert second.manifest.select([0]).digest() == first.manifest.select([0]).digest()  # a new time is no new content


def test_frame_folders_are_read_again_when_an_image_or_the_rate_changed(tmp_path):
    for name in ("a", "b"):
        write_frames(tmp_path / "set" / name, range(4))
    first = scan(tmp_path / "set", workers=1, fps=10)
    assert first.layout == "frames" and first.manifest.column("fps") == [10, 10]
    assert first.manifest.column("duration") == pytest.approx([0.4, 0.4])
    assert again(first, tmp_path / "set", fps=10).reused == 2
    assert again(first, tmp_path / "set").reused == 0
    image = tmp_path / "set" / "b" / "frame000002.png"
    content, status = image.read_bytes(), image.stat()
    image.write_bytes(content)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert again(first, tmp_path / "set", fps=10).reused == 1


def test_tar_shards_are_scanned_in_place_and_again(tree, tmp_path):
    folder = tree("1.mp4", "!2.mp4")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name in ("1.mp4", "2.mp4"):
            tar.add(folder / name, name)
    report = scan(tmp_path / "shard.tar", workers=1)
    assert report.manifest.column("path") == ["shard.tar/1.mp4"]
    assert report.quarantined[0][0] == "shard.tar/2.mp4" and report.quarantined[0][1].startswith("not a video")
    report.write(tmp_path / "all.parquet")
    stored = Manifest.read(tmp_path / "all.parquet")
    assert numbers_in(read_frames(stored.video(0), [7, 2])) == [7, 2]
    assert scan(tmp_path / "shard.tar", previous=stored, workers=1).reused == 1
    assert report.manifest.column("hash") == scan(folder, workers=1).manifest.column("hash")


def test_frames_in_a_list_become_seconds_of_the_file(tree):
    folder = tree("1.mp4")
    lines = ["path,start_frame,end_frame", "1.mp4,0,10", "1.mp4,2,5", "1.mp4,,4", "1.mp4,9,99"]
    (folder / "list.csv").write_text("\n".join(lines))
    manifest = scan(folder / "list.csv", workers=1).manifest
    assert manifest.column("start") == [None, 0.08, None, 0.36]
    assert manifest.column("end") == [None, 0.2, 0.16, None]
    (folder / "list.csv").write_text("path,start_frame,end_frame,start\n1.mp4,5,7,\n1.mp4,10,12,\n1.mp4,5,7,0.1\n")
    report = scan(folder / "list.csv", workers=1)
    assert report.manifest.column("start") == [0.2, 0.1]
    assert report.quarantined == [("1.mp4", "listed from frame 10 on, but it has only 10 frames")]


def test_what_a_layout_misses_is_quarantined_with_what_cannot_be_read(tree):
    folder = tree("a/1.mp4", "!a/2.mp4")
    (folder / "train.txt").write_text("a/1.mp4 x\na/2.mp4 x\na/3.mp4 y\n")
    report = scan(folder, workers=1)
    assert report.layout == "lists" and report.evidence.startswith("lists of paths and labels: train.txt; 3 train")
    assert [path for path, _ in report.quarantined] == ["a/3.mp4", "a/2.mp4"]
    assert scan(folder, layout="folders", workers=1).manifest.columns[:2] == ["path", "frames"]
    with pytest.raises(RecipeError, match=r"layout='ucf101' is for folders, and .*1.mp4 is a file"):
        scan(folder / "a" / "1.mp4", layout="ucf101")
    with pytest.raises(RecipeError, match=r"split='2' is for folders"):
        scan(folder / "a" / "1.mp4", split=2)
