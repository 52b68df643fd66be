"""The page that compares runs: dots where the numbers are, everything escaped, nothing from elsewhere."""

import re
from xml.etree import ElementTree

import pytest

from kinema.evaluation.across import Across, Standing
from kinema.evaluation.rows import Comparison
from kinema.report.comparison import write_comparison
from kinema.report.dots import Dots, dot_chart

ROWS = [
    Dots("sts <b>", 60.0, 55.0, 66.0, {"seed 0": 58.0, "seed 1": 62.0}),
    Dots("pixels", 40.0, 30.0, 50.0, is_reference=True),
]


def svg_of(markup):
    return ElementTree.fromstring(re.search(r"<svg.*?</svg>", markup, re.S)[0])


def test_every_number_has_its_place_on_one_scale():
    chart = svg_of(dot_chart(ROWS, title="knn", x_label="top1", marks=[("guess", 20.0)]))
    means = {float(c.get("cx")) for c in chart.iter("circle") if c.get("class") == "dot"}
    singles = [float(c.get("cx")) for group in chart.iter("g") if group.get("class") == "single" for c in group]
    whiskers = [(float(x.get("x1")), float(x.get("x2"))) for x in chart.iter("line") if x.get("class") == "whisker"]
    guess = next(float(x.get("x1")) for x in chart.iter("line") if x.get("class") == "zero")
    high, low = max(means), min(means)
    pixel = (high - low) / 20

    def place(value):
        return pytest.approx(low + (value - 40) * pixel, abs=0.05)

    assert sorted(singles) == [place(58), place(62)]
    assert whiskers == [(place(55), place(66)), (place(30), place(50))] and guess == place(20)
    assert "sts <b>: 60 % (55 to 66)" in "".join(chart.itertext())
    classes = [group.get("class") for group in chart.iter("g")]
    assert classes.count("own") == 1 and classes.count("reference") == 1


def test_long_names_leave_room_for_the_dots():
    name = "sts (backbone=r2plus1d, optimiser.lr=0.0005, options.flow=dis-medium)"
    chart = svg_of(dot_chart([Dots(name, 60.0, 50.0, 70.0), Dots("b", 10.0, 5.0, 90.0)], title="t", x_label="x"))
    left = min(float(x.get("x1")) for x in chart.iter("line") if x.get("class") == "whisker")
    assert left < 300 and name in "".join(chart.itertext())


def across():
    standings = (
        Standing("sts", "knn", "top1", 60.0, 55.0, 66.0, {"0": 58.0, "1": 62.0}, "inductive"),
        Standing("mas <i>", "knn", "top1", 50.0, 44.0, 56.0, {"0": 50.0}, "inductive"),
        Standing("pixels-mean-frame", "knn", "top1", 30.0, 25.0, 35.0, {"0": 30.0}, "none"),
    )
    difference = Comparison("sts", "mas <i>", "knn", "top1", 10.0, 4.0, 16.0, 0.01, 12, "beats")
    facts = {"test videos": 90, "groups": 12, "classes": 3, "split": "column 'split'", "largest class": 33.3}
    return Across(standings, (difference,), (0.02,), ("Only one seed.",), facts)


def test_the_page_shows_standings_differences_and_every_seed(tmp_path):
    page = write_comparison(across(), tmp_path / "page.html", [tmp_path / "run"]).read_text()
    for text in ("sts against mas &lt;i&gt;", "0: 58.00 1: 62.00", "0.0200", "beats", "Only one seed.", "33.30 %"):
        assert text in page
    assert "<i>" not in page and str(tmp_path / "run") in page
    assert not re.search(r"(src|href)=.https?:", page) and "default-src" in page
    chart = svg_of(page)
    assert chart.find("title").text.startswith("knn. sts: 60 %; mas <i>: 50 %")
