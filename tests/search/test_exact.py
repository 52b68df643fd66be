"""Exact search: a stable sort of all similarities as the oracle."""

import numpy as np
import pytest
import torch

from kinema.errors import DataError
from kinema.metrics import nearest_neighbours
from kinema.search import ExactIndex, exact


def oracle(queries, vectors, k):
    scaled = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (queries, vectors)]
    similarity = np.round(scaled[0] @ scaled[1].T, 5)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k], similarity


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_neighbours_are_those_of_a_full_sort_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(exact, "BLOCK", block)
    monkeypatch.setattr(exact, "QUERIES", 4)
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(100, 6)), rng.normal(size=(11, 6))
    found = ExactIndex(vectors).search(queries, 9)
    positions, similarity = oracle(queries, vectors, 9)
    assert found.position.tolist() == positions.tolist()
    np.testing.assert_allclose(found.similarity, np.take_along_axis(similarity, positions, 1), atol=2e-5)
    same = nearest_neighbours(queries, vectors, 9)
    assert torch.equal(found.position, same.position)


@pytest.mark.parametrize("block", [5, 1000])
def test_equals_come_in_the_order_of_the_index(monkeypatch, block):
    monkeypatch.setattr(exact, "BLOCK", block)
    vectors = np.eye(3)[np.arange(30) % 3]
    found = ExactIndex(vectors).search(np.eye(3), 12)
    for query in range(3):
        others = [i for i in range(30) if i % 3 != query]
        assert found.position[query].tolist() == [*range(query, 30, 3), *others[:2]]


def test_length_does_not_count_and_few_vectors_are_all_found():
    vectors = np.array([[1.0, 0], [0, 5], [3, 3]])
    found = ExactIndex(vectors).search(np.array([[10.0, 0.1]]), 20)
    assert found.position.tolist() == [[0, 2, 1]] and len(ExactIndex(vectors)) == 3


def test_wrong_shapes_and_values_are_named():
    index = ExactIndex(np.eye(4))
    with pytest.raises(DataError, match=r"queries must be \[Q, 4\], got \(2, 3\)"):
        index.search(np.ones((2, 3)))
    with pytest.raises(DataError, match="k=0"):
        index.search(np.eye(4), 0)
    with pytest.raises(DataError, match="not finite"):
        ExactIndex(np.full((2, 2), np.nan))
    with pytest.raises(DataError, match=r"shape \(0, 3\)"):
        ExactIndex(np.zeros((0, 3)))
