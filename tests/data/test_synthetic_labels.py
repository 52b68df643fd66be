"""Labels of synthetic clips: independent of each other, told by motion and not by looks, and true."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from kinema.data.synthetic import MOTIONS, World, compose, describe, draw_scene, render_film, render_truth
from kinema.data.synthetic.captions import COMPASS
from kinema.data.synthetic.facts import REGIONS

LABELS = World(
    frames=12,
    size=(32, 48),
    fps=12.5,
    border="wrap",
    identities=8,
    speeds=(0.15, 0.3, 0.6),
    directions=8,
    distractors=0,
)
ORDER = replace(LABELS, events=2, classes=("translate", "rotate", "rock", "pulse"))


@pytest.fixture(scope="module")
def rows():
    """What labels.csv says of 600 clips of each world."""
    return {world: [describe(5, i, world).row for i in range(600)] for world in (LABELS, ORDER)}


@pytest.mark.parametrize(
    ("world", "names"),
    [
        (LABELS, ("label", "speed_class", "direction_class", "identity", "region", "split")),
        (ORDER, ("pair", "order", "speed_class", "direction_class", "identity", "split")),
    ],
    ids=["labels", "order"],
)
def test_labels_are_independent_of_each_other(rows, world, names):
    from scipy.stats import chi2_contingency

    chances = {}
    for first, second in combinations(names, 2):
        one, other = (np.unique([row[name] for row in rows[world]], return_inverse=True)[1] for name in (first, second))
        table = np.zeros((one.max() + 1, other.max() + 1))
        np.add.at(table, (one, other), 1)
        assert min(table.shape) > 1
        chances[first, second] = chi2_contingency(table).pvalue
    assert min(chances.values()) > 0.001, chances


def test_every_value_of_a_label_is_shown(rows):
    found = {name: {row[name] for row in rows[LABELS]} for name in rows[LABELS][0]}
    assert found["label"] == set(MOTIONS)
    assert found["speed_class"] == {"slow", "medium", "fast"}
    assert found["direction_class"] == set(COMPASS)
    assert found["identity"] == set(range(8))
    assert len(found["region"]) == REGIONS**2
    orders = [row["order"] for row in rows[ORDER]]
    assert 0.4 < orders.count("forward") / len(orders) < 0.6
    assert {row["label"] for row in rows[ORDER]} == {
        f"{first}-{second}" for first in ORDER.classes for second in ORDER.classes if first != second
    }


def looks(seed, i, world):
    """One frame of a clip: a small picture, where what differs from the ground lies, and its colours."""
    film = compose(seed, i, world)
    (shot,), t = film.shots, i % world.frames
    layers = tuple(layer._replace(placing=layer.placing[t : t + 1]) for layer in shot.layers)
    frame = render_film(replace(film, shots=(replace(shot, view=shot.view[t : t + 1], layers=layers),)))[0] / 255.0
    object_ = np.abs(frame - np.median(frame, (0, 1))).mean(2) > 0.05
    colour = frame[object_].mean(0) if object_.any() else np.zeros(3)
    small = frame.reshape(4, 8, 6, 8, 3).mean((1, 3, 4)).ravel()
    return np.concatenate([small, frame.mean((0, 1)), frame.std((0, 1)), colour, [object_.mean()]])


@pytest.mark.parametrize(
    ("world", "names"),
    [(LABELS, ("label", "speed_class", "direction_class")), (ORDER, ("order", "label"))],
    ids=["labels", "order"],
)
def test_one_frame_tells_no_label_of_motion(world, names):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    world = replace(world, clutter=0.0)  # nothing distracts from the object
    count, train = 480, 300
    features = np.stack([looks(5, i, world) for i in range(count)])
    facts = [describe(5, i, world).row for i in range(count)]
    models = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=100)),
        RandomForestClassifier(24, random_state=0),
    )

    def surplus(name, model):
        """By how many standard deviations the classifier beats the commonest class."""
        truth = np.array([row[name] for row in facts])
        right = model.fit(features[:train], truth[:train]).score(features[train:], truth[train:])
        chance = max(np.mean(truth[train:] == value) for value in set(truth))
        return (right - chance) / np.sqrt(chance * (1 - chance) / (count - train))

    for name in names:
        assert max(surplus(name, model) for model in models) < 3, name
    # The same features and classifiers do tell what a frame shows.
    assert surplus("identity", models[1]) > 5


@pytest.mark.parametrize("motion", ["translate", "zigzag", "stop_and_go"])
def test_speed_and_direction_classes_are_those_of_the_true_flow(motion):
    world = replace(LABELS, classes=(motion,), frames=40, fps=25.0, camera=0.0, size=(48, 64))
    for i in range(8):
        row = describe(7, i, world).row
        truth = render_truth(compose(7, i, world))[1]
        flow = truth.flow()
        steps = np.stack([flow[t][truth.masks[t] == 1].mean(0) for t in range(len(flow))])
        way = steps.mean(0)
        heading = np.degrees(np.arctan2(way[1], way[0])) % 360
        wanted = 45 * COMPASS.index(row["direction_class"])
        # A zigzag heads its way over whole periods only.
        assert abs((heading - wanted + 180) % 360 - 180) < (45 if motion == "zigzag" else 12)
        if motion == "translate":
            speed = np.linalg.norm(steps, axis=1).mean() * world.fps / world.unit
            assert speed == pytest.approx({"slow": 0.15, "medium": 0.3, "fast": 0.6}[row["speed_class"]], rel=0.02)


def test_thirds_of_the_range_are_the_speed_classes_where_any_speed_is_drawn():
    world = World()
    found = [(describe(0, i, world).row["speed_class"], draw_scene(0, i, world).body.speed / 96) for i in range(60)]
    slow, medium, fast = ([speed for name, speed in found if name == wanted] for wanted in ("slow", "medium", "fast"))
    assert max(slow) < 0.3667 < min(medium)
    assert max(medium) < 0.4334 < min(fast)


def test_the_order_of_events_is_the_order_in_which_things_move():
    world = replace(ORDER, classes=("rotate", "pulse"), frames=24, fps=12.5, camera=0.0)
    for i in range(10):
        row = describe(3, i, world).row
        motion = render_truth(compose(3, i, world))[1].motion[:, 1, :, :2]
        swells = np.abs(np.linalg.det(motion) - 1) > 1e-9
        times = np.arange(world.frames - 1) / world.fps
        before, after = times + 1 / world.fps < row["switch"], times > row["switch"]
        first, second = row["label"].split("-")
        assert (swells[before].any(), swells[after].any()) == (first == "pulse", second == "pulse")
        assert row["order"] == ("forward" if first == "rotate" else "backward")
        assert row["pair"] == "rotate+pulse"


def test_an_identity_looks_the_same_in_every_scene():
    world = replace(LABELS, size=(64, 96), frames=2)
    signatures, identities = [], []
    for i in range(60):
        frames, truth = render_truth(compose(1, i, world))
        pixels = frames[0][truth.masks[0] == 1]
        signatures.append(np.concatenate([pixels.mean(0), pixels.std(0)]))
        identities.append(describe(1, i, world).row["identity"])
    signatures, identities = np.stack(signatures), np.array(identities)
    distances = np.linalg.norm(signatures[:, None] - signatures[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(identities[distances.argmin(1)] == identities) > 0.9
    assert len({draw_scene(1, i, world).body.shape for i in range(60) if identities[i] == identities[0]}) == 1


@pytest.mark.parametrize("border", ["mirror", "wrap"])
def test_the_region_is_where_the_true_flow_is_largest(border):
    world = World(frames=20, size=(48, 72), camera=0.0, distractors=0, border=border)
    right = []
    for i in range(32):
        truth = render_truth(compose(0, i, world))[1]
        size = np.linalg.norm(truth.flow(), axis=-1).sum(0)
        cells = size.reshape(REGIONS, 16, REGIONS, 24).sum((1, 3))
        best = divmod(int(cells.argmax()), REGIONS)
        right.append(describe(0, i, world).row["region"] == f"{best[0]}-{best[1]}")
    assert np.mean(right) > 0.85  # two cells can be nearly alike


def test_settings_for_labels_change_no_clip_of_a_world_without_them():
    body = draw_scene(0, 5, World()).body
    assert body.start == pytest.approx((52.983, 49.349), abs=0.001)
    one, other = draw_scene(0, 5, World()), draw_scene(0, 5, World(directions=8, identities=4))
    assert one.distractors == other.distractors
    assert one.camera == other.camera
    assert one.body.start == other.body.start
    assert one.body.phase == other.body.phase
