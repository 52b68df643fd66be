"""The world of long videos: its labels need the order over minutes, not what is shown on average."""

from itertools import pairwise

import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.data.synthetic import MOTIONS, Extras, LongWorld, compose, describe, render_film, render_truth, render_world
from kinema.data.synthetic.long import ORDERS, STEPS, activity_histogram, draw_story
from kinema.errors import RecipeError
from kinema.video.probe import probe

WORLD = LongWorld(seconds=60, fps=6)
STORIES = 400


@pytest.fixture(scope="module")
def stories():
    return [draw_story(0, i, WORLD) for i in range(STORIES)]


def test_segments_follow_each_other_and_hold_every_step(stories):
    for story in stories:
        assert story.segments[0].start == 0
        assert story.segments[-1].stop == WORLD.frames
        assert all(one.stop == other.start for one, other in pairwise(story.segments))
        assert min(segment.stop - segment.start for segment in story.segments) >= 5
        steps = [segment.activity for segment in story.segments if segment.activity < STEPS]
        assert sorted(set(steps)) == list(range(STEPS))
        assert len(steps) == STEPS + 1
        assert steps.count(story.repeated) == 2


def test_the_order_and_the_repetition_can_be_read_off_the_segments(stories):
    for story in stories:
        steps = [segment.activity for segment in story.segments if segment.activity < STEPS]
        rest = [step for step in steps if step != story.repeated]
        assert rest == [step for step in ORDERS[story.order] if step != story.repeated]
        first, last = [place for place, step in enumerate(steps) if step == story.repeated]
        assert (last - first == 1) == (story.repeat == "at once")
        assert (last - first == 4) == (story.repeat == "later")


@pytest.mark.parametrize("label", ["order", "repeat"])
def test_what_is_shown_on_average_does_not_tell_the_labels_but_the_order_does(stories, label):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    truth = np.array([getattr(story, label) for story in stories])
    means = np.stack([activity_histogram(story) for story in stories])
    # Mean time of each activity, and how far its moments lie apart.
    moments = np.zeros((STORIES, 2, len(MOTIONS)))
    for row, story in zip(moments, stories, strict=True):
        for k in range(len(MOTIONS)):
            times = [segment.start for segment in story.segments if segment.activity == k] or [0]
            row[:, k] = np.mean(times), np.ptp(times)
    ordered = np.concatenate([moments[:, 0], np.sort(moments[:, 1, :STEPS], 1)], 1) / WORLD.frames

    def accuracy(model, features):
        return model.fit(features[:260], truth[:260]).score(features[260:], truth[260:])

    chance = 1 / len(set(truth))
    limit = chance + 3 * np.sqrt(chance * (1 - chance) / 140)
    assert accuracy(LogisticRegression(max_iter=300), 20 * means) < limit
    assert accuracy(RandomForestClassifier(30, random_state=0), means) < limit
    assert accuracy(RandomForestClassifier(30, random_state=0), ordered) > 0.9


def test_labels_are_shown_equally_often(stories):
    for label, values in (("order", 4), ("repeat", 2), ("repeated", STEPS)):
        counts = np.unique([getattr(story, label) for story in stories], return_counts=True)[1]
        assert len(counts) == values
        assert counts.min() > 0.6 * counts.max()


def test_an_activity_looks_the_same_in_all_videos_of_a_world():
    def mean_colours(seed, i):
        frames, found = render_film(compose(seed, i, WORLD)).astype(float), {}
        for segment in draw_story(seed, i, WORLD).segments:
            found[segment.activity] = frames[segment.start : segment.stop].mean((0, 1, 2))
        return np.stack([found[k] for k in range(STEPS)])

    one, other, elsewhere = mean_colours(0, 0), mean_colours(0, 1), mean_colours(1, 0)
    assert np.abs(one - other).max() < 12
    assert np.abs(one - elsewhere).max() > 40


def test_an_activity_is_its_motion():
    found = describe(0, 0, WORLD)
    assert [row["label"] for row in found.segments] == [MOTIONS[s.activity] for s in draw_story(0, 0, WORLD).segments]
    truth = render_truth(compose(0, 0, WORLD))[1]
    for segment, row in zip(draw_story(0, 0, WORLD).segments, found.segments, strict=True):
        span = slice(segment.start, segment.stop - 1)
        shown = np.unique(truth.layers[segment.start : segment.stop])[-1]
        steps = truth.motion[span, shown]
        assert truth.owners[shown] == segment.activity + 1
        swelling = np.abs(np.linalg.det(steps[:, :, :2]) - 1).max() > 1e-6
        turning = np.abs(steps[:, 0, 1]).max() > 1e-6
        assert swelling == (row["label"] == "pulse")
        assert turning == (row["label"] in ("rotate", "rock"))


def test_files_hold_the_segments(tmp_path):
    labels = render_world(tmp_path, clips=1, world=LongWorld(seconds=30, fps=5), extras=Extras(sound=True), workers=1)
    video = probe(tmp_path / "000000.mp4")
    assert video.frames == 150
    assert video.duration == pytest.approx(30)
    rows = Manifest.read(labels.with_name("segments.csv"))
    bounds = [rows.bounds(k) for k in range(len(rows))]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == pytest.approx(30)
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
    assert set(rows.column("role")) == {"step", "filler"}
    assert Manifest.read(labels).column("label") == ["onward"]


@pytest.mark.parametrize("wrong", [{"seconds": 10}, {"fps": 2}, {"camera_motions": ("fly",)}, {"size": (15, 16)}])
def test_settings_that_cannot_be_rendered_are_refused(wrong):
    with pytest.raises(RecipeError):
        LongWorld(**wrong)
