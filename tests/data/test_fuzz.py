"""Broken files in bulk: each is readable or quarantined with a reason, and none ends or holds up scan or reading."""

import numpy as np
import pytest

from benchmarks.robustness import WAYS, account, mutate, write_mutations, write_originals

COUNT = 66


def test_every_broken_file_is_accounted_for(tmp_path):
    """Those that the scan calls readable are read whole, in a process apart; damage found only then names a frame."""
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    write_mutations(write_originals(tmp_path / "whole"), tmp_path / "broken", COUNT, seed=1)
    outcomes, reasons = account(tmp_path / "broken")
    assert set(outcomes) == {"read", "told while reading", "crashed", "hung", "quarantined", "unaccounted"}
    assert outcomes["crashed"] == outcomes["hung"] == outcomes["unaccounted"] == 0
    assert sum(outcomes.values()) == COUNT
    assert outcomes["read"] > 20 and outcomes["quarantined"] > 10 and outcomes["told while reading"] < 10
    assert not [reason for reason in reasons if "Error" in reason or "not permitted" in reason]


@pytest.mark.parametrize("way", WAYS)
def test_mutations_change_a_file_the_same_way_each_time(way):
    data, other = bytes(range(256)) * 16, b"header" * 100
    first, again = (mutate(data, other, way, np.random.default_rng(3)) for _ in range(2))
    assert first == again != data
