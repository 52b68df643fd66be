import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.evaluation.exposure import exposure
from kinema.evaluation.splits import file_groups, labelled, make_split


def manifest(rows, root="videos"):
    return Manifest.from_rows([{"path": f"{i}.mp4", **row} for i, row in enumerate(rows)], root)


def two_sets():
    """Two sets of three sequences with two classes each; sequence names repeat in both sets."""
    return manifest([{"label": c, "set": s, "sequence": q} for s in (1, 2) for q in (1, 2, 3) for c in "ab"])


def test_one_group_is_left_out_within_each_set():
    split = make_split(two_sets(), folds="sequence", within="set")
    assert [fold.name for fold in split.folds] == ["1/1", "1/2", "1/3", "2/1", "2/2", "2/3"]
    assert split.folds[1].train.tolist() == [0, 1, 4, 5] and split.folds[1].test.tolist() == [2, 3]
    assert split.folds[3].train.tolist() == [8, 9, 10, 11] and split.folds[3].test.tolist() == [6, 7]
    assert sorted(split.test.tolist()) == list(range(12))
    assert split.groups[6] == "2/1" and split.name == "leave-one-sequence-out"


def test_without_within_the_same_group_of_all_sets_is_left_out():
    split = make_split(two_sets(), folds="sequence")
    assert [fold.test.tolist() for fold in split.folds] == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]


def test_the_split_column_is_followed():
    rows = [{"label": c, "split": s} for s in ("train", "val", "test", "extra", None) for c in "ab"]
    rows.append({"label": None, "split": "test"})
    usable = labelled(manifest(rows))
    assert len(usable) == 6
    split = make_split(usable)
    fold = split.folds[0]
    assert split.single and split.name == "test"
    assert (fold.train.tolist(), fold.validation.tolist(), fold.test.tolist()) == ([0, 1], [2, 3], [4, 5])
    without_test = make_split(labelled(manifest(rows[:4])))
    assert without_test.name == "val" and without_test.folds[0].test.tolist() == [2, 3]
    assert not len(without_test.folds[0].validation)


def test_folds_ignore_the_split_column():
    rows = [{"label": c, "split": "unused", "scene": s} for s in "xyz" for c in "ab"]
    assert len(make_split(labelled(manifest(rows), folds="scene"), folds="scene").test) == 6


def test_rows_of_an_unknown_group_are_left_out_of_folds():
    rows = [{"label": c, "scene": s} for s in ("x", "y", None, "") for c in "ab"]
    usable = labelled(manifest(rows), folds="scene")
    assert [fold.name for fold in make_split(usable, folds="scene").folds] == ["x", "y"] and len(usable) == 4
    with pytest.raises(DataError, match="'scene'"):
        labelled(manifest(rows[4:]), folds="scene")


def test_drawn_folds_keep_groups_whole_and_classes_balanced():
    rng = np.random.default_rng(0)
    rows = [{"label": "abc"[i % 3], "group": f"g{rng.integers(20)}"} for i in range(150)]
    split = make_split(manifest(rows))
    assert split.name == "5-fold" and "no column 'split'" in split.description
    assert sorted(split.test.tolist()) == list(range(150))
    for fold in split.folds:
        groups = [{split.groups[row] for row in rows} for rows in (fold.train, fold.test)]
        assert groups[0].isdisjoint(groups[1])
        assert set(fold.train) | set(fold.test) == set(range(150))
        assert np.abs(np.bincount(split.labels[fold.test], minlength=3) - 10).max() <= 4
    again = make_split(manifest(rows))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(split.folds, again.folds, strict=True))
    other = make_split(manifest(rows), seed=1)
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(split.folds, other.folds, strict=True))


def test_groups_fall_back_to_content_and_then_to_the_file():
    rows = [{"label": "a", "hash": h} for h in ("x", "y", "x")]
    assert file_groups(manifest(rows), "group") == ["x", "y", "x"]
    assert file_groups(manifest([{"label": "a"}] * 2), "group") == ["0.mp4", "1.mp4"]
    assert file_groups(manifest([{"label": "a", "group": 7}, {"label": "a", "group": None}]), "group") == ["7", "1.mp4"]


def test_removed_rows_are_renumbered():
    split = make_split(two_sets(), folds="sequence", within="set").restrict(np.array([0, 1, 3, 4, 5, 8, 9, 10, 11]))
    assert [fold.name for fold in split.folds] == ["1/1", "1/2", "1/3", "2/2", "2/3"]
    assert split.folds[1].train.tolist() == [0, 1, 3, 4] and split.folds[1].test.tolist() == [2]
    assert split.groups[2] == "1/2" and split.labels.tolist() == [0, 1, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"label": "a", "split": "train"}, {"label": "b", "split": "train"}], "no test rows"),
        ([{"label": "a", "split": "train"}, {"label": "a", "split": "test"}], r"1 class\(es\); a probe needs two"),
        ([{"label": None}, {"label": None}], "no row of the manifest has a 'label'"),
        ([{"label": "a", "group": "g"}, {"label": "b", "group": "g"}], "single group"),
        ([{"text": "no label"}], "'label'"),
    ],
)
def test_impossible_splits_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        make_split(labelled(manifest(rows)))


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return name


def test_exposure_compares_content_where_both_were_scanned(tmp_path):
    test = manifest([{"hash": "x"}, {"hash": "y"}, {"hash": "z"}])
    trained = Manifest.from_rows([{"path": "else.mp4", "hash": "z"}, {"path": "0.mp4", "hash": "q"}], "other")
    assert exposure(test, [0, 1], trained) == ("inductive", 0, "content hash", 0)
    assert exposure(test, [0, 2], trained) == ("transductive", 1, "content hash", 0)
    assert exposure(test, [0], None).mark == "unknown"


def test_exposure_without_hashes_compares_places_or_names_and_sizes(tmp_path):
    names = [write(tmp_path / "a", f"{i}.mp4", b"v" * i) for i in range(1, 4)]
    test = Manifest.from_rows([{"path": name} for name in names], tmp_path / "a")
    same_place = Manifest.from_rows([{"path": "../a/1.mp4"}], tmp_path / "b")
    write(tmp_path / "b", "2.mp4", b"v" * 2)
    write(tmp_path / "b", "3.mp4", b"other size")
    copied = Manifest.from_rows([{"path": "2.mp4"}, {"path": "3.mp4"}], tmp_path / "b")
    assert exposure(test, range(3), same_place)[:2] == ("transductive", 1)
    assert exposure(test, [1, 2], copied)[:2] == ("transductive", 1)
    assert exposure(test, [2], copied)[:2] == ("inductive", 0)
    gone = Manifest.from_rows([{"path": "2.mp4", "bytes": 2}], tmp_path / "gone")
    assert exposure(test, [1], gone)[:2] == ("transductive", 1)
