"""Scenes and action similarity: linear SVMs on videos and on pairs, from drawn pairs to a table."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation import EvaluationSettings, Extraction, as_markdown, evaluate
from kinema.evaluation.features import FeatureTable
from kinema.evaluation.pairing import Pairs, SimilarityPreset, draw_pairs, read_pairs
from kinema.evaluation.similarity import pair_split, pair_table, run_similarity
from kinema.evaluation.svm import svm_scores
from kinema.evaluation.tasks import Part, Task
from kinema.metrics import pair_measures, roc_auc
from tests.evaluation.videos import Brightness, MeanColour, write_video

LABELS = np.repeat(np.arange(9), 4)


def test_drawn_folds_share_no_class_and_hold_as_many_of_each_kind():
    pairs = draw_pairs(LABELS, seed=3, folds=3)
    assert pairs.shared_classes(LABELS.tolist()) == 0
    for name in set(pairs.folds):
        kind = pairs.same[np.array(pairs.folds) == name]
        assert len(kind) == 36 and kind.sum() == 18
    assert np.array_equal(LABELS[pairs.rows[:, 0]] == LABELS[pairs.rows[:, 1]], pairs.same == 1)
    assert len({tuple(sorted(pair)) for pair in pairs.rows.tolist()}) == len(pairs.rows)
    again, other = draw_pairs(LABELS, seed=3, folds=3), draw_pairs(LABELS, seed=4, folds=3)
    assert np.array_equal(pairs.rows, again.rows) and not np.array_equal(pairs.rows, other.rows)


def test_there_are_as_many_folds_as_classes_allow_and_no_more_pairs_than_wanted():
    assert len(set(draw_pairs(LABELS, seed=0).folds)) == 4
    assert len(draw_pairs(LABELS, seed=0, folds=2, per_fold=10).folds) == 20
    with pytest.raises(DataError, match="four classes at least; there are 3"):
        draw_pairs(LABELS[:12], seed=0)
    with pytest.raises(DataError, match="no pair of one class"):
        draw_pairs(np.arange(8), seed=0)


def test_pairs_are_read_by_name_and_every_mistake_is_located(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("first,second,same,fold\na.mp4,b.mp4,1,x\nb.mp4,c.mp4,no,y\n")
    pairs = read_pairs(path, ["a.mp4", "b.mp4", "c.mp4"])
    assert (pairs.rows.tolist(), pairs.same.tolist(), pairs.folds) == ([[0, 1], [1, 2]], [1, 0], ("x", "y"))
    assert pairs.shared_classes(["u", "v", "v"]) == 1
    for text, message in (
        ("first,second,same\na,b,1\n", "no fold"),
        ("first,second,same,fold\na.mp4,z.mp4,1,x\n", "line 2: 'z.mp4' is no video"),
        ("first,second,same,fold\na.mp4,b.mp4,perhaps,x\n", "line 2: same is 'perhaps'"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_pairs(path, ["a.mp4", "b.mp4"])
    with pytest.raises(DataError, match="cannot be read as a list of pairs"):
        read_pairs(tmp_path / "absent.csv", [])


def test_pairs_with_a_video_that_is_left_out_go_with_it():
    pairs = Pairs(np.array([[0, 1], [1, 3], [3, 4]]), np.array([1, 0, 1]), ("x", "y", "z"), "")
    kept = pairs.keep(np.array([1, 3, 4]))
    assert (kept.rows.tolist(), kept.same.tolist(), kept.folds) == ([[0, 1], [1, 2]], [0, 1], ("y", "z"))


def test_three_stages_give_36_numbers_that_do_not_depend_on_the_order_of_the_videos():
    rng = np.random.default_rng(0)
    taps = {name: rng.random((5, 3, width)).astype(np.float32) for name, width in (("p3", 8), ("p4", 6), ("p5", 4))}
    table = FeatureTable(np.arange(5), taps["p5"], taps)
    rows = np.array([[0, 1], [2, 4], [3, 3]])
    found = pair_table(table, Pairs(rows, np.ones(3), ("x",) * 3, ""), SimilarityPreset())
    turned = pair_table(table, Pairs(rows[:, ::-1], np.ones(3), ("x",) * 3, ""), SimilarityPreset())
    assert found.shape == (3, 36)
    np.testing.assert_allclose(found, turned, rtol=1e-6)
    # By hand: the mean over clips, at length 1, then the measures; stage after stage.
    means = {
        name: values.mean(1) / np.linalg.norm(values.mean(1), axis=1, keepdims=True) for name, values in taps.items()
    }
    slow = [pair_measures(means[name][2], means[name][4]) for name in ("p3", "p4", "p5")]
    np.testing.assert_allclose(found[1], np.concatenate(slow), rtol=1e-5)
    one = pair_table(table, Pairs(rows, np.ones(3), ("x",) * 3, ""), SimilarityPreset(taps=("p4",), normalise="l1"))
    np.testing.assert_allclose(one[1], pair_measures(means["p4"][2], means["p4"][4], normalise="l1"), rtol=1e-5)


def test_measures_are_scaled_by_the_training_folds_alone():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(40, 1, 5)) * [1, 10, 100, 1e3, 1e4] + 7
    labels = (values[:, 0, 0] > 7).astype(np.int64)

    def part(rows, factor=1.0):
        return Part((factor * values[rows]).astype(np.float32), labels[rows], ())

    every, first = np.arange(40), np.arange(30)
    found = run_similarity(Task(part(first), part(every[30:]), part(every[:0]), 2, 0)).video[""]
    assert (found.argmax(1) == labels[30:]).mean() >= 0.9
    # Rescaling both sides changes nothing; a far-off test sample does not move the others.
    scaled = run_similarity(Task(part(first, 50.0), part(every[30:], 50.0), part(every[:0]), 2, 0)).video[""]
    np.testing.assert_allclose(found, scaled, rtol=1e-3, atol=1e-3)
    alone = run_similarity(Task(part(first), part(every[30:31]), part(every[:0]), 2, 0)).video[""]
    np.testing.assert_allclose(alone, found[:1], rtol=1e-6)


def test_every_fold_is_tested_once_by_the_others():
    pairs = draw_pairs(LABELS, seed=0, folds=3)
    split = pair_split(pairs)
    assert sorted(split.test.tolist()) == list(range(len(pairs.same)))
    assert all(set(np.array(pairs.folds)[fold.test]) == {fold.name} for fold in split.folds)
    with pytest.raises(DataError, match="no two kinds"):
        pair_split(Pairs(pairs.rows[:2], pairs.same[:2], ("a", "b"), ""))


def test_a_plane_in_the_span_of_few_samples_is_that_of_all_dimensions():
    from sklearn.svm import LinearSVC

    rng = np.random.default_rng(2)
    train, test = rng.normal(size=(12, 40)), rng.normal(size=(7, 40))
    labels = np.arange(12) % 3
    slow = LinearSVC(dual=False, max_iter=10_000, tol=1e-8).fit(train, labels).decision_function(test)
    np.testing.assert_allclose(svm_scores(train, labels, test, classes=3), slow, atol=2e-3)
    two = svm_scores(train, np.where(labels == 1, 3, 0), test, classes=4)
    np.testing.assert_allclose(two[:, 0], -two[:, 3])
    assert np.isneginf(two[:, 1:3]).all()


@pytest.fixture(scope="module")
def actions(tmp_path_factory):
    """Six colours, four videos each, which differ in brightness."""
    folder, rows = tmp_path_factory.mktemp("actions"), []
    rng = np.random.default_rng(0)
    colours = [(220, 30, 30), (30, 220, 30), (30, 30, 220), (200, 200, 20), (20, 200, 200), (200, 20, 200)]
    for number, colour in enumerate(colours):
        for take in range(4):
            frames = np.array(colour) * (0.5 + 0.15 * take) + rng.normal(0, 4, (9 + take, 24, 32, 1))
            write_video(folder / f"{number}-{take}.mkv", frames.clip(0, 255).astype(np.uint8))
            rows.append({"path": f"{number}-{take}.mkv", "label": f"c{number}", "group": f"t{take}"})
    return Manifest.from_rows(rows, folder)


QUICK = EvaluationSettings(("similarity@pooled",), calibrated=False)


@pytest.fixture(scope="module")
def similarity(actions):
    encoders = {"trained": MeanColour(), "untrained": Brightness()}
    return evaluate(encoders, actions, QUICK, pretraining={"trained": actions.select([0])})


def test_similarity_of_colours_is_seen_by_the_encoder_that_sees_colours(similarity):
    own, blind = (similarity.find(arm=arm, metric="top1")[0] for arm in ("trained", "untrained"))
    assert own.value > 85 > 70 > blind.value
    assert own.card["mean over folds"] == pytest.approx(own.value)
    by_fold = np.array(list(own.per_group.values()))
    assert own.card["standard error over folds"] == pytest.approx(by_fold.std(ddof=1) / np.sqrt(3))
    assert (own.card["pairs"], own.card["classes in several folds"], own.card["feature dim"]) == (72, 0, 12)
    assert (own.exposure, own.card["views"], own.protocol) == ("transductive", "sliding", "similarity@pooled")
    area = similarity.find(arm="trained", metric="AUC")[0]
    scores = similarity.predictions["trained/similarity@pooled/0"]
    assert area.value == pytest.approx(roc_auc(scores[:, 1] - scores[:, 0], similarity.predictions["labels"]))
    assert area.value > 90
    assert similarity.predictions["ids"][0].count(" | ") == 1
    assert f"| trained | similarity@pooled | AUC | {area.value:.2f} |" in as_markdown(similarity)
    against = {found.against: found for found in similarity.comparisons}
    assert against["untrained"].groups == 3 and against["untrained"].difference > 15


def test_given_pairs_are_judged_instead_of_drawn_ones(actions, tmp_path):
    pairs = draw_pairs(actions.labels()[0], seed=5, folds=3)
    names = actions.column("path")
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "same", "fold"])
        for (first, second), same, fold in zip(pairs.rows, pairs.same, pairs.folds, strict=True):
            writer.writerow([names[first], names[second], same, fold])
    unlabelled = Manifest.from_rows([{"path": name} for name in names], actions.root)
    settings = replace(QUICK, options={"similarity": {"pairs": str(tmp_path / "pairs.csv")}}, pixels=False)
    found = evaluate({"trained": MeanColour()}, unlabelled, settings)
    (row,) = found.find(metric="top1")
    assert row.value > 85 and row.card["classes in several folds"] == "unknown"
    with pytest.raises(DataError, match="drawing pairs"):
        evaluate({"trained": MeanColour()}, unlabelled, replace(settings, options={}))


class Both(Brightness):
    """Brightness, with a map of it."""

    def forward(self, x, valid=None, taps=()):
        found = super().forward(x)
        return found._replace(map=found.pooled[..., None, None, None])


def test_scenes_leave_one_video_out_and_join_sliding_windows(colours):
    settings = EvaluationSettings(("scenes@map.mean",), calibrated=False)
    found = evaluate(
        {"trained": MeanColour(), "untrained": Both()},
        colours,
        settings,
    )
    (own,) = found.find(arm="trained")
    assert own.value == 100 and own.level == "video" and own.split == "leave-one-path-out"
    assert own.card["views"] == "sliding" and own.card["feature"] == "map, mean over positions"
    assert found.find(arm="pixels-motion-path")[0].protocol == "scenes@map.mean"
    assert found.comparisons[0].groups == 21


def test_protocols_that_divide_differently_are_not_mixed(colours):
    with pytest.raises(RecipeError, match="'scenes' divide the videos"):
        evaluate({"e": MeanColour()}, colours, EvaluationSettings(("scenes", "knn")))
    with pytest.raises(RecipeError, match="'similarity' judges pairs"):
        evaluate({"e": MeanColour()}, colours, EvaluationSettings(("knn", "similarity")))
    joined = EvaluationSettings(("retrieval:vcop_clip",), extraction=Extraction("sliding"))
    with pytest.raises(RecipeError, match="single clips, which the views 'sliding' join"):
        evaluate({"e": MeanColour()}, colours, joined)
    with pytest.raises(RecipeError, match="no tap 'p4'; it has: half, map"):
        evaluate({"e": MeanColour()}, colours, EvaluationSettings(("scenes",)))
