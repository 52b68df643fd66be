"""Few labels: how many of each class, nested, the same for everyone, and written down."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import RecipeError
from kinema.evaluation import EvaluationSettings, Extraction, Subset, evaluate, with_overrides
from kinema.evaluation.splits import Fold, Split
from kinema.evaluation.subsets import subset_split
from tests.evaluation.videos import MeanColour, untrained_net

NONE = np.empty(0, np.int64)


def split_of(sizes, *, tests=1):
    """A division with `sizes` training videos of each class and one test video of each."""
    labels = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.arange(len(sizes))])
    train, test = np.arange(sum(sizes)), sum(sizes) + np.arange(len(sizes))
    names = tuple(f"c{i:03}" for i in range(len(sizes)))
    groups = tuple(map(str, range(len(labels))))
    return Split("test", "stated", (Fold("test", train, test, NONE),), groups, names, labels)


def chosen(split, **wanted):
    draw = wanted.pop("draw", 0)
    return subset_split(split, Subset(**wanted), draw).folds[0].train


@pytest.mark.parametrize(("classes", "each", "total"), [(101, 10, 1010), (99, 11, 1089)])
def test_a_thousand_examples_are_so_many_of_each_class(classes, each, total):
    split = split_of([30] * classes)
    rows = chosen(split, examples=1000)
    assert len(rows) == total and set(np.bincount(split.labels[rows])) == {each}
    assert len(set(rows)) == total


def test_a_small_class_gives_all_it_has():
    split = split_of([3, 20, 20])
    assert np.bincount(split.labels[chosen(split, shots=10)]).tolist() == [3, 10, 10]
    assert np.bincount(split.labels[chosen(split, examples=30)]).tolist() == [3, 10, 10]


def test_fractions_are_of_each_class_and_at_least_one():
    split = split_of([200, 1000, 30])
    assert np.bincount(split.labels[chosen(split, fraction=0.1)]).tolist() == [20, 100, 3]
    assert np.bincount(split.labels[chosen(split, fraction=0.01)]).tolist() == [2, 10, 1]
    assert len(chosen(split, fraction=1.0)) == 1230


def test_smaller_subsets_lie_in_larger_ones_and_draws_differ():
    split = split_of([200, 300])
    one, ten = set(chosen(split, fraction=0.01)), set(chosen(split, fraction=0.1))
    assert one < ten < set(chosen(split, shots=100)) and one == set(chosen(split, fraction=0.01))
    assert ten != set(chosen(split, fraction=0.1, draw=1)) and ten != set(chosen(split, fraction=0.1, seed=1))
    assert set(chosen(split, shots=10)) < set(chosen(split, shots=50))


def test_test_and_validation_rows_stay():
    split = split_of([20, 20])
    small = subset_split(split, Subset(shots=2), 0)
    assert (small.folds[0].test == split.folds[0].test).all() and small.name == "test, 2 per class"
    assert subset_split(split, Subset(), 0) is split
    every = replace(split, folds=(split.folds[0], split.folds[0]._replace(name="other")))
    first, second = (set(fold.train) for fold in subset_split(every, Subset(shots=5), 0).folds)
    assert first != second


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"shots": 1, "fraction": 0.1}, "exclude"),
        ({"fraction": 1.5}, "at most 1"),
        ({"shots": 0}, "shots=0"),
        ({"draws": 0}, "draws=0"),
    ],
)
def test_impossible_subsets_are_refused(wanted, message):
    with pytest.raises(RecipeError, match=message):
        Subset(**wanted)


def test_any_protocol_takes_a_subset_and_the_lists_are_kept(colours, tmp_path):
    settings = EvaluationSettings(
        ("knn", "finetune"), group="scene", pixels=False, calibrated=False, extraction=Extraction("single_center"),
        options={"finetune": {"epochs": 1, "batch": 2, "views": "single_center"}}, subset=Subset(shots=2, draws=2),
    )  # fmt: skip
    found = evaluate({"trained": untrained_net(), "untrained": untrained_net(1)}, colours, settings)
    rows = found.find(arm="trained", protocol="finetune:quick", metric="top1", level="video")
    assert [(row.card["draw"], row.n_train, row.n_test, row.split) for row in rows] == [
        (draw, 6, 12, "test, 2 per class") for draw in (0, 1)
    ]
    assert {"trained/knn/0", "trained/knn/0/1"} <= found.predictions.keys()
    found.write(tmp_path)
    kept = json.loads((tmp_path / "results.json").read_text())["info"]["training subsets"]
    assert [entry["draw"] for entry in kept] == [0, 1]
    lists = [entry["training videos"]["test"] for entry in kept]
    assert len(lists[0]) == 6 and lists[0] != lists[1] and all("scene" in name for name in lists[0])
    # Each draw is one unit of the comparison.
    assert {c.against for c in found.comparisons} == {"untrained", "scratch"}


def test_whole_training_sets_are_not_listed(colours):
    settings = EvaluationSettings(("knn",), group="scene", pixels=False)
    found = evaluate({"a": MeanColour()}, colours, settings)
    assert "training subsets" not in found.info and "draw" not in found.rows[0].card


def test_overrides_of_the_command_line():
    settings = with_overrides(EvaluationSettings(), ["shots=10", "draws=3", "finetune.epochs=5", "linear.lrs=[1,2]"])
    assert settings.subset == Subset(shots=10, draws=3)
    assert settings.options == {"finetune": {"epochs": 5}, "linear": {"lrs": [1, 2]}}
    with pytest.raises(RecipeError, match="'shots'"):
        with_overrides(EvaluationSettings(), ["shot=10"])
    with pytest.raises(RecipeError, match="int"):
        with_overrides(EvaluationSettings(), ["shots=many"])
    with pytest.raises(RecipeError, match="pixels=3: a value of type bool"):
        with_overrides(EvaluationSettings(), ["pixels=3"])


def test_columns_and_baselines_are_chosen_by_their_own_names():
    settings = with_overrides(EvaluationSettings(), ["label=speed", "group=scene", "pixels=false"])
    assert (settings.label, settings.group, settings.pixels) == ("speed", "scene", False)
    assert settings.calibrated and settings.scratch
