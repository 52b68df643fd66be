import io

import numpy as np
import pytest
from rich.console import Console

from kinema.errors import KinemaError
from kinema.evaluation.rows import Comparison, ResultRow, Results
from kinema.evaluation.tables import as_markdown, as_rich, result_lines


def row(arm="trained", metric="top1", level="video", value=62.5, seed=0, **changes):
    card = {"interval": [50.0, 75.0], "groups": 7, "classes": 3, "split": "column 'split': train against test"}
    facts = {"n_train": 9, "n_test": 12, "split": "test", "seed": seed, "exposure": "inductive"}
    return ResultRow(arm, "knn", metric, level, value, **facts, card=card, per_group={"g": value}, **changes)


@pytest.fixture
def results():
    rows = (
        row(),
        row(level="clip", value=40.125),
        row(metric="top1 k=1"),
        row("twice", seed=0),
        row("twice", seed=1, value=70),
    )
    comparison = Comparison("trained", "untrained", "knn", "top1", 12.5, 3.0, 20.0, 0.03125, 7, "beats", "linear")
    predictions = {"ids": np.array(["ä.mp4", "b"]), "trained/knn/0": np.eye(2, dtype=np.float32)}
    return Results(rows, (comparison,), {"largest class": 33.3, "skipped": 0}, predictions)


def test_results_survive_the_disk(results, tmp_path):
    results.write(tmp_path / "evaluation" / "first")
    read = Results.read(tmp_path / "evaluation" / "first")
    assert (read.rows, read.comparisons, read.info) == (results.rows, results.comparisons, results.info)
    assert read.predictions.keys() == results.predictions.keys()
    for name, values in read.predictions.items():
        np.testing.assert_array_equal(values, results.predictions[name])
        assert values.dtype == results.predictions[name].dtype
    assert {path.name for path in (tmp_path / "evaluation" / "first").iterdir()} == {"results.json", "predictions.npz"}


def test_rows_are_found_by_any_attribute(results):
    assert [found.level for found in results.find(arm="trained", metric="top1")] == ["video", "clip"]
    assert results.find(seed=1)[0].value == 70 and results.find(arm="nobody") == ()


def test_damaged_results_are_named(results, tmp_path):
    with pytest.raises(KinemaError, match=r"results\.json"):
        Results.read(tmp_path)
    results.write(tmp_path)
    (tmp_path / "results.json").write_text('{"rows": [{"arm": "x"}], "comparisons": []}')
    with pytest.raises(KinemaError, match=r"results\.json does not hold evaluation results"):
        Results.read(tmp_path)


def test_tables_show_clip_beside_video_every_seed_and_the_verdict(results):
    lines = result_lines(results)
    assert lines[0] == ("trained", "knn", "top1", "62.50 (50.0 to 75.0)", "40.12", "", "inductive")
    assert lines[1] == ("twice", "knn", "top1", "66.25", "–", "62.50 70.00", "inductive")
    assert len(lines) == 2 and len(result_lines(results, every_metric=True)) == 3
    markdown = as_markdown(results)
    assert "| trained | untrained | knn / linear | +12.50 | +3.00 to +20.00 | 0.0312 | 7 | beats |" in markdown
    assert "12 test videos in 7 groups, 3 classes" in markdown and "33.30 %" in markdown
    assert "could not be read" not in markdown
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(as_rich(results))
    assert "62.50 (50.0 to 75.0)" in console.export_text()


def test_skipped_videos_are_stated(results):
    results.info["skipped"] = 3
    assert "3 videos could not be read and were left out" in as_markdown(results)
