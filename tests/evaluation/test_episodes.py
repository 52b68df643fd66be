"""Episodes: nearest class mean, against a slow second calculation and known answers."""

import numpy as np
import pytest

from kinema.errors import DataError, RecipeError
from kinema.evaluation import EvaluationSettings, evaluate
from kinema.evaluation.episodes import Accuracy, Episodes, parse_episodes, run_episodes
from kinema.randomness import numpy_generator
from tests.evaluation.videos import Brightness, MeanColour


def test_clear_classes_are_always_found_and_noise_at_chance():
    labels = np.arange(200) % 10
    clear = np.eye(10, dtype=np.float32)[labels] * np.linspace(0.1, 9, 200, dtype=np.float32)[:, None]
    assert run_episodes(clear, labels, Episodes(count=20), seed=0).mean == 100
    noise = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    found = run_episodes(noise, labels, Episodes(count=300), seed=0)
    assert found.mean == pytest.approx(20, abs=3) and found.interval[0] < found.mean < found.interval[1]


def test_a_slow_calculation_agrees():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 60)
    features = (rng.normal(size=(60, 5)) + 1.5 * np.eye(4, 5)[labels]).astype(np.float32)
    wanted = Episodes(ways=3, shots=2, queries=4, count=15)
    found = run_episodes(features, labels, wanted, seed=7)
    for number, accuracy in enumerate(found.episodes):
        draw = numpy_generator("episode", 7, number)
        classes = draw.choice([int(c) for c in np.unique(labels)], 3, replace=False)
        support, asked = {}, []
        for c in classes:
            rows = draw.permutation(np.flatnonzero(labels == c))
            mean = sum(features[r] / np.linalg.norm(features[r]) for r in rows[:2])
            support[c] = mean / np.linalg.norm(mean)
            asked += [(r, c) for r in rows[2:6]]
        right = [max(support, key=lambda k, r=r: float(features[r] @ support[k])) == c for r, c in asked]
        assert accuracy == pytest.approx(100 * np.mean(right))


def test_the_interval_is_that_of_the_mean():
    found = Accuracy(np.array([20.0, 40.0, 60.0, 80.0]))
    half = 1.96 * np.std([20, 40, 60, 80], ddof=1) / 2
    assert found.interval == pytest.approx((50 - half, 50 + half))
    assert Accuracy(np.array([0.0, 100.0])).interval == (0, 100)


def test_small_sets_give_fewer_ways_and_queries_or_an_error():
    labels = np.array([0] * 3 + [1] * 3 + [2])
    found = run_episodes(np.eye(3, dtype=np.float32)[labels], labels, Episodes(5, 2, 15, 10), seed=0)
    assert found.mean == 100
    with pytest.raises(DataError, match="fewer shots"):
        run_episodes(np.eye(3, dtype=np.float32)[labels], labels, Episodes(5, 3), seed=0)


def test_names():
    assert parse_episodes("episodes") == Episodes(5, 1) and parse_episodes("episodes:20x5") == Episodes(20, 5)
    assert parse_episodes("knn") is None
    with pytest.raises(RecipeError, match="2 ways"):
        parse_episodes("episodes:1x1")


def test_rows_of_an_evaluation(colours):
    settings = EvaluationSettings(("episodes:3x1",), group="scene", pixels=False)
    found = evaluate({"a": MeanColour(), "b": Brightness()}, colours, settings)
    good, poor = found.rows
    assert (good.protocol, good.metric, good.value, good.n_train) == ("episodes:3x1", "top1", 100, 0)
    assert poor.value < 70 and poor.card["interval"][0] < poor.value
    assert good.card["episodes"] == {"ways": 3, "shots": 1, "queries": 15, "count": 600}
    again = evaluate({"a": MeanColour(), "b": Brightness()}, colours, settings)
    assert again.rows == found.rows
