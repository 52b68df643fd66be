import numpy as np

from kinema.metrics import cosine_match_ranks, hit_at_k, match_ranks, nearest_neighbours
from kinema.metrics.retrieval import similarities


def test_hand_case_of_four_gallery_items():
    ranks = match_ranks(np.array([[0.9, 0.8, 0.7, 0.6]]), [1], np.array([0, 1, 1, 2]))
    assert ranks.tolist() == [2]
    assert (hit_at_k(ranks, 1), hit_at_k(ranks, 2)) == (0.0, 100.0)


def test_ties_rank_in_the_order_of_the_gallery():
    similarity = np.array([[0.5, 0.5, 0.5, 0.1]])
    assert [match_ranks(similarity, [q], [0, 1, 2, 3])[0] for q in range(4)] == [1, 2, 3, 4]
    assert match_ranks(similarity, [1], [0, 1, 1, 3])[0] == 2


def test_a_query_without_partner_is_never_hit():
    ranks = match_ranks(np.eye(2), [0, 7], [0, 1])
    assert hit_at_k(ranks, 1000) == 50.0


def test_ranks_agree_with_a_stable_sort():
    rng = np.random.default_rng(1)
    queries, gallery = rng.normal(size=(50, 6)), rng.normal(size=(80, 6))
    wanted, present = rng.integers(0, 5, 50), rng.integers(0, 5, 80)
    cosine = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (
        gallery / np.linalg.norm(gallery, axis=1)[:, None]
    ).T
    order = np.argsort(-cosine, axis=1, kind="stable")
    slow = 1 + (present[order] == wanted[:, None]).argmax(1)
    for chunk in (7, 1000):
        assert cosine_match_ranks(queries, gallery, wanted, present, chunk=chunk).tolist() == slow.tolist()


def test_the_gallery_retrieves_itself_unless_the_query_is_left_out():
    features = np.random.default_rng(2).normal(size=(30, 8)).astype("float32")
    labels = np.arange(30) // 2
    assert hit_at_k(cosine_match_ranks(features, features, labels, labels), 1) == 100.0
    others = cosine_match_ranks(features, features, labels, labels, exclude_self=True, chunk=4)
    assert hit_at_k(others, 1) < 50.0
    assert hit_at_k(others, 29) == 100.0


def test_shuffled_labels_give_the_rate_of_chance_and_hits_never_fall_with_k():
    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(2000, 8)), rng.permutation(2000) % 5
    ranks = cosine_match_ranks(features[:1000], features[1000:], labels[:1000], labels[1000:])
    hits = [hit_at_k(ranks, k) for k in (1, 5, 10)]
    assert hits == sorted(hits)
    np.testing.assert_allclose(hits, [100 * (1 - 0.8**k) for k in (1, 5, 10)], atol=5)


def test_nearest_neighbours_are_those_of_a_stable_sort_whatever_the_ties():
    rng = np.random.default_rng(4)
    gallery = rng.integers(-1, 2, (60, 3)) + 0.0
    queries = rng.integers(-1, 2, (40, 3)) + 0.0
    full = np.concatenate([block.numpy() for block in similarities(queries, gallery, chunk=7)])
    slow = np.argsort(-full, axis=1, kind="stable")
    for k in (1, 9, 60):
        found = nearest_neighbours(queries, gallery, k, chunk=7)
        assert found.position.tolist() == slow[:, :k].tolist()
        np.testing.assert_array_equal(found.similarity, np.take_along_axis(full, slow[:, :k], 1))
