from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import RecipeError
from kinema.evaluation.extract import FeatureTable
from kinema.evaluation.measure import group_means, interval, metrics, run_protocol
from kinema.evaluation.neighbours import KNN_K, OTHER_K
from kinema.evaluation.protocols import PROTOCOLS, protocol
from kinema.evaluation.retrieving import HIT_K
from kinema.evaluation.splits import Fold, Split
from kinema.evaluation.tasks import Scores
from kinema.metrics import paired_bootstrap, wilson_interval

CLASSES, GROUPS, VIEWS, DIM = 4, 8, 5, 12
NONE = np.empty(0, np.int64)


def split_of(labels, groups):
    """Leave one group out."""
    every = np.arange(len(labels))
    folds = [Fold(g, every[groups != g], every[groups == g], NONE) for g in np.unique(groups)]
    return Split("loo", "leave one out", tuple(folds), tuple(groups), tuple("abcdefgh"[: labels.max() + 1]), labels)


@pytest.fixture(scope="module")
def split():
    labels = np.tile(np.arange(CLASSES), GROUPS * 2)
    return split_of(labels, np.repeat([f"g{i}" for i in range(GROUPS)], CLASSES * 2))


def planted(split, signal, *, seed=0):
    """Classes at the corners of a simplex, noise per video and more of it per view, and a strong mark of the group."""
    rng = np.random.default_rng(seed)
    count = len(split.labels)
    groups = np.unique(split.groups, return_inverse=True)[1]
    features = signal * np.eye(CLASSES, DIM)[split.labels] + 3 * np.eye(GROUPS, DIM, DIM - GROUPS)[groups]
    features = features[:, None] + rng.normal(0, 0.3, (count, 1, DIM)) + rng.normal(0, 2.5, (count, VIEWS, DIM))
    return features.astype(np.float32)


def table_of(features):
    """Features [N, views, D] that are their own last map."""
    return FeatureTable(np.arange(len(features)), features, dict.fromkeys(("map", "p4"), features))


def headline(name, features, split):
    found = PROTOCOLS[name] if isinstance(name, str) else name
    measured = run_protocol(found, table_of(features), split, 0)
    labels, gallery = split.labels[np.sort(split.test)], min(len(fold.train) for fold in split.folds)
    table = metrics(measured.scores, labels, retrieves=found.retrieves, gallery=gallery)
    return {(m.name, m.level): float(m.hits.mean()) for m in table}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_planted_signal_is_found_and_noise_is_not(name, split):
    split = replace(split, folds=split.folds[:1]) if ":" in name else split
    found = protocol(name, {"linear": {"weight_decays": (0.001,), "epochs": 40}})
    strong, nothing = (headline(found, planted(split, signal), split) for signal in (8.0, 0.0))
    first = next(iter(strong))
    assert strong[first] > 90
    assert nothing[first] < 50


@pytest.mark.parametrize("name", ["knn", "linear", "retrieval:benchmark"])
def test_joined_views_beat_single_clips(name, split):
    found = headline(name, planted(split, 4.0), split)
    name = "R@1" if "retrieval" in name else "top1"
    assert found[name, "video"] > found[name, "clip"] + 5


def test_training_on_the_test_group_would_show(split):
    """Features that only tell the group: useless over whole groups, perfect for labels that follow the group."""
    labels = np.repeat(np.arange(GROUPS) % 2, CLASSES * 2)
    leaky = split_of(labels, np.array(split.groups))
    marks = np.eye(GROUPS, dtype=np.float32)[np.unique(split.groups, return_inverse=True)[1]][:, None]
    assert headline("linear", marks, leaky)["top1", "video"] < 60
    seen = replace(leaky, folds=(Fold("all", np.arange(64), np.arange(64), NONE),))
    assert headline("linear", marks, seen)["top1", "video"] == 100


def test_scores_are_ordered_by_row_whatever_the_folds(split):
    features = planted(split, 8.0)
    turned = replace(split, folds=split.folds[::-1])
    for name in ("linear", "retrieval:benchmark"):
        one, other = (run_protocol(PROTOCOLS[name], table_of(features), s, 0).scores for s in (split, turned))
        np.testing.assert_array_equal(one.video[""], other.video[""])
        np.testing.assert_array_equal(one.clip[""], other.clip[""])


def test_the_gallery_retrieves_itself():
    labels = np.arange(12) % 3
    every = np.arange(12)
    whole = Split("self", "", (Fold("self", every, every, NONE),), tuple(map(str, every)), ("a", "b", "c"), labels)
    features = np.random.default_rng(0).normal(size=(12, 3, 6)).astype(np.float32)
    for name in PROTOCOLS:
        if name.startswith("retrieval"):
            assert set(headline(name, features, whole).values()) == {100.0}


def test_centring_removes_a_shift_between_the_sides(split):
    features = planted(split, 8.0)
    once = replace(split, folds=split.folds[:1])
    shifted = features.copy()
    shifted[once.folds[0].test] += 40 * np.random.default_rng(1).normal(size=DIM).astype(np.float32)
    plain, centred = (
        headline(name, shifted, once)["R@1", "video"] for name in ("retrieval:benchmark", "retrieval:coclr")
    )
    assert centred > plain + 20
    assert "statistics of the test set" in protocol("retrieval:coclr").card["centring"]
    alone = replace(once, folds=(once.folds[0]._replace(test=once.folds[0].test[:1]),))
    with pytest.raises(RecipeError, match="a single one"):
        headline("retrieval:coclr", shifted, alone)


def test_vcop_has_one_level_each(split):
    names = [name for name in PROTOCOLS if not name.startswith("linear:")]
    levels = {name: {level for _, level in headline(name, planted(split, 4.0), split)} for name in names}
    assert levels.pop("retrieval:vcop_clip") == {"clip"}
    assert all(levels.pop(name) == {"video"} for name in ("retrieval:vcop", "svm", "scenes"))
    assert all(found == {"video", "clip"} for found in levels.values())


def test_k_nearest_neighbours_reports_other_k_that_the_training_set_allows(split):
    names = {name for name, _ in headline("knn", planted(split, 4.0), split)}
    assert names == {"top1", "top1 k=1", "top1 k=5", "top1 k=10"}
    measured = run_protocol(PROTOCOLS["knn"], table_of(planted(split, 4.0)), split, 0)
    assert {card["k"] for card in measured.choices} == {20}


def test_validation_rows_choose_the_strength(split):
    features = planted(split, 1.0)
    train, test = split.folds[0].train, split.folds[0].test
    stated = replace(split, folds=(Fold("f", train[:30], test, train[30:]),))
    assert run_protocol(PROTOCOLS["linear"], table_of(features), stated, 0).choices[0]["held out"] == 26


def test_metrics_of_hand_cases():
    scores = Scores({"": np.array([[0.6, 0.4], [0.6, 0.4]])}, {"": np.array([[[0.6, 0.4], [0.4, 0.6]]] * 2)}, {})
    found = metrics(scores, np.array([0, 1]), retrieves=False)
    assert [(m.name, m.level, m.hits.tolist()) for m in found] == [
        ("top1", "video", [100, 0]),
        ("top1", "clip", [50, 50]),
    ]
    ranks = Scores({"": np.array([1, 6, 2])}, {}, {})
    values = {m.name: m.hits.mean() for m in metrics(ranks, np.zeros(3, int), retrieves=True, gallery=10)}
    assert values == {"R@1": pytest.approx(100 / 3), "R@5": pytest.approx(200 / 3)}


def test_top5_is_given_where_there_are_more_than_five_classes():
    scores = Scores({"": np.eye(6)}, {}, {})
    assert [m.name for m in metrics(scores, np.arange(6), retrieves=False)] == ["top1", "top5"]
    assert [m.name for m in metrics(Scores({"": np.eye(5)}, {}, {}), np.arange(5), retrieves=False)] == ["top1"]


def test_intervals_resample_groups_and_use_wilson_for_single_videos():
    hits = np.array([100.0, 100, 0, 0, 100, 0])
    member = np.array([0, 0, 1, 1, 2, 2])
    assert group_means(hits, member).tolist() == [100, 0, 50]
    assert interval(hits, member) == paired_bootstrap([100, 0, 50], weights=[2, 2, 2], draws=2000)[1:]
    assert interval(hits, np.arange(6)) == pytest.approx([100 * x for x in wilson_interval(3, 6)[1:]])


def test_published_numbers_of_neighbours():
    assert (KNN_K, OTHER_K, HIT_K) == (20, (1, 5, 10, 100, 200), (1, 5, 10, 20, 50))
    assert PROTOCOLS["knn"].card["temperature"] == 0.07


def test_protocol_names():
    assert protocol("retrieval").name == "retrieval:benchmark"
    with pytest.raises(RecipeError, match="Did you mean 'linear'"):
        protocol("liner")


def test_another_stage_is_judged_by_name():
    found = protocol("retrieval:vcop@p4")
    assert (found.name, found.tap, found.every_view) == ("retrieval:vcop@p4", "p4", False)
    assert found.card["feature"] == "p4, max pool (1, 2, 2), flattened"
    assert protocol("retrieval@p2.mean").name == "retrieval:benchmark@p2.mean"
    assert protocol("retrieval@p2.mean").card["feature"] == "p2, mean over positions"
    assert protocol("scenes@pooled").tap is None and protocol("scenes@pooled").views == "sliding"
    assert protocol("similarity@p5+pooled").preset.taps == ("p5", "pooled")
    assert protocol("similarity", {"similarity": {"normalise": "l1"}}).preset.normalise == "l1"
    with pytest.raises(RecipeError, match="Did you mean 'knn'"):
        protocol("kn@p4")
    with pytest.raises(RecipeError, match="it takes no @p4"):
        protocol("finetune:vcop@p4")


def test_windows_joined_per_video_have_no_accuracy_of_clips(split):
    table = replace(table_of(planted(split, 4.0)[:, :1]), joined=True)
    measured = run_protocol(PROTOCOLS["knn"], table, split, 0)
    assert measured.scores.clip == {} and measured.scores.video[""].shape == (64, 4)


def test_half_precision_features_are_judged_as_single(split):
    features = planted(split, 8.0)
    half = run_protocol(PROTOCOLS["svm"], table_of(features.astype(np.float16)), split, 0).scores.video[""]
    single = run_protocol(PROTOCOLS["svm"], table_of(features), split, 0).scores.video[""]
    np.testing.assert_allclose(half, single, atol=0.02)
