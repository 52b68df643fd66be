"""Several runs on the same videos: seeds joined, differences paired, everything else refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from kinema.errors import DataError
from kinema.evaluation import EvaluationSettings, Extraction, evaluate
from kinema.evaluation.across import compare_across, hits_of
from kinema.evaluation.across_tables import across_as_markdown, across_note
from kinema.evaluation.compare import Judged, compare
from kinema.evaluation.evaluated import Evaluated, group_names, read_evaluated
from kinema.metrics import holm
from tests.evaluation.videos import Brightness, MeanColour

SETTINGS = EvaluationSettings(
    ("svm", "retrieval"), folds="scene", calibrated=False, extraction=Extraction("single_center")
)


class Noisy(MeanColour):
    """Colours and noise that depends on the seed."""

    def __init__(self, seed, strength=0.35):
        super().__init__()
        self.rng, self.strength = np.random.default_rng(seed), strength

    def forward(self, x, valid=None, taps=()):
        found = super().forward(x)
        noise = self.strength * self.rng.normal(size=found.pooled.shape)
        return found._replace(pooled=found.pooled + torch.from_numpy(noise).float())


def evaluated(colours, encoder, *, seed=0, method="first", settings=SETTINGS, **recipe):
    results = evaluate({"trained": {seed: encoder}}, colours, settings)
    return Evaluated(f"{method}-{seed}", method, recipe, results)


@pytest.fixture(scope="module")
def four(colours):
    """Two seeds of a method that sees colour through noise, two of one that sees brightness alone."""
    first = [evaluated(colours, Noisy(seed), seed=seed) for seed in (1, 2)]
    return first + [evaluated(colours, Brightness(), seed=seed, method="second") for seed in (1, 2)]


def test_runs_of_one_method_and_recipe_are_its_seeds(four):
    across = compare_across(four)
    own = {one.arm: one for one in across.standings if one.protocol == "svm"}
    values = [one.results.find(arm="trained", protocol="svm", metric="top1", level="video")[0].value for one in four]
    assert own["first"].by_seed == pytest.approx({"1": values[0], "2": values[1]})
    assert own["first"].value == pytest.approx(np.mean(values[:2])) and own["second"].value == pytest.approx(values[2])
    assert own["first"].low <= own["first"].value <= own["first"].high
    order = [one.value for one in across.standings if one.protocol == "svm"]
    assert order == sorted(order, reverse=True)
    assert {one.arm for one in across.standings if one.protocol == "retrieval:benchmark"} > {"pixels-mean-frame"}


def test_differences_are_paired_by_seed_and_group(four):
    across = compare_across(four, ["svm"])
    (found,) = across.comparisons
    labels = four[0].results.predictions["labels"]
    hits = [
        {(seed, 0): hits_of(one.results.predictions[f"trained/svm/{seed}"], labels) for seed, one in enumerate(pair, 1)}
        for pair in (four[:2], four[2:])
    ]
    member = np.unique(four[0].results.predictions["groups"], return_inverse=True)[1]
    first, second = (Judged(name, "svm", "top1", own) for name, own in zip(("first", "second"), hits, strict=True))
    own = compare(first, second, member)
    assert found == own and found.groups == 7 and found.verdict == "beats"
    both = compare_across(four)
    assert both.adjusted == tuple(holm([one.p_value for one in both.comparisons])) and len(both.adjusted) == 2


def test_hits_of_scores_ranks_and_single_views():
    assert hits_of(np.array([[0.1, 0.9], [0.8, 0.2]], np.float32), np.array([1, 1])).tolist() == [100, 0]
    assert hits_of(np.array([1, 3]), np.array([0, 0])).tolist() == [100, 0]
    assert hits_of(np.array([[1, 2], [1, 1]]), np.array([0, 0])).tolist() == [50, 100]


def test_recipes_of_one_method_are_told_apart_by_what_differs(colours):
    small, large = ({"options.width": width, "epochs": 5} for width in (8, 16))
    found = [Evaluated("", "sts", small, None), Evaluated("", "sts", large, None), Evaluated("", "mas", {}, None)]
    assert group_names(found) == ["sts (width=8)", "sts (width=16)", "mas"]


def test_one_run_given_twice_is_no_second_seed(four):
    with pytest.raises(DataError, match="seed 1 of 'first' was given before"):
        compare_across([four[0], four[0]])
    with pytest.raises(DataError, match="two evaluations or more"):
        compare_across(four[:1])


def test_other_data_or_another_division_is_refused(colours, four):
    fewer = evaluated(colours.select(range(18)), MeanColour(), method="x")
    with pytest.raises(DataError, match="different test videos"):
        compare_across([four[0], fewer])
    drawn = evaluated(colours, MeanColour(), method="x", settings=replace(SETTINGS, folds=None, group="scene"))
    with pytest.raises(DataError, match="different test videos"):
        compare_across([four[0], drawn])
    folds = [
        evaluated(colours, MeanColour(), method=str(seed), settings=replace(SETTINGS, folds="path", seed=seed))
        for seed in (0, 1)
    ]
    with pytest.raises(DataError, match="different groups"):
        compare_across([four[0], folds[0]])
    other = replace(four[2].results, info=four[2].results.info | {"division": "another"})
    with pytest.raises(DataError, match="divide the same videos differently"):
        compare_across([four[0], replace(four[2], results=other)])
    with pytest.raises(DataError, match="not every run was evaluated under linear; all have: svm, retrieval:benchmark"):
        compare_across(four, ["linear"])


def test_what_weakens_a_difference_is_said(colours, four):
    views = replace(SETTINGS, extraction=Extraction("uniform3"))
    other = evaluated(colours, MeanColour(), method="second", settings=views)
    across = compare_across([four[0], other], ["svm"])
    note = across_note(across)
    assert "Under svm, views differ: single_center against uniform3." in note
    assert "Of first, second there is one seed only" in note
    assert "21 test videos in 7 groups, 3 classes" in note and "p (Holm)" not in note
    whole = across_note(compare_across(four))
    assert "one seed only" not in whole and "Of 2 comparisons" in whole
    seen = replace(four[2].results, rows=tuple(replace(row, exposure="transductive") for row in four[2].results.rows))
    mixed = compare_across([four[0], replace(four[2], results=seen)])
    assert "first unknown, second transductive" in across_note(mixed)
    text = across_as_markdown(across)
    assert "| second | svm | top1 | 100.00 |" in text and "| p (Holm) |" in text


def write_run(folder, one, name="ut", *, seed=0, **recipe):
    one.results.write(folder / "evaluation" / name)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"method": one.method, "seed": seed, "workers": seed, **recipe}))
    return folder


def test_evaluations_are_found_in_runs_and_the_seed_is_no_part_of_the_recipe(four, tmp_path):
    runs = [
        write_run(tmp_path / str(i), one, seed=i, optimiser={"lr": 0.1 * (1 + i // 2)}) for i, one in enumerate(four)
    ]
    found = read_evaluated(runs)
    assert [one.method for one in found] == ["first", "first", "second", "second"]
    assert found[0].recipe == {"optimiser.lr": 0.1} == found[1].recipe
    assert group_names(found[:2]) == ["first", "first"]
    across = compare_across(found)
    assert across.comparisons == compare_across(four).comparisons
    four[0].results.write(runs[0] / "evaluation" / "another")
    assert read_evaluated(runs)[0].folder == runs[0] / "evaluation" / "ut"
    four[1].results.write(runs[1] / "evaluation" / "another")
    with pytest.raises(DataError, match="they share: another, ut; choose one by --name"):
        read_evaluated(runs[:2])
    assert read_evaluated(runs[:2], "another")[1].folder == runs[1] / "evaluation" / "another"
    assert read_evaluated([runs[0] / "evaluation" / "ut", runs[2]])[0].method == "first"
    with pytest.raises(DataError, match="has no evaluation 'absent'"):
        read_evaluated(runs, "absent")
    with pytest.raises(DataError, match="holds no evaluation"):
        read_evaluated([tmp_path])
