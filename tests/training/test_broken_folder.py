"""A folder in which every fifth file is broken: the run finishes and says so, an evaluation does not pass over it."""

import pytest

from kinema.cli import main
from kinema.data.opening import open_manifest
from kinema.errors import DataError
from kinema.training.checkpoint import load_run
from tests.helpers import PLAIN, damage, journal, write_tiny_videos


@pytest.fixture
def folder(tmp_path):
    """Ten videos: one is a text, one loses its end, both found by the scan; the scan is left to the command."""
    paths = write_tiny_videos(tmp_path / "videos", 10)
    paths[3].write_text("no video")
    paths[7].write_bytes(paths[7].read_bytes()[:300])
    return tmp_path / "videos"


OPTIONS = ["epochs=2", "batch=4", "workers=0", "device=cpu", "health=0", "checkpoint=1000"]


def test_a_run_over_a_folder_of_which_a_fifth_is_broken_finishes_and_says_so(folder, tmp_path, capsys):
    assert main(["pretrain", PLAIN, "--data", str(folder), "-o", str(tmp_path / "run"), *OPTIONS]) == 0
    shown = capsys.readouterr()
    said = [line for line in shown.err.splitlines() if "set aside" in line]
    assert len(said) == 2 and "clip3.mp4: not a video" in shown.err and "clip7.mp4: damaged" in shown.err
    assert load_run(tmp_path / "run", method=PLAIN).step == 2 * (8 * 5 // 4)
    with pytest.raises(DataError, match=r"2 files .* cannot be read .*--skip-broken"):
        open_manifest(folder, refuse_broken=True)


def test_files_that_break_after_the_scan_are_told_with_their_number(folder, tmp_path, capsys):
    """Two of the eight that are left: every step goes on with what it can read."""
    assert main(["scan", str(folder), "-o", str(tmp_path / "videos.parquet")]) == 0
    broken = [folder / "right" / "clip0.mp4", folder / "left" / "clip5.mp4"]
    for path in broken:
        damage(path)
    data = str(tmp_path / "videos.parquet")
    assert main(["pretrain", PLAIN, "--data", data, "-o", str(tmp_path / "run"), *OPTIONS]) == 0
    assert "2 file(s) set aside" in "".join(capsys.readouterr())
    assert {record["path"] for record in journal(tmp_path / "run", "quarantine")} == set(map(str, broken))
    assert load_run(tmp_path / "run", method=PLAIN).step == 2 * (8 * 5 // 4)
