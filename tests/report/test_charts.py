"""Charts put known data where it belongs, and hide no divergence."""

import math
import re

import pytest

from kinema.report.charts import HEIGHT, POINTS, WIDTH, Series, line_chart, nice_ticks, number, smooth, thin
from kinema.report.record import read_record
from kinema.report.sections import training_section


def paths(figure: str) -> list[list[tuple[str, float, float]]]:
    """The commands of each line of a chart."""
    drawn = re.findall(r'<path d="([^"]*)"(?: class="raw")?/>', figure.split("</figcaption>")[1])
    return [[(c, float(x), float(y)) for c, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", path)] for path in drawn]


def test_points_lie_where_the_axes_say():
    figure = line_chart([Series("a", [0, 5, 10], [0.0, 100.0, 25.0])], title="t", x_label="x", limits=(0, 100))
    (line,) = paths(figure)
    left, right, top, bottom = 52, WIDTH - 14, 14, HEIGHT - 40
    assert line == [("M", left, bottom), ("L", (left + right) / 2, top), ("L", right, bottom + (top - bottom) / 4)]


def test_grid_lines_lie_at_their_numbers():
    figure = line_chart([Series("a", [0, 10], [0.0, 100.0])], title="t", x_label="x", limits=(0, 100))
    ticks = re.findall(r'text-anchor="end">|<text x="45" y="([\d.]+)" text-anchor="end">([\d.]+)<', figure)
    for y, value in ((float(y), float(value)) for y, value in ticks if y):
        assert y - 4 == pytest.approx(HEIGHT - 40 - float(value) / 100 * (HEIGHT - 54))
    assert len(ticks) >= 4


def test_a_gap_lifts_the_pen():
    (line,) = paths(line_chart([Series("a", [0, 1, 2, 3], [1.0, math.nan, 2.0, 3.0])], title="t", x_label="x"))
    assert [command for command, _, _ in line] == ["M", "M", "L"]


@pytest.mark.parametrize("values", [[3.0, 3.0], [0.0], [], [math.nan, math.inf], [1e-9, 2e-9], [-5.0, 1e7]])
def test_odd_data_still_gives_a_chart(values):
    figure = line_chart([Series("a", list(range(len(values))), values)], title="t", x_label="x")
    assert not re.search(r'="[^"]*(nan|inf)[^"]*"', figure)


def test_thinning_keeps_means_and_shows_divergence():
    x, y = thin(list(range(1000)), [float(value) for value in range(1000)], most=100)
    assert (len(x), x[0], y[0]) == (100, 4.5, 4.5)
    assert y[-1] == 994.5
    _, broken = thin(list(range(1000)), [1.0] * 500 + [math.inf] + [1.0] * 499, most=100)
    assert [k for k, value in enumerate(broken) if math.isnan(value)] == [50]


def test_smoothing_keeps_straight_lines_and_calms_noise():
    assert smooth([float(k) for k in range(20)], 6) == pytest.approx(range(20))
    calm = smooth([(-1.0) ** k for k in range(101)], 6)
    assert max(map(abs, calm[6:-6])) < 0.1
    assert math.isnan(smooth([1.0, math.nan, 3.0], 1)[1])


def test_long_noisy_lines_are_drawn_pale_below_their_smoothed_selves():
    x = list(range(3 * POINTS))
    noise = Series("a", x, [(k // 3) % 2 for k in x])
    figure = line_chart([noise], title="t", x_label="x")
    raw, calm = ([y for _, _, y in line] for line in paths(figure))
    assert figure.count('class="raw"') == 1
    assert max(calm[10:-10]) - min(calm[10:-10]) < 0.2 * (max(raw) - min(raw))
    assert len(paths(line_chart([noise], title="t", x_label="x", noisy=False))) == 1
    assert len(paths(line_chart([Series("a", [0, 1], [0, 1])], title="t", x_label="x"))) == 1


def test_ticks_are_round_and_inside():
    assert nice_ticks(0.13, 0.88) == [0.2, 0.4, 0.6, 0.8]
    assert nice_ticks(-30, 1000, 4) == [0, 200, 400, 600, 800, 1000]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12345, "12,345"), (0.00005, "5e-5"), (2.5e7, "2.5e7"), (0.12345, "0.1235")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_parts_of_unlike_size_do_not_share_an_axis(run):
    lines = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        sized = '"parts": {"accuracy": 0.5, "small": 0.4, "big": 30.0, "bigger": 40.0, '
        lines.append(line.replace('"parts": {"motion"', sized + '"motion"'))
    (run / "metrics.jsonl").write_text("\n".join(lines))
    titles = re.findall(r"<figcaption><b>([^<]*)</b>", training_section(read_record(run)))
    assert titles[:5] == ["loss", "accuracy", "small", "big, bigger", "motion, appearance"]


def test_steps_done_again_count_once(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "step": 10, "loss": 99.0, "parts": {}}\n')
    losses = read_record(run).series("step", "loss")
    assert len(losses.y) == 600
    assert losses.y[10] == 99.0
    assert list(losses.x) == sorted(losses.x)
