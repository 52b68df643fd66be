"""The journey as a person takes it, on a folder of their own with one folder per class."""

import shutil

import pytest

from kinema.app.demo import demo, fit_to_time
from kinema.evaluation import Results
from kinema.training.recipe import load_recipe


@pytest.mark.slow
def test_the_whole_journey_on_a_folder_per_class(tiny_videos, tmp_path, capsys):
    videos = tmp_path / "videos"
    for row, label in enumerate(("left", "left", "left", "right", "right", "right")):
        (videos / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_videos.path(row), videos / label / f"{row}.mp4")
    (videos / "left" / "broken.mp4").write_text("not a video")
    page = demo(tmp_path / "out", data=videos, minutes=0.02)
    shown = capsys.readouterr().out
    assert page.read_text(encoding="utf-8").count("<svg") > 3
    assert "broken.mp4" in shown
    results = Results.read(tmp_path / "out" / "run" / "evaluation" / "demo")
    assert {"trained", "untrained", "untrained-calibrated"} <= {row.arm for row in results.rows}
    assert all(row.exposure == "transductive" for row in results.rows if row.arm == "trained")
    assert shown.count("kinema ") >= 3


def test_a_folder_too_large_for_the_time_is_thinned_out_evenly(tiny_videos):
    recipe, rows = fit_to_time(load_recipe("sts", "tiny", ["batch=1"]), tiny_videos, seconds=1e-6)
    assert recipe.epochs == 1
    assert 1 <= len(rows) < len(tiny_videos)
