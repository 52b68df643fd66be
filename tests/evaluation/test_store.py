"""Rows by key: in memory and on disk, mapped where they lie together, whole or absent."""

import numpy as np
import pytest

from kinema.errors import DataError
from kinema.evaluation import store as module
from kinema.evaluation.store import Store


def row(value):
    return np.full((2, 3), value, np.float32)


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    return Store(tmp_path / "kind" if request.param == "disk" else None)


def test_rows_come_back_in_the_order_asked_for(store):
    for name in "abc":
        store.add(name, row(ord(name)))
    store.flush()
    store.add("d", row(ord("d")))
    assert "d" in store and "e" not in store
    found = store.gather(["d", "a", "c", "a"])
    assert found[:, 0, 0].tolist() == [ord(c) for c in "daca"] and found.dtype == np.float32
    assert store.gather([]).shape[0] == 0


def test_another_reader_finds_everything_and_maps_what_lies_together(tmp_path):
    first = Store(tmp_path)
    for value in range(5):
        first.add(str(value), row(value))
    first.flush()
    first.add("5", row(5))
    first.flush()
    second = Store(tmp_path)
    assert second.gather([str(v) for v in range(6)])[:, 1, 2].tolist() == [0, 1, 2, 3, 4, 5]
    assert isinstance(second.gather(["1", "2", "3"]), np.memmap)
    assert not isinstance(second.gather(["1", "5"]), np.memmap)


def test_parts_are_bounded_and_large_tables_leave_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 2 * row(0).nbytes)
    monkeypatch.setattr(module, "MEMORY_BYTES", 3 * row(0).nbytes)
    store = Store(tmp_path)
    for value in range(5):
        store.add(str(value), row(value))
    assert len(list(tmp_path.glob("part-*.npy"))) == 2
    found = store.gather(["4", "3", "2", "1"])
    assert isinstance(found, np.memmap) and found[:, 0, 0].tolist() == [4, 3, 2, 1]
    assert not isinstance(store.gather(["4", "3", "2"]), np.memmap)


def test_an_array_without_keys_beside_it_does_not_exist(tmp_path):
    store = Store(tmp_path)
    store.add("a", row(1))
    store.flush()
    (listed,) = tmp_path.glob("*.json")
    listed.unlink()
    assert "a" not in Store(tmp_path)
    listed.write_text('["a", "b"]')
    with pytest.raises(DataError, match="1 rows for 2 keys"):
        Store(tmp_path)


def test_half_precision_refuses_what_it_cannot_hold(tmp_path):
    store = Store(tmp_path, "float16")
    store.add("a", row(1 / 3))
    assert store.gather(["a"]).dtype == np.float16
    with pytest.raises(DataError, match="float32"):
        store.add("b", row(1e5))
