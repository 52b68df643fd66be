import numpy as np
import pytest
import torch

from kinema.metrics import (
    confusion_matrix,
    knn_scores,
    mean_logits,
    mean_softmax,
    ranks_of,
    roc_auc,
    softmax,
    topk_accuracy,
)


def slow_knn(train, labels, queries, classes, k, temperature=0.07):
    scores = np.zeros((len(queries), classes))
    for i, query in enumerate(queries):
        cosine = [float(query @ t / np.linalg.norm(query) / np.linalg.norm(t)) for t in train]
        for j in sorted(range(len(train)), key=lambda j: (-cosine[j], j))[:k]:
            scores[i, labels[j]] += np.exp(cosine[j] / temperature)
    return scores


def test_knn_agrees_with_a_slow_calculation_in_chunks_of_any_size():
    rng = np.random.default_rng(0)
    train, queries = rng.normal(size=(37, 5)).astype("float32"), rng.normal(size=(23, 5)).astype("float32")
    labels = rng.integers(0, 4, 37)
    slow = slow_knn(train, labels, queries, 4, 9)
    for chunk in (1, 7, 100):
        fast = knn_scores(train, labels, torch.from_numpy(queries), classes=4, k=9, chunk=chunk)
        np.testing.assert_allclose(fast, slow, rtol=2e-3)
    assert fast.dtype == np.float32


def test_knn_with_one_point_per_class_takes_the_nearest_whatever_its_length():
    train = np.array([[100.0, 0.0], [0.0, 0.01], [-5.0, -5.0]])
    queries = np.array([[3.0, 1.0], [0.1, 9.0], [-1.0, -2.0]])
    assert knn_scores(train, [0, 1, 2], queries, classes=3, k=1).argmax(1).tolist() == [0, 1, 2]


def test_knn_with_all_equal_similarities_votes_by_class_frequency():
    train = np.tile([[1.0, 0.0]], (10, 1))
    scores = knn_scores(train, [0] * 2 + [1] * 5 + [2] * 3, np.array([[1.0, 1.0]]), classes=3, k=10)
    np.testing.assert_allclose(scores[0] / scores[0].sum(), [0.2, 0.5, 0.3], rtol=1e-5)


def test_knn_ties_are_taken_in_the_order_of_the_training_set():
    scores = knn_scores(np.ones((6, 2)), [2, 2, 0, 0, 1, 1], np.ones((1, 2)), classes=3, k=3)
    np.testing.assert_allclose(scores[0] / scores[0].sum(), [1 / 3, 0, 2 / 3], rtol=1e-6)


def test_knn_within_one_set_can_leave_the_point_itself_out():
    points, labels = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), [0, 1, 2]
    assert knn_scores(points, labels, points, classes=3, k=1).argmax(1).tolist() == [0, 1, 2]
    alone = knn_scores(points, labels, points, classes=3, k=20, exclude_self=True, chunk=2)
    assert alone.argmax(1).tolist() == [1, 0, 1]
    assert (np.diag(alone) == 0).all()


def test_knn_without_training_points_is_refused():
    with pytest.raises(ValueError, match="at least one training point"):
        knn_scores(np.ones((1, 2)), [0], np.ones((1, 2)), classes=1, exclude_self=True)


def test_topk_accuracy_counts_ranks_and_breaks_ties_by_class():
    scores = np.array([[0.5, 0.3, 0.2], [0.2, 0.4, 0.4], [0.2, 0.4, 0.4], [0.0, 0.1, 0.9]])
    labels = [0, 1, 2, 0]
    assert ranks_of(scores, labels).tolist() == [1, 1, 2, 3]
    assert [topk_accuracy(scores, labels, k) for k in (1, 2, 3)] == [50.0, 75.0, 100.0]


def test_confusion_matrix_has_truth_in_rows():
    assert confusion_matrix([1, 1, 0, 2], [1, 0, 0, 1], classes=3).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_mean_logits_and_mean_softmax_differ_where_one_view_is_very_sure():
    two = np.array([[[10.0, 0.0], [0.0, 6.0]]])
    np.testing.assert_allclose(mean_logits(two), [[5, 3]])
    np.testing.assert_allclose(mean_softmax(two), [[0.5012, 0.4988]], atol=5e-5)
    three = np.array([[[10.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 0.0]]])
    np.testing.assert_allclose(mean_logits(three)[0, :2], [3.33, 1.33], atol=5e-3)
    np.testing.assert_allclose(mean_softmax(three)[0, :2], [0.404, 0.525], atol=5e-4)


def test_softmax_stands_large_logits():
    np.testing.assert_allclose(softmax([[1e4, 1e4 - np.log(3)]]), [[0.75, 0.25]])


def test_a_classifier_that_broke_down_is_never_right():
    scores = np.array([[np.nan, np.nan, np.nan], [0.1, np.nan, 0.9], [0.1, 0.2, 0.9]])
    assert ranks_of(scores, [0, 2, 2]).tolist() == [3, 3, 1]
    assert topk_accuracy(scores, [0, 2, 2]) == pytest.approx(100 / 3)


def test_the_area_under_the_curve_counts_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 8, 40), rng.random(40) < 0.4
    above = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert roc_auc(scores, positive) == pytest.approx(100 * np.mean(above))
    assert (roc_auc([1, 2, 3], [0, 0, 1]), roc_auc([1, 2, 3], [1, 0, 0])) == (100, 0)
    with pytest.raises(ValueError, match="negatives"):
        roc_auc([1, 2], [1, 1])
