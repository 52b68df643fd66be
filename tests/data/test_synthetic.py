"""The synthetic world: true, keyed, and told by motion alone."""

import csv

import numpy as np
import pytest

from kinema.data.synthetic import MOTIONS, World, draw_scene, render_clip, render_world
from kinema.errors import RecipeError
from kinema.video.decode import read_frames
from kinema.video.probe import probe

SMALL = World(frames=16, size=(48, 64))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    labels = render_world(folder, clips=9, seed=3, world=SMALL, workers=1)
    with labels.open(newline="") as file:
        return folder, list(csv.DictReader(file))


def test_files_hold_the_rendered_frames(rendered):
    folder, rows = rendered
    assert [row["label"] for row in rows] == [MOTIONS[i % 8] for i in range(9)]
    for i in (0, 5):
        info = probe(folder / rows[i]["path"])
        assert (info.frames, info.height, info.width, round(info.fps)) == (16, 48, 64, 25)
        decoded = read_frames(info, np.arange(16)).astype(float)
        assert np.abs(decoded - render_clip(3, i, SMALL).frames).mean() < 10  # what lossy coding changes
        assert np.abs(decoded - render_clip(3, i + 8, SMALL).frames).mean() > 20  # another clip of the same class


def test_a_clip_does_not_depend_on_the_others(rendered, tmp_path):
    folder, _ = rendered
    render_world(tmp_path, clips=3, seed=3, world=SMALL, workers=2)
    for name in ("000000.mp4", "000002.mp4"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert draw_scene(3, 1, SMALL) != draw_scene(4, 1, SMALL)


def test_a_stopped_rendering_goes_on(tmp_path):
    render_world(tmp_path, clips=2, world=SMALL, workers=1)
    kept = (tmp_path / "000001.mp4").stat().st_mtime_ns
    done = []
    render_world(tmp_path, clips=3, world=SMALL, workers=1, progress=lambda n, total: done.append((n, total)))
    assert (tmp_path / "000001.mp4").stat().st_mtime_ns == kept
    assert done[-1] == (3, 3)


@pytest.mark.parametrize("label", MOTIONS)
def test_the_body_moves_as_its_class_says(label):
    i = MOTIONS.index(label)
    paths = [render_clip(0, i + 8 * k, World(frames=25, size=(96, 128), camera=0, distractors=0)) for k in range(4)]
    travelled = [np.linalg.norm(np.diff(clip.centre, axis=0), axis=1) for clip in paths]
    in_place = label in ("rotate", "rock", "pulse")
    assert all((steps.max() < 1e-3) == in_place for steps in travelled)
    if label == "stop_and_go":
        assert all((steps < 1e-3).any() and (steps > 0.5).any() for steps in travelled)
    if label == "pulse":
        widths = [clip.box[:, 2] - clip.box[:, 0] for clip in paths]
        assert all(width.max() > 1.2 * width.min() for width in widths)


def test_speed_in_the_table_is_the_path_of_the_body():
    world = World(frames=3, size=(96, 128), fps=100.0, camera=0, distractors=0)
    clip = render_clip(0, 0, world)
    step = np.linalg.norm(clip.centre[1] - clip.centre[0])
    assert step * world.fps == pytest.approx(draw_scene(0, 0, world).body.speed, rel=1e-3)


def centre_of(difference):
    weights = np.abs(difference) ** 2
    axes = np.indices(weights.shape)
    return [(axis * weights).sum() / weights.sum() for axis in axes]


def test_one_frame_does_not_tell_the_class_but_the_change_between_frames_does():
    from sklearn.linear_model import LogisticRegression

    world = World(frames=16, size=(48, 64), camera=0, distractors=0, classes=("translate", "rotate"))
    clips = [render_clip(1, i, world).frames.mean(3) for i in range(160)]
    labels = np.arange(160) % 2
    still = np.stack([clip[8, ::4, ::4].ravel() for clip in clips]) / 255
    # How far the place of change wanders from the first pair of frames to the last.
    places = np.stack([[centre_of(clip[1] - clip[0]), centre_of(clip[-1] - clip[-2])] for clip in clips])
    moving = np.linalg.norm(places[:, 0] - places[:, 1], axis=1, keepdims=True)
    train, test = slice(0, 100), slice(100, 160)

    def accuracy(features):
        return LogisticRegression(max_iter=2000).fit(features[train], labels[train]).score(features[test], labels[test])

    assert accuracy(still) < 0.68  # chance 0.5, 60 clips
    assert accuracy(moving) > 0.75


@pytest.mark.parametrize("wrong", [{"size": (15, 32)}, {"classes": ("flying",)}, {"frames": 0}])
def test_settings_that_cannot_be_rendered_are_refused(wrong):
    with pytest.raises(RecipeError):
        World(**wrong)
