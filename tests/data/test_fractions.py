"""Parts of the files: which come first, and that smaller parts lie in larger ones."""

from datetime import date

import numpy as np
import pytest

from kinema.data.fractions import fraction_rows, natural
from kinema.data.manifest import Manifest
from kinema.errors import DataError


def manifest_of(*names, **columns):
    rows = [{"path": name, **{key: values[i] for key, values in columns.items()}} for i, name in enumerate(names)]
    return Manifest.from_rows(rows, ".")


def chosen(manifest, fraction, **options):
    return [manifest.column("path")[row] for row in fraction_rows(manifest, fraction, **options)]


NAMES = (
    "S/S_20130612_0711_01_segment10.mp4",
    "S/S_20130612_0711_01_segment2.mp4",
    "S/S_20140101_1430_01_segment1.mp4",
    "A/A_20130531_2509_02_segment1.mp4",
)


def test_the_first_files_by_name_and_by_time_of_recording():
    manifest = manifest_of(*NAMES)
    # By name segment10 stands before segment2, and child A before child S.
    assert chosen(manifest, 0.5) == [NAMES[0], NAMES[3]]
    assert chosen(manifest, 0.5, by="time") == [NAMES[1], NAMES[3]]
    assert chosen(manifest, 0.75, by="time") == [NAMES[0], NAMES[1], NAMES[3]]
    assert natural("part2") < natural("part10") < natural("party")


def test_shares_are_rounded_up():
    manifest = manifest_of(*(f"{number:03d}.mp4" for number in range(100)))
    for fraction, count in ((1, 100), (0.1, 10), (0.101, 11), (0.29, 29), (0.07, 7), (0.001, 1)):
        assert chosen(manifest, fraction) == [f"{number:03d}.mp4" for number in range(count)]
    # 10,496 minutes of one child: 1,050, 105 and 11 of them.
    many = manifest_of(*(f"{number:05d}" for number in range(10496)))
    assert [len(fraction_rows(many, share)) for share in (0.1, 0.01, 0.001)] == [1050, 105, 11]


@pytest.mark.parametrize("by", ["name", "time", "random"])
def test_smaller_parts_lie_in_larger_ones_and_segments_stay_together(by):
    names = [f"c_2013-{month:02d}-{day:02d}.mp4" for month in range(1, 9) for day in (20, 3) for _ in range(2)]
    manifest = manifest_of(*names)
    parts = [set(fraction_rows(manifest, share, by=by, seed=4).tolist()) for share in (0.1, 0.3, 0.7, 1)]
    assert parts[0] < parts[1] < parts[2] < parts[3] == set(range(32))
    assert [len(part) for part in parts] == [4, 10, 24, 32]
    assert all(row ^ 1 in part for part in parts for row in part)


def test_drawn_parts_depend_on_the_seed_and_not_on_the_order_of_rows():
    names = [f"{number}.mp4" for number in range(40)]
    manifest, turned = manifest_of(*names), manifest_of(*names[::-1])
    first = chosen(manifest, 0.25, by="random", seed=1)
    assert sorted(first) == sorted(chosen(turned, 0.25, by="random", seed=1))
    assert sorted(first) != sorted(chosen(manifest, 0.25, by="random", seed=2)) and first != names[:10]
    assert np.diff(fraction_rows(manifest, 0.25, by="random")).min() > 0


def test_a_column_says_when_files_were_recorded():
    for values in (
        (3.0, 1.0, 2.0),
        ("2013-05-03", "2013-05-01", "2013-05-02"),
        [date(2013, 5, day) for day in (3, 1, 2)],
    ):
        manifest = manifest_of("a.mp4", "b.mp4", "c.mp4", recorded=values)
        assert chosen(manifest, 0.6, by="time") == ["b.mp4", "c.mp4"]
    with pytest.raises(DataError, match=r"b\.mp4 has no 'recorded'"):
        fraction_rows(manifest_of("a.mp4", "b.mp4", recorded=("2013-05-03", None)), 0.5, by="time")
    with pytest.raises(DataError, match="write dates as"):
        fraction_rows(manifest_of("a.mp4", recorded=("yesterday",)), 0.5, by="time")


@pytest.mark.parametrize("name", ["clip.mp4", "x_20131345.mp4", "123456789.mp4", "2013-05.mp4", "2013-0531.mp4"])
def test_names_without_a_date_are_refused(name):
    with pytest.raises(DataError, match="no date of recording in its name"):
        fraction_rows(manifest_of(name), 0.5, by="time")


@pytest.mark.parametrize("name", ["20130531", "a_2013_05_31_b", "x20130531120000.mp4", "20139999_2013.05.31.avi"])
def test_dates_are_found_in_names(name):
    manifest = manifest_of("2013-06-01", name, "2013-05-30")
    assert chosen(manifest, 0.6, by="time") == [name, "2013-05-30"]
