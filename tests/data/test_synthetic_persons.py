"""The world of persons: joints, parts and identities are true, and looks do not tell the action."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from kinema.data.synthetic import ACTIONS, JOINTS, PARTS, PersonWorld, compose, describe, render_film, render_truth
from kinema.data.synthetic.outfits import draw_outfit
from kinema.data.synthetic.persons import draw_crowd
from kinema.data.synthetic.skeleton import (
    CHANGE,
    FOREARM,
    SHIN,
    THIGH,
    TRUNK,
    UPPER_ARM,
    Timing,
    joint_places,
    pose_of,
    sounds_of,
)
from kinema.errors import RecipeError

WORLD = PersonWorld(frames=6, size=(96, 128), fps=5.0)


def places(action, times, timing=Timing(1.0, 0.3, 0.4)):  # noqa: B008 (a named tuple)
    return joint_places(pose_of(action, timing, times), len(times), 0.22)


@pytest.fixture(scope="module")
def clips():
    return [render_truth(compose(3, i, WORLD)) for i in range(9)]


@pytest.mark.parametrize("action", ACTIONS)
def test_limbs_keep_their_lengths_and_somebody_stands_on_the_ground(action):
    times = np.linspace(0, 2, 41)
    joints = {name: places(action, times)[:, k] for k, name in enumerate(JOINTS)}
    for side in ("left", "right"):
        for first, second, length in (
            ("shoulder", "elbow", UPPER_ARM),
            ("elbow", "wrist", FOREARM),
            ("hip", "knee", THIGH),
            ("knee", "ankle", SHIN),
        ):
            limb = joints[f"{side}_{first}"] - joints[f"{side}_{second}"]
            assert np.linalg.norm(limb, axis=1) == pytest.approx(length)
    hips = (joints["left_hip"] + joints["right_hip"]) / 2
    assert np.linalg.norm(joints["neck"] - hips, axis=1) == pytest.approx(TRUNK)
    lowest = np.maximum(joints["left_ankle"][:, 1], joints["right_ankle"][:, 1])
    assert lowest.max() == pytest.approx(-0.03, abs=1e-6)
    assert (lowest.min() < -0.1) == (action == "jump")


@pytest.mark.parametrize(("action", "backwards"), [("walk", "walk_backwards"), ("sit_down", "stand_up")])
def test_two_pairs_of_actions_differ_by_the_order_of_their_poses_alone(action, backwards):
    times = np.linspace(0, 2, 81)
    one = places(action, times, Timing(1.0, 0.0, 0.6))
    other = places(backwards, times, Timing(1.0, -2.0, 2 - 0.6 - CHANGE))
    assert one[::-1] == pytest.approx(other, abs=1e-9)
    assert np.abs(one - other).max() > 0.2


@pytest.mark.parametrize(("action", "sign"), [("walk", 1), ("run", 1), ("walk_backwards", -1)])
def test_feet_are_widest_apart_when_a_step_is_heard(action, sign):
    timing = Timing(1.1, 0.37, 0.0)
    heard = sounds_of(action, timing, 3.0)
    assert len(heard) in (6, 7)
    times = np.linspace(0, 3, 3001)
    joints = places(action, times, timing)
    hips = joints[:, JOINTS.index("left_hip")]
    swing = [joints[:, JOINTS.index(f"{side}_knee"), 2] - hips[:, 2] for side in ("left", "right")]
    apart = np.abs(swing[0] - swing[1])
    peaks = times[1:-1][(apart[1:-1] > apart[:-2]) & (apart[1:-1] >= apart[2:])]
    assert np.asarray(heard) == pytest.approx(peaks, abs=0.002)
    moved = joints[-1, 0, 2] - joints[0, 0, 2]
    assert sign * moved > 1


def test_hands_meet_at_the_sound_of_a_clap_and_feet_land_at_that_of_a_jump():
    times = np.linspace(0, 3, 3001)
    timing = Timing(1.3, 0.2, 0.0)
    joints = places("clap", times, timing)
    gap = np.linalg.norm(joints[:, JOINTS.index("left_wrist")] - joints[:, JOINTS.index("right_wrist")], axis=1)
    for time in sounds_of("clap", timing, 3.0):
        around = np.abs(times - time) < 0.2
        assert gap[np.abs(times - time).argmin()] < gap[around].min() + 1e-4
        assert gap[around].max() > gap[around].min() + 0.05
    joints = places("jump", times, timing)
    feet = -joints[:, JOINTS.index("left_ankle"), 1]
    for time in sounds_of("jump", timing, 3.0):
        if 0.1 < time < 2.9:
            assert feet[np.abs(times - (time - 0.03)).argmin()] > 0.035
            assert feet[np.abs(times - (time + 0.01)).argmin()] == pytest.approx(0.03, abs=1e-6)


def test_sitting_down_is_heard_when_it_is_done():
    assert sounds_of("sit_down", Timing(1, 0, 0.5), 3.0) == [0.5 + CHANGE]
    assert sounds_of("sit_down", Timing(1, 0, 0.5), 1.0) == []
    assert sounds_of("wave", Timing(1, 0, 0.5), 3.0) == []


def test_joints_lie_on_the_person(clips):
    on, parts = [], []
    for frames, truth in clips:
        amodal = truth.amodal_masks()
        shown = truth.parts[truth.layers]
        assert truth.joints.shape == (6, 3, 14, 3)
        for (t, k, j), seen in np.ndenumerate(truth.joints[..., 2]):
            x, y = np.rint(truth.joints[t, k, j, :2]).astype(int)
            if not (0 <= x < frames.shape[2] and 0 <= y < frames.shape[1]):
                assert not seen
                continue
            on.append(amodal[t, k, y, x])
            assert seen == (truth.masks[t, y, x] == k + 1)
            if seen and JOINTS[j] == "head":
                parts.append(PARTS[shown[t, y, x] - 1])
    assert np.mean(on) > 0.97
    assert len(on) > 1000
    assert parts.count("head") > 0.8 * len(parts)


def test_parts_fill_the_persons(clips):
    for _, truth in clips:
        assert ((truth.parts[truth.layers] > 0) == (truth.masks > 0)).all()
        assert truth.parts.max() <= len(PARTS)
    shown = {PARTS[part - 1] for _, truth in clips for part in np.unique(truth.parts[truth.layers]) if part}
    assert shown == set(PARTS)


def test_persons_hide_each_other_and_enter_and_leave(clips):
    whole, seen = (
        np.concatenate([getattr(truth, kind)().sum((2, 3)).T for _, truth in clips])
        for kind in ("amodal_masks", "modal_masks")
    )
    assert ((whole > 0) & (seen < 0.8 * whole)).any(1).mean() > 0.2
    assert (((whole == 0).any(1)) & ((whole > 0).any(1))).any()
    assert (whole[::3] > 50).all()  # the main person is always in the frame


def test_smaller_numbers_of_pixels_stand_farther_away(clips):
    for i, (_, truth) in enumerate(clips):
        persons = draw_crowd(3, i, WORLD).persons
        grounds = [persons[number - 1].ground for number in truth.depth]
        assert grounds == sorted(grounds)


def test_test_clips_show_other_persons_and_cameras():
    facts = [describe(0, i, WORLD) for i in range(180)]
    people, cameras = {"train": set(), "test": set()}, {"train": set(), "test": set()}
    for clip in facts:
        people[clip.row["split"]] |= {row["identity"] for row in clip.objects}
        cameras[clip.row["split"]].add(clip.row["camera_id"])
        assert len({row["identity"] for row in clip.objects}) == 3
    assert len(people["train"]) == 40
    assert len(people["test"]) == 24
    assert not people["train"] & people["test"]
    assert not cameras["train"] & cameras["test"]
    assert {clip.row["label"] for clip in facts} == set(ACTIONS)


def test_an_outfit_belongs_to_an_identity_and_some_look_nearly_alike():
    assert draw_outfit(0, 7) == draw_outfit(0, 7)
    assert draw_outfit(0, 6) != draw_outfit(1, 6)
    differing = [
        sum(
            one != other
            for one, other in zip(
                asdict(draw_outfit(0, k)).values(), asdict(draw_outfit(0, k + 1)).values(), strict=True
            )
        )
        for k in range(0, 200, 2)
    ]
    assert min(differing) == 1
    assert 0.1 < np.mean(np.array(differing) == 1) < 0.35


def test_clothes_and_colours_do_not_tell_the_action():
    from scipy.stats import chi2_contingency
    from sklearn.ensemble import RandomForestClassifier

    small = PersonWorld(frames=1, size=(48, 64), persons=1, actions=("walk", "wave", "kick", "jump"))
    rows, colours = [], []
    for i in range(300):
        rows.append(describe(1, i, small))
        if i < 160:
            frames, truth = render_truth(compose(1, i, small))
            body = frames[0][truth.masks[0] == 1].astype(float)
            colours.append(np.concatenate([frames[0].mean((0, 1)), body.mean(0), body.std(0)]))
    actions = np.array([clip.row["label"] for clip in rows])
    for name in ("top", "trousers"):
        values, actors = (np.unique(v, return_inverse=True)[1] for v in ([c.objects[0][name] for c in rows], actions))
        table = np.zeros((values.max() + 1, actors.max() + 1))
        np.add.at(table, (values, actors), 1)
        assert chi2_contingency(table).pvalue > 0.001
    colours, train = np.stack(colours), slice(0, 100)
    model = RandomForestClassifier(20, random_state=0).fit(colours[train], actions[train])
    assert model.score(colours[100:], actions[100:160]) < 0.25 + 3 * np.sqrt(0.25 * 0.75 / 60)


def test_captions_name_the_clothes():
    clip = describe(0, 4, WORLD)
    assert clip.objects[0]["top"] in clip.text
    assert clip.objects[0]["trousers"] in clip.text


@pytest.mark.parametrize(
    "wrong", [{"actions": ("fly",)}, {"views": ()}, {"persons": 0}, {"identities": 4}, {"size": (15, 20)}]
)
def test_settings_that_cannot_be_rendered_are_refused(wrong):
    with pytest.raises(RecipeError):
        PersonWorld(**wrong)


def test_a_camera_has_colours_of_its_own():
    styles = {}
    for i in range(40):
        film, row = compose(0, i, WORLD), describe(0, i, WORLD).row
        styles.setdefault(row["camera_id"], []).append(film.shots[0].style)
    assert all((style == found[0]).all() for found in styles.values() for style in found)
    assert len({style[0].tobytes() for style in styles.values()}) == len(styles) > 4
    film = compose(0, 0, WORLD)
    (shot,) = film.shots
    plain = render_film(replace(film, shots=(replace(shot, style=None),))).astype(float)
    wanted = plain @ shot.style[:, :3].T + shot.style[:, 3]
    assert np.abs(render_film(film) - np.clip(wanted, 0, 255)).max() <= 1


def test_what_faces_right_walks_right():
    world = PersonWorld(frames=20, size=(48, 64), persons=1, actions=("walk",), views=("side",), camera=0.0)
    for i in range(6):
        joints = render_truth(compose(0, i, world))[1].joints[:, 0, JOINTS.index("neck"), 0]
        assert (joints[-1] > joints[0] + 5) == (describe(0, i, world).row["facing"] == "right")
        assert abs(joints[-1] - joints[0]) > 5
        assert 0.3 * 64 < joints[10] < 0.7 * 64  # near the middle halfway
