"""The manifest: reading, resolving, labels, bounds, and what is said when something is wrong."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from kinema.data.manifest import Manifest, template
from kinema.errors import DataError, VideoError
from kinema.video.probe import probe
from tests.video.rendering import write_frames, write_numbered

ROWS = [
    {"path": "a.mp4", "label": "walk", "start": 0.0, "end": 1.0, "split": "train"},
    {"path": "sub/b é.mp4", "label": "jump", "start": None, "end": None, "split": "test"},
    {"path": "a.mp4", "label": "walk", "start": 1.0, "end": None, "split": "train", "note": 3},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    (folder / "sub").mkdir()
    write_numbered(folder / "a.mp4")
    write_numbered(folder / "sub" / "b é.mp4", 10)
    return folder


@pytest.fixture
def manifest(folder):
    return Manifest.from_rows(ROWS, folder)


@pytest.fixture
def csv_file(tmp_path):
    """Function: a CSV file with these lines."""

    def write(*lines, name="list.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def test_rows_columns_and_paths(manifest, folder):
    assert len(manifest) == 3
    assert manifest.columns == ["path", "label", "start", "end", "split", "note"]
    assert manifest.column("note") == [None, None, 3]
    assert manifest.row(1) == {**ROWS[1], "note": None}
    assert manifest.path(1) == folder / "sub" / "b é.mp4"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_writing_and_reading_give_the_same(manifest, folder, suffix):
    file = folder / f"set{suffix}"
    manifest.write(file)
    again = Manifest.read(file)
    assert [again.row(i) for i in range(3)] == [manifest.row(i) for i in range(3)]
    assert again.digest() == manifest.digest()
    assert again.path(2) == manifest.path(2)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_paths_hold_from_the_folder_written_to(manifest, folder, tmp_path, suffix):
    above, elsewhere = folder.parent / f"above{suffix}", tmp_path / "deep" / f"list{suffix}"
    manifest.write(above)
    manifest.write(elsewhere)
    assert Manifest.read(above).column("path")[1] == f"{folder.name}/sub/b é.mp4"
    assert Manifest.read(elsewhere).column("path")[1] == str(folder / "sub" / "b é.mp4")
    assert Manifest.read(elsewhere).path(0).samefile(folder / "a.mp4")


def test_a_failed_write_leaves_the_old_file(manifest, tmp_path, monkeypatch):
    file = tmp_path / "set.parquet"
    manifest.write(file)
    before = file.read_bytes()

    def fail(table, sink):
        sink.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        manifest.write(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["set.parquet"]


@pytest.mark.parametrize("alias", ["file", "video", "filename"])
def test_aliases_of_path(csv_file, alias):
    path = csv_file(f"label,{alias}", "x,clip.mp4")
    assert Manifest.read(path, check_files=False).columns == ["label", "path"]


def test_a_path_column_beats_its_aliases(csv_file):
    path = csv_file("file,path", "x,clip.mp4")
    assert Manifest.read(path, check_files=False).row(0) == {"file": "x", "path": "clip.mp4"}


def test_text_stays_text_and_seconds_become_numbers(csv_file):
    path = csv_file("path,label,group,start,end,length", "2020-01-01,007,1,1,,5", "b,NA,2,2,3.5,6")
    manifest = Manifest.read(path, check_files=False)
    first = {"path": "2020-01-01", "label": "007", "group": "1", "start": 1.0, "end": None, "length": 5}
    assert [manifest.row(0), manifest.row(1)["label"]] == [first, "NA"]


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["walk", "jump", "walk"], ["jump", "walk"], [1, 0, 1]),
        (["10", "9", "10"], ["9", "10"], [1, 0, 1]),
        ([10, 9, -1], ["-1", "9", "10"], [2, 1, 0]),
        (["010", "9", "10"], ["010", "10", "9"], [0, 2, 1]),
    ],
)
def test_labels_are_numbered_in_sorted_order(tmp_path, labels, names, numbers):
    rows = [{"path": f"{i}.mp4", "label": label} for i, label in enumerate(labels)]
    found, classes = Manifest.from_rows(rows, tmp_path).labels()
    assert classes == names
    assert found.dtype == np.int64
    assert found.tolist() == numbers


@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_label_is_told_by_row(tmp_path, missing):
    rows = [{"path": "a.mp4", "label": "x"}, {"path": "b.mp4", "label": missing}]
    with pytest.raises(DataError, match=r"row 1 \(b.mp4\) has no 'label' \(1 of 2 rows"):
        Manifest.from_rows(rows, tmp_path).labels()


def test_bounds_default_to_the_whole_video(manifest):
    assert manifest.bounds(0) == (0.0, 1.0)
    assert manifest.bounds(1) == pytest.approx((0.0, 0.4))
    assert manifest.bounds(2) == pytest.approx((1.0, 1.6))


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (0.5, 0.5), (1, 0.5), (1.6, None), (9, 10)])
def test_an_empty_segment_is_told(folder, start, end):
    manifest = Manifest.from_rows([{"path": "a.mp4", "start": start, "end": end}], folder)
    with pytest.raises(DataError, match=r"row 0 \(a.mp4\): segment .* is empty or outside the video \(0 to 1.6 s\)"):
        manifest.bounds(0)


def test_an_end_beyond_the_video_is_its_end(folder):
    manifest = Manifest.from_rows([{"path": "a.mp4", "start": 1, "end": 5}, {"path": "a.mp4", "end": np.nan}], folder)
    assert [manifest.bounds(0), manifest.bounds(1)] == [pytest.approx((1, 1.6)), pytest.approx((0, 1.6))]


def test_videos_come_from_the_stored_index_without_probing(folder, monkeypatch):
    info = probe(folder / "a.mp4")
    rows = [{"path": "a.mp4", **info.to_columns()}]
    monkeypatch.setattr("kinema.data.manifest.probe", lambda path, fps: pytest.fail("probed"))
    manifest = Manifest.from_rows(rows, folder)
    assert np.array_equal(manifest.video(0).pts, info.pts)
    assert manifest.bounds(0) == (0.0, info.duration)


def test_other_videos_are_probed_once(folder, monkeypatch):
    seen = []
    monkeypatch.setattr("kinema.data.manifest.probe", lambda path, fps: seen.append(str(path)) or probe(path))
    manifest = Manifest.from_rows(ROWS, folder)
    assert [manifest.video(i).frames for i in (0, 1, 2, 0)] == [40, 10, 40, 40]
    assert len(seen) == 2


def test_many_videos_do_not_fill_the_memory(folder, monkeypatch):
    monkeypatch.setattr("kinema.data.manifest._OPENED_AT_ONCE", 1)
    manifest = Manifest.from_rows(ROWS, folder)
    assert [manifest.video(i).frames for i in (0, 1, 0, 1)] == [40, 10, 40, 10]
    assert len(manifest._infos) == 1


def test_columns_of_the_users_own_do_not_pass_for_a_scan(folder):
    """`index` and `duration` are common names; only `frame_index` marks a scanned row."""
    manifest = Manifest.from_rows([{"path": "a.mp4", "index": 7, "duration": 99.0, "frames": 1}], folder)
    assert manifest.video(0).frames == 40
    assert manifest.bounds(0) == pytest.approx((0, 1.6))


def test_a_video_that_changed_since_the_scan_is_told(tmp_path):
    path = write_numbered(tmp_path / "a.mp4")
    rows = [{"path": "a.mp4", **probe(path).to_columns()}]
    write_numbered(path, 10)
    with pytest.raises(VideoError, match=r"changed since the scan \(\d+ bytes then, \d+ now\); scan it again"):
        Manifest.from_rows(rows, tmp_path).video(0)
    path.unlink()
    with pytest.raises(VideoError, match="no such file; scan the data again"):
        Manifest.from_rows(rows, tmp_path).video(0)


def test_select_keeps_order_and_repetition(manifest):
    chosen = manifest.select([2, 1, 2])
    assert [row["start"] for row in map(chosen.row, range(3))] == [1.0, None, 1.0]
    assert chosen.root == manifest.root
    assert manifest.select(np.flatnonzero(np.array(manifest.column("split")) == "test")).column("label") == ["jump"]
    with pytest.raises(DataError, match="no rows"):
        manifest.select([])


def test_require_names_who_needs_what(manifest):
    manifest.require(("path", "label"), "method 'sts'")
    with pytest.raises(DataError, match=r"method 'vatt' needs the columns 'audio', 'text', .* has path, label"):
        manifest.require(("path", "audio", "text"), "method 'vatt'")
    with pytest.raises(DataError, match="'speed'"):
        manifest.column("speed")


def test_other_files_resolve_too(folder):
    manifest = Manifest.from_rows([{"path": "a.mp4", "masks": "m/a"}, {"path": "a.mp4", "masks": None}], folder)
    assert manifest.file(0, "masks") == folder / "m" / "a"
    with pytest.raises(DataError, match=r"row 1 \(a.mp4\) names no file in column 'masks'"):
        manifest.file(1, "masks")


def test_digest_tells_every_cell_and_the_order(manifest):
    assert manifest.digest() == Manifest.from_rows(ROWS, "/elsewhere").digest()
    changed = [{**row, "start": 0.25} if row["start"] == 0 else row for row in ROWS]
    others = [Manifest.from_rows(changed, "."), manifest.select([1, 0, 2]), manifest.select([0, 1])]
    assert len({manifest.digest(), *(other.digest() for other in others)}) == 4


def test_pickling_leaves_opened_videos_behind(manifest, folder):
    fresh = len(pickle.dumps(manifest))
    manifest.video(0)
    again = pickle.loads(pickle.dumps(manifest))
    assert len(pickle.dumps(manifest)) == fresh
    assert again.table.equals(manifest.table)
    assert again.video(1).frames == 10


def test_pickling_a_selection_does_not_drag_the_whole_table():
    table = Manifest.from_rows([{"path": f"{i:09d}.mp4"} for i in range(20_000)], ".")
    assert len(pickle.dumps(table.select([5, 7]))) < 2000


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("label", "x"), "no column 'path' .*columns: label"),
        (("path,label",), "has no rows"),
        (("",), "cannot be read as csv"),
        (("path,label", "a,b,c"), "cannot be read as csv"),
        (("path,path", "a,b"), "two columns have the same name"),
        (("path,start", "a,soon"), "cannot be read as csv"),
    ],
)
def test_unusable_lists_are_told(csv_file, lines, message):
    path = csv_file(*lines)
    with pytest.raises(DataError, match=message) as caught:
        Manifest.read(path)
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)


def test_missing_files_are_told_by_row_with_the_remedy(csv_file, tmp_path):
    (tmp_path / "here.mp4").touch()
    path = csv_file("path", "here.mp4", "gone.mp4", "lost.mp4")
    with pytest.raises(DataError, match=rf"row 1 names {tmp_path}/gone.mp4.*\(2 of 3 rows\).*own folder"):
        Manifest.read(path)
    assert len(Manifest.read(path, check_files=False)) == 3


def test_manifests_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"none.csv: no such manifest; make one with  kinema scan"):
        Manifest.read(tmp_path / "none.csv")
    (tmp_path / "list.txt").touch()
    with pytest.raises(DataError, match=r"'.txt'"):
        Manifest.read(tmp_path / "list.txt")
    (tmp_path / "junk.parquet").write_text("junk")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        Manifest.read(tmp_path / "junk.parquet")
    with pytest.raises(DataError, match="no rows"):
        Manifest.from_rows([], tmp_path)


def test_mixed_kinds_of_values_are_told(tmp_path):
    with pytest.raises(DataError, match="column 'label' mixes kinds of values"):
        Manifest.from_rows([{"path": "a", "label": 1}, {"path": "b", "label": "x"}], tmp_path)


def test_unknown_columns_of_parquet_are_kept(tmp_path):
    table = pa.table({"path": ["a.mp4"], "embedding": [[1.0, 2.0]]})
    pq.write_table(table, tmp_path / "set.parquet")
    assert Manifest.read(tmp_path / "set.parquet", check_files=False).row(0)["embedding"] == [1.0, 2.0]


def test_template_is_a_list_to_fill_in(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(template(["label", "start", "end", "audio", "path"]))
    manifest = Manifest.read(path, check_files=False)
    assert manifest.columns == ["path", "label", "start", "end", "audio"]
    assert manifest.row(0)["end"] > manifest.row(0)["start"] == 0.0


def test_csv_leaves_the_binary_index_out(folder, tmp_path):
    rows = [{"path": "a.mp4", **probe(folder / "a.mp4").to_columns()}]
    Manifest.from_rows(rows, folder).write(tmp_path / "set.csv")
    assert "frame_index" not in pa_csv.read_csv(tmp_path / "set.csv").column_names
    assert Manifest.read(tmp_path / "set.csv").video(0).frames == 40


ASIDE = (("b\udcff.mp4", "its name is not valid Unicode"), ("c, d.mp4", 'says "no"'))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_was_set_aside_is_remembered(folder, tmp_path, suffix):
    file = tmp_path / f"set{suffix}"
    manifest = Manifest.from_rows(ROWS, folder, ASIDE[1:])
    manifest.write(file)
    read = Manifest.read(file)
    for found in (read, read.select([0]), pickle.loads(pickle.dumps(read))):
        assert found.set_aside == ASIDE[1:]
    assert read.digest() == Manifest(read.table, read.root).digest()
    Manifest.from_rows(ROWS, folder).write(file)
    assert Manifest.read(file).set_aside == ()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_names_that_are_no_unicode_can_be_set_aside(folder, tmp_path):
    manifest = Manifest.from_rows(ROWS, folder, ASIDE)
    for name in ("set.parquet", "set.csv"):
        manifest.write(tmp_path / name)
    assert Manifest.read(tmp_path / "set.parquet").set_aside == ASIDE
    assert Manifest.read(tmp_path / "set.csv").set_aside[0][0] == r"b\udcff.mp4"


def test_frame_folders_of_an_unscanned_list_take_their_rate_from_it(tmp_path):
    write_frames(tmp_path / "walk", range(6))
    manifest = Manifest.from_rows([{"path": "walk", "fps": 12.0}], tmp_path)
    assert manifest.bounds(0) == pytest.approx((0, 0.5))
    assert Manifest.from_rows([{"path": "walk"}], tmp_path).video(0).fps == 25
