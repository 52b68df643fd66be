import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation import EvaluationSettings, Extraction, Results, as_markdown, evaluate
from kinema.evaluation.logistic import GRID
from kinema.evaluation.pixels import PIXEL_ARMS
from kinema.metrics import topk_accuracy
from tests.evaluation.videos import Brightness, MeanColour, untrained_net

FOLDS = EvaluationSettings(folds="scene")
QUICK = replace(FOLDS, pixels=False, extraction=Extraction("single_center"))


@pytest.fixture(scope="module")
def results(colours):
    """Leave one scene out: colour tells the class, brightness only the scene."""
    encoders = {"trained": MeanColour(), "untrained": Brightness()}
    return evaluate(encoders, colours, FOLDS, pretraining={"trained": colours.select([0, 1])})


def value(results, **wanted):
    (row,) = results.find(**wanted)
    return row.value


@pytest.mark.parametrize(("protocol", "metric"), [("knn", "top1"), ("linear", "top1"), ("retrieval:benchmark", "R@1")])
def test_colours_are_told_apart_by_the_encoder_that_sees_them_and_no_other(results, protocol, metric):
    for level in ("clip", "video"):
        assert value(results, arm="trained", protocol=protocol, metric=metric, level=level) == 100
        assert value(results, arm="untrained", protocol=protocol, metric=metric, level=level) < 60


def test_the_encoder_beats_its_baseline_and_is_useful_by_logistic_regression(results):
    found = {(c.against, c.protocol): c for c in results.comparisons}
    assert {name for name, _ in found} == {"untrained", *PIXEL_ARMS}
    beaten = found["untrained", "linear"]
    assert beaten.verdict == "beats" and beaten.groups == 7 and beaten.p_value == pytest.approx(2 / 2**7)
    best = max(PIXEL_ARMS, key=lambda arm: value(results, arm=arm, protocol="linear", level="video"))
    assert found[best, "linear"].verdict == "useful"
    assert found[best, "knn"].against_protocol == "linear"
    assert found[best, "retrieval:benchmark"].against_protocol == ""
    gap = value(results, arm="trained", protocol="linear", level="video")
    gap -= value(results, arm="untrained", protocol="linear", level="video")
    assert beaten.difference == pytest.approx(gap)


def test_every_row_carries_its_card(results):
    for row in results.rows:
        for name in ("views", "aggregation", "split", "folds", "classes", "groups", "seed", "skipped", "feature dim"):
            assert name in row.card, (row.arm, row.protocol, name)
        assert {"kinema", "torch", "numpy"} <= row.card["versions"].keys()
        assert (row.n_train, row.n_test, row.split) == (18, 21, "leave-one-scene-out")
        low, high = row.card["interval"]
        assert low <= row.value <= high
        assert row.value == pytest.approx(np.mean(list(row.per_group.values())))
        assert set(row.per_group) == {f"s{i}" for i in range(7)}
    assert set(np.ravel(results.find(arm="trained", protocol="linear")[0].card["C"])) <= set(GRID)
    assert results.find(arm="trained", protocol="knn")[0].card["k"] == 18
    assert results.find(arm="trained")[0].card["input"]["frames"] == 4


def test_exposure_is_marked(results, colours):
    assert {row.exposure for row in results.find(arm="trained")} == {"transductive"}
    assert results.find(arm="trained")[0].card["overlap"] == 2
    assert {row.exposure for row in results.rows if row.arm != "trained"} == {"none"}
    quick = replace(FOLDS, folds=None, protocols=("knn",), pixels=False)
    inductive = evaluate({"trained": MeanColour()}, colours, quick, pretraining={"trained": colours.select([0])})
    assert {row.exposure for row in inductive.rows} == {"inductive"}
    assert {row.exposure for row in evaluate({"e": MeanColour()}, colours, quick).rows} == {"unknown"}


def test_predictions_give_the_numbers_again(results):
    stored = results.predictions
    assert stored["ids"][0] == "red/scene0.mkv" and stored["classes"].tolist() == ["blue", "green", "red"]
    scores = stored["trained/linear/0"]
    assert scores.shape == (21, 3) and scores.dtype == np.float32
    assert topk_accuracy(scores, stored["labels"]) == value(results, arm="trained", protocol="linear", level="video")
    assert stored["trained/retrieval:benchmark/0"].tolist() == [1] * 21


def test_segments_of_one_file_have_names_of_their_own(ramp):
    rows = [
        {"path": ramp.name, "start": k * 0.4, "end": (k + 1) * 0.4, "label": "ab"[k > 2], "group": k} for k in range(6)
    ]
    found = evaluate(
        {"e": MeanColour()}, Manifest.from_rows(rows, ramp.parent), EvaluationSettings(("knn",), pixels=False)
    )
    assert found.predictions["ids"][1] == "ramp.mkv 0.4 0.8" and len(set(found.predictions["ids"])) == 6


def test_two_runs_give_identical_files(colours, tmp_path):
    net = untrained_net()
    settings = EvaluationSettings(protocols=("knn", "linear", "retrieval:vcop"), group="scene")
    cached = Extraction(workers=2, cache=tmp_path / "cache")
    for name, options in (("a", Extraction()), ("b", cached), ("c", cached)):
        found = evaluate({"trained": net, "untrained": net}, colours, replace(settings, extraction=options))
        found.write(tmp_path / name)
    for file in ("results.json", "predictions.npz"):
        assert len({(tmp_path / name / file).read_bytes() for name in "abc"}) == 1
    assert Results.read(tmp_path / "a").rows == found.rows


def test_encoders_keep_their_weights_buffers_and_have_no_gradients(colours):
    net = untrained_net().train()
    before = copy.deepcopy(net.state_dict())
    settings = replace(FOLDS, protocols=("linear", "linear:severe"), folds=None, pixels=False)
    evaluate({"untrained": net}, colours, settings)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_baselines_are_made_of_the_untrained_network(colours):
    net = untrained_net()
    settings = EvaluationSettings(
        protocols=("linear", "retrieval:vcop_clip", "finetune:quick"),
        group="scene",
        options={"finetune": {"epochs": 2, "batch": 3, "views": "single_center"}},
        pixels=False,
    )
    found = evaluate({"trained": untrained_net(1), "untrained": net}, colours, settings)
    assert list(dict.fromkeys(row.arm for row in found.rows)) == [
        "trained",
        "untrained",
        "untrained-calibrated",
        "scratch",
    ]
    assert {row.protocol for row in found.find(arm="scratch")} == {"finetune:quick"}
    assert not found.find(arm="untrained-calibrated", protocol="finetune:quick")
    assert {(c.against, c.protocol, c.against_protocol) for c in found.comparisons} == {
        ("untrained", "linear", ""),
        ("untrained", "retrieval:vcop_clip", ""),
        ("untrained-calibrated", "linear", ""),
        ("untrained-calibrated", "retrieval:vcop_clip", ""),
        ("scratch", "linear", "finetune:quick"),
        ("scratch", "finetune:quick", ""),
    }
    assert {c.verdict for c in found.comparisons} == {"too few groups"}
    assert {row.exposure for row in found.find(arm="untrained-calibrated")} == {"none"}
    folds = evaluate({"untrained": net}, colours, replace(QUICK, protocols=("knn",)))
    assert {row.exposure for row in folds.find(arm="untrained-calibrated")} == {"transductive"}


def test_several_seeds_of_one_arm_are_paired(colours):
    nets = {seed: untrained_net(seed) for seed in (3, 4)}
    found = evaluate(
        {"trained": nets, "untrained": nets}, colours, replace(QUICK, protocols=("knn",), calibrated=False)
    )
    assert [row.seed for row in found.find(arm="trained", metric="top1", level="video")] == [3, 4]
    assert found.comparisons[0].against == "untrained"
    assert (found.comparisons[0].low, found.comparisons[0].difference, found.comparisons[0].high) == (0, 0, 0)


def test_two_trained_arms_are_compared_once(colours):
    found = evaluate({"a": MeanColour(), "b": Brightness()}, colours, replace(QUICK, protocols=("linear",)))
    assert [(c.arm, c.against, c.verdict) for c in found.comparisons] == [("a", "b", "beats")]


def test_broken_videos_stop_the_evaluation_or_are_counted_in_every_row(colours, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = [{**colours.row(i), "path": str(colours.path(i).resolve())} for i in range(21)]
    rows.insert(4, {**rows[4], "path": "broken.mp4"})
    rows.append({**rows[0], "label": None})
    broken = Manifest.from_rows(rows, tmp_path)
    settings = replace(FOLDS, protocols=("retrieval",))
    with pytest.raises(DataError, match=r"broken\.mp4"):
        evaluate({"e": MeanColour()}, broken, settings)
    found = evaluate({"e": MeanColour()}, broken, replace(settings, extraction=Extraction(skip_broken=True)))
    assert {(row.card["skipped"], row.card["not used"], row.n_test) for row in found.rows} == {(1, 1, 21)}
    assert value(found, arm="e", metric="R@1", level="video") == 100
    assert "1 videos could not be read" in as_markdown(found)


def test_nothing_readable_is_an_error(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"no video")
    rows = [{"path": f"{name}.mp4", "label": c, "group": name + c} for name in "ab" for c in "xyz"]
    settings = EvaluationSettings(extraction=Extraction(skip_broken=True))
    with pytest.raises(DataError, match="none of 6 videos"):
        evaluate({"e": MeanColour()}, Manifest.from_rows(rows, tmp_path), settings)


@pytest.mark.parametrize(
    ("encoders", "changes", "message"),
    [
        ({"scratch": MeanColour()}, {}, "name of a baseline"),
        ({"a": MeanColour()}, {"protocols": ("knnn",)}, "Did you mean 'knn'"),
        ({"a": MeanColour()}, {"extraction": Extraction("uniform")}, "no views called 'uniform'"),
        ({"a": MeanColour()}, {"protocols": ("finetune:vcpo",)}, "Did you mean 'finetune:vcop'"),
        ({"a": MeanColour()}, {"protocols": ("finetune",)}, "7 folds"),
        ({"a": MeanColour()}, {"protocols": ("finetune",), "options": {"finetune": {"epoch": 1}}}, "'epochs'"),
        ({"a": Brightness()}, {"protocols": ("retrieval:vcop",)}, "is no map"),
    ],
)
def test_impossible_wishes_are_refused(colours, encoders, changes, message):
    with pytest.raises(RecipeError, match=message):
        evaluate(encoders, colours, replace(FOLDS, **{"pixels": False, "protocols": ("knn",), **changes}))


def test_the_stored_json_is_plain(results, tmp_path):
    results.write(tmp_path)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["info"]["largest class"] == pytest.approx(100 / 3)
    assert stored["info"]["settings"]["folds"] == "scene"
    assert "cache" not in stored["info"]["settings"]["extraction"]


def test_progress_is_told(colours):
    seen = []
    settings = replace(QUICK, protocols=("knn",))
    evaluate({"e": MeanColour()}, colours, settings, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (21, 21) and [done for done, _ in seen] == sorted(done for done, _ in seen)
