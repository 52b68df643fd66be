"""Sequences of embeddings brought along: folders of arrays, tables, the original lists, and broken ones among them."""

import pickle

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.data.segment_lists import read_segment, segment_list
from kinema.data.sequences import read_sequence, sequence_shapes
from kinema.errors import DataError
from tests.helpers import moving_texture, write_video

D = 4


def save(path, count, value=1.0, dim=D):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.full((count, dim), value, np.float32))


def test_a_folder_of_arrays(tmp_path, capsys):
    save(tmp_path / "a" / "one.npy", 3)
    save(tmp_path / "b" / "two.npy", 5, 2.0)
    (tmp_path / "b" / "broken.npy").write_bytes((tmp_path / "b" / "two.npy").read_bytes()[:-7])
    np.save(tmp_path / "b" / "flat.npy", np.ones(3))
    found = open_manifest(tmp_path)
    assert found.column("features") == ["a/one.npy", "b/two.npy"] and found.column("label") == ["a", "b"]
    assert {path for path, _ in found.set_aside} == {"b/broken.npy", "b/flat.npy"}
    assert "set aside: b/flat.npy" in capsys.readouterr().err
    shapes = sequence_shapes(found)
    assert shapes.lengths.tolist() == [3, 5] and shapes.dim == D
    assert read_sequence(found, 1)[4].tolist() == [2.0] * D
    with pytest.raises(DataError, match=r"2 files of .* cannot be read"):
        open_manifest(tmp_path, refuse_broken=True)


def test_tables_name_arrays_whether_or_not_the_videos_are_there(tmp_path):
    save(tmp_path / "x.npy", 2)
    (tmp_path / "plain.csv").write_text("features,label\nx.npy,a\n")
    assert open_manifest(tmp_path / "plain.csv").row(0) == {"features": "x.npy", "label": "a", "path": "x.npy"}
    (tmp_path / "gone.csv").write_text("path,features\nfilms/gone.mp4,x.npy\n")
    assert open_manifest(tmp_path / "gone.csv").column("path") == ["x.npy"]
    # Videos that are there are scanned like any others, and keep the column.
    write_video(tmp_path / "here.mp4", moving_texture(0, (1, 1), frames=6))
    (tmp_path / "here.csv").write_text("path,features\nhere.mp4,x.npy\n")
    scanned = open_manifest(tmp_path / "here.csv", workers=1)
    assert scanned.column("features") == ["x.npy"] and "frame_index" in scanned.columns
    (tmp_path / "none.csv").write_text("features\nnowhere.npy\n")
    with pytest.raises(DataError, match=r"none of 1 arrays can be read; the first: .*nowhere\.npy"):
        open_manifest(tmp_path / "none.csv")


def test_the_original_lists_are_joined_once(tmp_path):
    for number in range(3):
        torch.save(
            {"embedding": torch.full((D,), float(number)), "start": 5.0 * number, "end": 5.0 * number + 5},
            tmp_path / f"{number}.pt",
        )
    array = {"embedding": np.full((1, D), 7, np.float32), "start": np.float64(0), "end": 4}
    torch.save(array, tmp_path / "array.pt")
    np.save(tmp_path / "bare.npy", np.full(D, 8.0))
    rows = [
        ("['0.pt', '1.pt', '2.pt']", 3, "films/a.mp4", "x"),
        ("['array.pt', 'bare.npy']", 2, "films/b.mp4", "y"),
        ("['0.pt', '1.pt']", 3, "films/wrong.mp4", "x"),
        ("['0.pt', 'gone.pt']", 2, "films/gone.mp4", "x"),
        ("__import__('os').getcwd()", 1, "films/code.mp4", "x"),
    ]
    lines = [f'"{paths}",{count},{video},{label}' for paths, count, video, label in rows]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["segment_paths,number_of_segments,video_filename,label", *lines]))
    found = open_manifest(table)
    assert found.column("video") == ["films/a.mp4", "films/b.mp4"] and found.column("label") == ["x", "y"]
    assert [np.array(read_sequence(found, row))[:, 0].tolist() for row in range(2)] == [[0, 1, 2], [7, 8]]
    assert np.load(found.file(0, "feature_times")).tolist() == [[0, 5], [5, 10], [10, 15]]
    reasons = dict(found.set_aside)
    assert "is 3, but" in reasons["films/wrong.mp4"] and "gone.pt" in reasons["films/gone.mp4"]
    assert "must be a list of file names" in reasons["films/code.mp4"]
    for number in range(3):
        (tmp_path / f"{number}.pt").unlink()
    assert np.array(read_sequence(open_manifest(table), 0))[:, 0].tolist() == [0, 1, 2]


def test_nothing_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "trap.pt").write_bytes(pickle.dumps({"embedding": Trap()}))
    torch.save({"embedding": Trap()}, tmp_path / "zipped.pt")
    for name in ("trap.pt", "zipped.pt"):
        with pytest.raises(DataError, match="is no readable embedding"):
            read_segment(tmp_path / name)
    assert not (tmp_path / "sprung").exists()
    for text in ("open('x')", "['a', 3]", "[]", "{'a': 1}", "['a'"):
        with pytest.raises(DataError, match="must be a list of file names"):
            segment_list(text)


def test_a_dry_run_of_sequences(tmp_path, capsys):
    for number in range(3):
        save(tmp_path / "data" / f"{number}.npy", 12, dim=16)
    command = ["pretrain", "lv-mae", "--data", str(tmp_path / "data"), "--dry-run", "width=16", "heads=2", "segment=5"]
    assert main(command) == 0
    assert "3 rows, 0.05 hours" in capsys.readouterr().out


def test_manifests_move_with_their_arrays(tmp_path):
    save(tmp_path / "one" / "x.npy", 2)
    rows = [{"path": "x.npy", "features": "x.npy", "feature_times": "x.npy", "text_features": "x.npy"}]
    Manifest.from_rows(rows, tmp_path / "one").write(tmp_path / "list.parquet")
    row = Manifest.read(tmp_path / "list.parquet").row(0)
    assert set(row.values()) == {"one/x.npy"}
