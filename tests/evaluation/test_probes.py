import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kinema.evaluation.logistic import GRID, choose_strength, compare_strengths, fit_logistic, hold_outs


def planted(count, dim, classes, *, signal, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return rng.normal(size=(count, dim)) + signal * np.eye(classes, dim)[labels], labels


@pytest.mark.parametrize(("dim", "classes"), [(5, 3), (200, 3), (200, 2)])
def test_logistic_agrees_with_the_direct_solution(dim, classes):
    features, labels = planted(60, dim, classes, signal=1.0)
    model = fit_logistic(features, labels, [0.1], classes=classes)[0]
    standard = (features - features.mean(0)) / features.std(0)
    direct = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit(standard, labels)
    np.testing.assert_allclose(model.probabilities(features), direct.predict_proba(standard), atol=2e-4)


def test_a_path_of_strengths_ends_where_single_fits_end():
    features, labels = planted(40, 60, 4, signal=1.0)
    path = fit_logistic(features, labels, GRID, classes=4)
    for strength, model in list(zip(GRID, path, strict=True))[::3]:
        alone = fit_logistic(features, labels, [strength], classes=4)[0]
        np.testing.assert_allclose(model.probabilities(features), alone.probabilities(features), atol=5e-3)


def test_logistic_on_one_hot_features_is_perfect_and_gives_unseen_classes_nothing():
    labels = np.array([0, 1, 3] * 5)
    model = fit_logistic(np.eye(4)[labels], labels, [1.0], classes=4)[0]
    scores = model.probabilities(np.eye(4)[labels].reshape(3, 5, 4))
    assert scores.shape == (3, 5, 4)
    assert (scores.argmax(-1).ravel() == labels).all()
    assert (scores[..., 2] == 0).all()
    np.testing.assert_allclose(scores.sum(-1), 1)


def test_constant_dimensions_do_not_explode():
    features, labels = planted(30, 4, 2, signal=3.0)
    features[:, 3] = 1e4
    model = fit_logistic(features, labels, [1.0], classes=2)[0]
    assert np.isfinite(model.probabilities(features + np.array([0, 0, 0, 5.0]))).all()
    assert abs(model.weight[3]).max() < 1e-6


def test_a_tenth_is_held_out_in_whole_groups_with_every_class_left():
    labels, groups = np.arange(100) % 4, [f"g{i // 5}" for i in range(100)]
    parts = hold_outs(labels, groups, seed=0)
    assert [part.sum() for part in parts] == [10, 10, 10]
    assert np.sum(parts, 0).max() == 1
    for held in parts:
        assert {groups[i] for i in np.flatnonzero(held)}.isdisjoint(groups[i] for i in np.flatnonzero(~held))
    assert (parts[0] != hold_outs(labels, groups, seed=1)[0]).any()
    assert hold_outs(np.array([0, 0, 1, 1]), ["a", "a", "b", "b"], seed=0) == []
    # One small group among large ones is all that fits.
    (small,) = hold_outs(np.arange(21) % 2, ["a"] * 10 + ["b"] * 10 + ["c"], seed=0)
    assert small.tolist() == [False] * 20 + [True]


def test_a_large_set_holds_out_one_tenth_and_a_tiny_one_five():
    for count, parts in ((1000, [100]), (300, [30]), (60, [6] * 5), (20, [2] * 5)):
        labels = np.arange(count) % 2
        assert [p.sum() for p in hold_outs(labels, [str(i) for i in range(count)], seed=0)] == parts


def test_the_strength_is_chosen_by_held_out_log_loss():
    noisy, labels = planted(60, 100, 3, signal=0.4)
    held = planted(300, 100, 3, signal=0.4, seed=1)
    choice = compare_strengths((noisy, labels), held, classes=3)
    losses = []
    for strength in GRID:
        probabilities = fit_logistic(noisy, labels, [strength], classes=3)[0].probabilities(held[0])
        losses.append(-np.log(probabilities[np.arange(300), held[1]]).mean())
    assert GRID[int(np.argmin(losses))] == choice.C < 1
    assert choice.held_out == 300
    clear, labels = planted(200, 3, 3, signal=8.0)
    assert choose_strength(clear, labels, [str(i) for i in range(200)], classes=3, seed=0).C >= 1
    assert choose_strength(np.eye(4), np.array([0, 0, 1, 1]), ["a", "a", "b", "b"], classes=2, seed=0).held_out == 0


def test_the_grid_of_strengths():
    assert GRID == (1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100)
