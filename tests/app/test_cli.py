"""The command line: what it prints, what it refuses, and its exit status."""

import shutil

import pytest
import yaml

from kinema.cli import main, parse
from kinema.data.manifest import Manifest


def test_key_value_may_stand_anywhere_and_only_where_it_is_taken(capsys):
    options = parse(["pretrain", "sts", "epochs=3", "--data", "x.parquet", "lr=0.1", "--resume"])
    assert options.overrides == ["epochs=3", "lr=0.1"]
    assert options.resume
    for wrong in (["pretrain", "sts", "--data", "x", "--rsume"], ["report", "run", "epochs=3"]):
        with pytest.raises(SystemExit) as stopped:
            parse(wrong)
        assert stopped.value.code == 2
        assert wrong[-1] in capsys.readouterr().err


def test_errors_are_explained_without_a_traceback(tmp_path, capsys):
    assert main(["scan", str(tmp_path / "nothing"), "-o", str(tmp_path / "x.parquet")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("kinema scan: ")
    assert "Traceback" not in shown


def test_methods_lists_explains_and_writes_a_template(tmp_path, capsys):
    assert main(["methods"]) == 0
    assert "sts" in capsys.readouterr().out
    assert main(["methods", "sts"]) == 0
    shown = capsys.readouterr().out
    assert "appearance_weight=0.1" in shown
    assert "lambda_a" in shown
    assert main(["methods", "sts", "--template", str(tmp_path / "mine.csv")]) == 0
    assert (tmp_path / "mine.csv").read_text().startswith("path")
    assert main(["methods", "stts"]) == 1
    assert "Did you mean 'sts'?" in capsys.readouterr().err


def test_a_dry_run_prints_the_plan_and_writes_nothing(tiny_videos, tmp_path, capsys):
    tiny_videos.write(tmp_path / "videos.parquet")
    before = sorted(tmp_path.iterdir())
    command = ["pretrain", "sts", "--data", str(tmp_path / "videos.parquet"), "--dry-run", "-o", str(tmp_path / "run")]
    assert main([*command, "epochs=3", "batch=4", "frames=8", "stride=1", "size=32", "resize=[36,40]"]) == 0
    shown = capsys.readouterr().out
    recipe, _, facts = shown.partition("\n\n")
    assert yaml.safe_load(recipe)["options"]["size"] == 32
    values = {line.split()[0]: line.split(maxsplit=1)[1] for line in facts.splitlines() if line}
    # Six videos of 40 frames hold five clips of 8 each.
    assert values["samples"].startswith("30 ")
    assert values["steps"].startswith("21 ")
    assert sorted(tmp_path.iterdir()) == before


def test_scan_writes_manifest_and_quarantine_and_takes_the_old_quarantine_away(tiny_videos, tmp_path, capsys):
    folder = tmp_path / "videos"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        shutil.copy(tiny_videos.path(0), folder / name / "a.mp4")
    (folder / "one" / "broken.mp4").write_bytes(b"")
    out = tmp_path / "my.parquet"
    assert main(["scan", str(folder), "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "1 files cannot be read" in shown
    assert "1 groups of identical files" in shown
    assert "empty file" in (tmp_path / "my.quarantine.csv").read_text()
    assert Manifest.read(out).column("label") == ["one", "two"]
    (folder / "one" / "broken.mp4").unlink()
    assert main(["scan", str(folder), "-o", str(out), "--labels", "none"]) == 0
    assert not (tmp_path / "my.quarantine.csv").exists()
    assert "label" not in Manifest.read(out).columns
