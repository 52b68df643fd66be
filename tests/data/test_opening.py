"""Whatever a person points at becomes a scanned manifest, and nothing broken is hidden."""

import shutil

import pytest

from kinema.data.manifest import Manifest
from kinema.data.opening import open_manifest
from kinema.errors import DataError


@pytest.fixture
def folder(tiny_videos, tmp_path):
    for row in (0, 1):
        shutil.copy(tiny_videos.path(row), tmp_path / f"{row}.mp4")
    return tmp_path


def test_a_folder_is_scanned_and_a_scanned_list_is_read_as_it_is(folder):
    scanned = open_manifest(folder)
    assert scanned.column("path") == ["0.mp4", "1.mp4"]
    scanned.write(folder / "all.parquet")
    (folder / "1.mp4").rename(folder / "gone.mp4")
    with pytest.raises(DataError, match=r"1\.mp4"):
        open_manifest(folder / "all.parquet")
    (folder / "gone.mp4").rename(folder / "1.mp4")
    assert open_manifest(folder / "all.parquet").digest() == Manifest.read(folder / "all.parquet").digest()


def test_a_plain_list_is_scanned(folder):
    (folder / "list.csv").write_text("path,label\n0.mp4,a\n1.mp4,b\n")
    found = open_manifest(folder / "list.csv")
    assert found.column("label") == ["a", "b"]
    assert found.column("frames") == [40, 40]


def test_broken_files_are_said_and_refused_on_demand(folder, capsys):
    (folder / "broken.mp4").write_text("no video")
    assert len(open_manifest(folder)) == 2
    assert "broken.mp4" in capsys.readouterr().err
    with pytest.raises(DataError, match="--skip-broken"):
        open_manifest(folder, refuse_broken=True)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_manifest(tmp_path / "nothing")
