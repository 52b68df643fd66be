"""Tables, verdicts and confusion say what the numbers say."""

import re

import numpy as np
import pytest

from kinema.evaluation.rows import Results
from kinema.report.judgement import findings
from kinema.report.matrix import confusion_figure, matrix
from kinema.report.page import write_report
from kinema.report.record import read_record
from kinema.report.results import results_section
from tests.report.runs import compare, make_row


def judged(untrained: float | None, pixels: float | None) -> str:
    """The headline for differences with an interval of ± 8.5 points."""
    pairs = (("untrained", untrained), ("pixels-mean-frame", pixels))
    made = tuple(compare(against, difference) for against, difference in pairs if difference is not None)
    (finding,) = findings(Results((make_row("trained", "knn", "top1", 41.2),), made))
    return f"{finding.level}: {finding.headline}"


@pytest.mark.parametrize(
    ("untrained", "pixels", "expected"),
    [
        (20, 20, "good: Useful"),
        (20, 2, "warning: It has learned; whether it is better"),
        (20, -2, "warning: It has learned; whether it is better"),
        (20, -20, "warning: It has learned, but is not useful yet"),
        (20, None, "warning: It has learned; it was not compared"),
        (2, 20, "warning: Better than pixel references, yet not distinguishable"),
        (2, 2, "warning: No evidence that it has learned: not distinguishable"),
        (2, -20, "warning: No evidence"),
        (-20, 20, "bad: Worse than the untrained network"),
        (None, 20, "none: Not compared with the untrained network"),
    ],
)
def test_the_verdict_follows_the_intervals(untrained, pixels, expected):
    assert judged(untrained, pixels).startswith(expected)


def test_one_lost_or_unclear_reference_decides():
    every = (compare("untrained", 20), compare("untrained-calibrated", 1), compare("pixels-mean-frame", 30))
    (finding,) = findings(Results((), every))
    assert (finding.untrained, finding.pixels) == ("unclear", "beats")
    assert "+1.0 points against untrained-calibrated (95 % interval −7.5 to +9.5)" in finding.sentence


def test_too_few_groups_decide_nothing():
    (finding,) = findings(Results((), (compare("untrained", 20, verdict="too few groups"),)))
    assert finding.untrained == "unclear"


def test_a_value_is_the_mean_over_seeds_of_whole_videos():
    rows = tuple(make_row("trained", "knn", "top1", value, seed=seed) for seed, value in enumerate((40.0, 42.0)))
    rows += (make_row("trained", "knn", "top1", 10.0, level="clip"),)
    (finding,) = findings(Results(rows, (compare("untrained", 20),)))
    assert finding.sentence.startswith("knn, top1: 41.0 %")


def test_words_and_verdicts_of_comparisons_reach_the_page(evaluated):
    page = results_section(read_record(evaluated))
    badges = set(re.findall(r'class="badge (\w+)">([^<]*)<', page))
    assert badges == {("good", "beats"), ("bad", "loses"), ("none", "not distinguishable")}


def headline_and_rest(rows, tmp_path) -> tuple[str, str]:
    """The first table, and what is folded below it."""
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    (run / "recipe.yaml").write_text("method: sts\n")
    Results(tuple(rows), (), {}, {}).write(run / "evaluation" / "e")
    page = results_section(read_record(run))
    before, _, after = page.partition("All other measures")
    return before, after


def test_headline_numbers_stand_first_and_the_rest_is_folded(tmp_path):
    shown = [("knn", "top1", 41.2), ("linear", "top1", 52.3), ("retrieval", "R@1", 33.4), ("retrieval", "R@5", 63.5)]
    folded = [("knn", "top5", 71.6), ("knn", "top1 k=5", 38.7), ("retrieval", "R@50", 97.8)]
    rows = [make_row("trained", *row) for row in shown + folded]
    rows.append(make_row("trained", "knn", "top1", 35.9, level="clip"))
    headline, rest = headline_and_rest(rows, tmp_path)
    columns = re.findall(r'<th scope="col">([^<]*)<br/>', headline)
    assert columns == ["knn top1", "linear top1", "retrieval R@1", "retrieval R@5"]
    for _, _, value in shown:
        assert f"<td>{value}" in headline
        assert f"<td>{value}" not in rest
    for _, _, value in folded:
        assert f"{value}" not in headline
        assert f"<td>{value}" in rest
    assert "<small>clips 35.9</small>" in headline
    assert headline.count("<small>clips") == 1


def test_clips_lead_where_no_video_was_scored(tmp_path):
    headline, _ = headline_and_rest([make_row("trained", "knn", "top1", 35.9, level="clip")], tmp_path)
    assert "Percent of clips right" in headline
    assert "<td>35.9" in headline


def test_the_stored_interval_is_shown_else_that_over_groups(tmp_path):
    stored = make_row("trained", "knn", "top1", 41.2, card={"interval": [30.04, 52.06]})
    groups = {f"g{k}": 40.0 + (k % 2) for k in range(50)}
    drawn = make_row("untrained", "knn", "top1", 40.5, per_group=groups)
    headline, _ = headline_and_rest([stored, drawn], tmp_path)
    assert "30.0 – 52.1" in headline
    low, high = map(float, re.findall(r"<td>40\.5.*?<small>([\d.]+) – ([\d.]+)<", headline)[0])
    assert 40.2 <= low < 40.5 < high <= 40.8


def test_confusion_counts_the_true_class_in_rows():
    counts = np.array([[3, 1], [0, 4]])
    drawing = matrix(counts, ["a", "b"])
    titles = re.findall(r"<title>(\w taken for \w: \d \(\d+%\))</title>", drawing)
    expected = ["a taken for a: 3 (75%)", "a taken for b: 1 (25%)", "b taken for a: 0 (0%)", "b taken for b: 4 (100%)"]
    assert titles == expected


def test_confusion_is_that_of_the_stored_scores():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]], np.float32)
    kept = {"labels": np.array([0, 0, 0, 1]), "classes": np.array(["a", "b"]), "trained/knn/0": scores}
    figure = confusion_figure(Results((), (), {}, kept))
    assert "a taken for b: 2 (67%)" in figure
    assert "b taken for b: 1 (100%)" in figure
    assert "No confusion matrix" in confusion_figure(Results((), (), {}, {}))


def test_the_boxes_stand_before_everything_else(evaluated):
    page = write_report(evaluated).read_text()
    assert page.index('class="judgement') < page.index("<main>")
