import numpy as np
import pytest

from kinema.evaluation.compare import Judged, compare, compare_with_references, verdict
from kinema.metrics import paired_bootstrap, sign_flip_test

MEMBER = np.repeat(np.arange(8), 3)


def judged(arm, *by_seed, protocol="knn"):
    return Judged(arm, protocol, "top1", {seed: np.asarray(hits, float) for seed, hits in enumerate(by_seed)})


def hits(share, seed=0):
    return 100.0 * (np.random.default_rng(seed).random(24) < share)


def test_difference_interval_and_p_are_those_of_the_groups():
    first, second = hits(0.9), hits(0.3, seed=1)
    found = compare(judged("a", first), judged("b", second), MEMBER)
    by_group = (first - second).reshape(8, 3).mean(1)
    assert found.difference == pytest.approx((first - second).mean())
    assert (found.low, found.high) == paired_bootstrap(by_group, weights=[3] * 8)[1:]
    assert found.p_value == sign_flip_test(by_group, weights=[3] * 8)
    assert (found.arm, found.against, found.groups, found.verdict) == ("a", "b", 8, "beats")
    assert compare(judged("b", second), judged("a", first), MEMBER).verdict == "loses"


def test_groups_weigh_by_their_videos():
    member = np.array([0] * 10 + list(range(1, 8)))
    first = np.array([100.0] * 10 + [0] * 7)
    found = compare(judged("a", first), judged("b", 0 * first), member)
    assert found.difference == pytest.approx(100 * 10 / 17)


def test_seeds_are_paired_where_both_arms_have_them():
    noise = [hits(0.5, seed=s) for s in range(3)]
    better = [np.minimum(100, n + 20) for n in noise]
    paired = compare(judged("a", *better), judged("b", *noise), MEMBER)
    mixed = compare(judged("a", *better), judged("b", np.mean(noise, 0)), MEMBER)
    assert paired.difference == pytest.approx(mixed.difference)
    assert paired.high - paired.low < mixed.high - mixed.low


def test_an_arm_without_those_seeds_meets_each_with_its_mean():
    same = hits(0.5)
    found = compare(judged("a", same, same), judged("b", same), MEMBER)
    assert (found.low, found.difference, found.high) == (0, 0, 0)


def test_equal_arms_are_not_distinguishable():
    found = compare(judged("a", hits(0.5)), judged("b", hits(0.5)), MEMBER)
    assert (found.difference, found.p_value, found.verdict) == (0, 1, "not distinguishable")


def test_beats_only_where_the_interval_excludes_zero_the_test_agrees_and_groups_suffice():
    assert [verdict(*bounds, 6, 0.05) for bounds in ((0.1, 5), (-5, -0.1), (0, 5), (-1, 1))] == [
        "beats",
        "loses",
        "not distinguishable",
        "not distinguishable",
    ]
    assert verdict(50, 60, 5, 0.01) == "too few groups"
    assert verdict(2, 20, 9, 0.125) == verdict(-20, -2, 9, 0.125) == "not distinguishable"


def test_one_verdict_does_not_contradict_the_p_beside_it():
    """Four of nine groups differ, all one way: the interval excludes 0, and p is 2 / 2^4."""
    first = np.array([100.0, 50, 100, 100, 75, 50, 50, 50, 50])
    found = compare(judged("a", first), judged("b", np.full(9, 50.0)), np.arange(9))
    assert found.low > 0 and found.p_value == 0.125 and found.verdict == "not distinguishable"


def test_useful_only_above_the_best_reference():
    references = [judged(f"pixels-{share}", hits(share, 2), protocol="linear") for share in (0.1, 0.6, 0.2)]
    strong = compare_with_references(judged("a", hits(1.0)), references, MEMBER)
    assert [found.verdict for found in strong] == ["beats", "useful", "beats"]
    assert {found.against_protocol for found in strong} == {"linear"}
    middling = compare_with_references(judged("a", references[1].hits[0]), references, MEMBER)
    assert middling[1].verdict == "not distinguishable" and middling[0].verdict == "beats"
    assert compare_with_references(judged("a", hits(1.0)), [], MEMBER) == []
