"""`kinema scan`: what it prints and writes."""

import shutil

import pytest

from kinema.cli import main
from kinema.data.manifest import Manifest
from tests.video.rendering import write_frames, write_numbered


def test_scan_tells_what_it_recognised_reuses_and_shares(tmp_path, capsys):
    folder = tmp_path / "set"
    write_frames(folder / "a" / "1", range(6))
    write_frames(folder / "b" / "2", range(8))
    (folder / "b" / "2" / "frame000003.png").write_bytes(b"")
    out = tmp_path / "set.parquet"
    command = ["scan", str(folder), "-o", str(out), "--workers", "1", "--fps", "10"]
    assert main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if not line.startswith("scanning")] == [
        "frames: folders of numbered images: 2, such as a/1; images taken at 10 fps",
        f"1 videos, 1 seconds, written to {out}",
        "labels: 1 classes (a 1)",
        "set aside: b/2: damaged: frame000003.png is empty (0 bytes)",
        f"1 files cannot be read: the reasons are in {tmp_path / 'set.quarantine.csv'}",
    ]
    write_frames(folder / "b" / "2", range(8))
    shutil.copytree(folder / "a" / "1", folder / "c" / "1")
    assert main([*command, "--against", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "1 files had not changed since the last scan and were not read again" in shown
    assert "1 groups of identical files, first: a/1 = c/1" in shown
    assert f"against {out}: 2 identical (first: a/1 = set/a/1), 0 near-identical; compared by content ha" in shown
    assert not (tmp_path / "set.quarantine.csv").exists()
    assert main([*command, "--afresh"]) == 0
    assert "not read again" not in capsys.readouterr().out
    assert Manifest.read(out).set_aside == ()


def test_a_spoilt_old_manifest_does_not_stop_a_scan(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    write_numbered(tmp_path / "set" / "1.mp4", 5)
    (tmp_path / "set.parquet").write_bytes(b"no table")
    assert main(["scan", str(tmp_path / "set"), "-o", str(tmp_path / "set.parquet"), "--workers", "1"]) == 0
    assert len(Manifest.read(tmp_path / "set.parquet")) == 1


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path, capsys, monkeypatch):
    (tmp_path / "set").mkdir()
    write_numbered(tmp_path / "set" / "1.mp4", 5)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr("kinema.app.scanning.scan", lambda *_, **__: pytest.fail("was scanned"))
    for out, why in (("file/x.parquet", "cannot be written"), ("x.txt", "not '.txt'")):
        assert main(["scan", str(tmp_path / "set"), "-o", str(tmp_path / out)]) == 1
        assert why in capsys.readouterr().err


def test_errors_of_the_system_are_said_in_its_words(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert main(["synth", str(tmp_path / "file" / "world"), "--clips", "1", "--workers", "1"]) == 1
    assert capsys.readouterr().err == f"kinema synth: {tmp_path / 'file' / 'world'}: Not a directory\n"


def test_wrong_layouts_and_comparisons_are_told(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    write_numbered(tmp_path / "set" / "1.mp4", 5)
    command = ["scan", str(tmp_path / "set"), "-o", str(tmp_path / "x.parquet")]
    assert main([*command, "--layout", "ucf101"]) == 1
    assert "looked for trainlist01.txt and testlist01.txt" in capsys.readouterr().err
    assert main([*command, "--against", str(tmp_path / "none.parquet")]) == 1
    assert "no such manifest" in capsys.readouterr().err
    assert not (tmp_path / "x.parquet").exists()
