"""Folders of embeddings: written by kinema, made elsewhere, evaluated without a network."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kinema.data.duplicates import Overlap
from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation import EvaluationSettings, Extraction, Results, evaluate, extract
from kinema.evaluation.embedded import evaluate_embeddings
from kinema.evaluation.runs import embed_run
from kinema.evaluation.stored import described, is_embeddings, read_embeddings, write_embeddings
from kinema.evaluation.taking import encoder_digest
from kinema.training.loop import pretrain
from tests.evaluation.videos import MeanColour
from tests.helpers import tiny_recipe

SETTINGS = EvaluationSettings(("knn", "linear", "retrieval"), pixels=False)


@pytest.fixture
def folder(colours, tmp_path):
    encoder = MeanColour()
    table = extract({"e": encoder}, colours)["e"]
    about = described("colours of frames", encoder, encoder_digest(encoder))
    seen = Overlap({0: 0}, {}, "content hash")  # a training video
    write_embeddings(tmp_path / "out", table, colours, views="uniform10", encoder=about, seen=seen)
    return tmp_path / "out"


def test_embeddings_give_the_numbers_of_the_network_that_made_them(folder, colours):
    own = evaluate_embeddings(folder, SETTINGS, name="mine")
    live = evaluate({"colours of frames": MeanColour()}, colours, SETTINGS)
    assert len(own.rows) == len(live.rows)
    for row, other in zip(own.rows, live.rows, strict=True):
        assert (row.arm, row.protocol, row.metric, row.level, row.n_test) == (
            other.arm,
            other.protocol,
            other.metric,
            other.level,
            other.n_test,
        )
        assert row.value == pytest.approx(other.value)
        assert row.card["views"] == "uniform10" and row.card["input"] == other.card["input"]
    assert {row.exposure for row in own.rows} == {"inductive"}
    assert own.info["division"] == live.info["division"]
    assert Results.read(folder / "evaluation" / "mine").rows == own.rows
    (path,) = json.loads((folder / "embeddings.json").read_text())["exposure"]["identical"]
    assert path == colours.column("path")[0] and colours.column("split")[0] == "train"
    by_scene = evaluate_embeddings(folder, replace(SETTINGS, folds="scene"))
    assert by_scene.rows[0].split == "leave-one-scene-out" and by_scene.rows[0].card["folds"] == 7
    assert (by_scene.rows[0].exposure, by_scene.rows[0].card["overlap"]) == ("transductive", 1)


def test_the_folder_holds_plain_arrays_and_a_list(folder, colours):
    listed = json.loads((folder / "embeddings.json").read_text())
    assert listed["ids"] == colours.column("path") and listed["labels"] == colours.column("label")
    assert (listed["views"], listed["encoder"]["name"], listed["columns"]["scene"][0]) == (
        "uniform10",
        "colours of frames",
        "s0",
    )
    clips, videos = np.load(folder / "clips.npy"), np.load(folder / "videos.npy")
    assert clips.shape == (21, 10, 3) and clips.dtype == videos.dtype == np.float32
    np.testing.assert_allclose(videos, clips.mean(1), rtol=1e-6)
    assert is_embeddings(folder) and not is_embeddings(folder.parent)


def test_windows_in_different_numbers_leave_one_vector_per_video(colours, tmp_path):
    table = extract({"e": MeanColour()}, colours, Extraction("sliding"))["e"]
    write_embeddings(tmp_path, table, colours, views="sliding", encoder={"name": "x"})
    assert not (tmp_path / "clips.npy").exists() and read_embeddings(tmp_path).table.joined
    found = evaluate_embeddings(tmp_path, replace(SETTINGS, protocols=("knn", "svm")))
    assert {row.level for row in found.rows} == {"video"} and {row.exposure for row in found.rows} == {"unknown"}


def made_elsewhere(folder, vectors, **listed):
    folder.mkdir(exist_ok=True)
    np.save(folder / "videos.npy", vectors)
    (folder / "embeddings.json").write_text(json.dumps(listed))


def test_features_made_elsewhere_need_ids_and_vectors_only(tmp_path):
    rng = np.random.default_rng(0)
    labels = list("abc" * 10)
    vectors = np.eye(3)[[ord(label) - 97 for label in labels]] + rng.normal(0, 0.1, (30, 3))
    place = tmp_path / "theirs"
    made_elsewhere(place, vectors, ids=list(range(30)), labels=labels, groups=[f"g{i // 3}" for i in range(30)])
    found = evaluate_embeddings(place, SETTINGS)
    assert found.find(arm="theirs", protocol="knn", level="video")[0].value == 100
    assert found.rows[0].split == "5-fold" and found.rows[0].card["views"] == "not stated"


def test_exposure_goes_by_ids_whatever_the_columns_say(tmp_path):
    """Segments of one file, whose names in the manifest are no ids; the last row has no label."""
    vectors = np.eye(3)[[0, 1, 2] * 4 + [0]] + np.linspace(0, 0.1, 13)[:, None]
    listed = {"ids": list(range(13)), "labels": [*"abcabcabcabc", None], "splits": ["train"] * 6 + ["test"] * 7}
    columns = {"path": ["film.mp4"] * 13, "note": ["x"] * 13}
    made_elsewhere(tmp_path, vectors, **listed, columns=columns, exposure={"identical": [7, 12], "near": [8, 0]})
    found = evaluate_embeddings(tmp_path, SETTINGS).find(protocol="knn", level="video")[0]
    assert (found.exposure, found.card["overlap"], found.card["near-identical"]) == ("transductive", 1, 1)
    assert (found.n_train, found.n_test, found.value) == (6, 6, 100)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({}, "must hold 'ids'"),
        ({"ids": [1, 1, 2]}, "unique names"),
        ({"ids": [1, 2]}, r"2 ids need arrays .* got \(3, 1, 4\)"),
        ({"ids": [1, 2, 3], "labels": ["a"]}, "'label' must be a list of 3"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path, listed, message):
    made_elsewhere(tmp_path, np.ones((3, 4)), **listed)
    with pytest.raises(DataError, match=message):
        read_embeddings(tmp_path)


def test_damaged_arrays_are_named(tmp_path):
    made_elsewhere(tmp_path, np.full((3, 4), np.nan), ids=[1, 2, 3])
    with pytest.raises(DataError, match="finite"):
        read_embeddings(tmp_path)
    (tmp_path / "videos.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"videos\.npy cannot be read"):
        read_embeddings(tmp_path)
    (tmp_path / "videos.npy").unlink()
    with pytest.raises(DataError, match="neither"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize(
    "name", ["scenes", "retrieval:vcop", "similarity", "finetune:quick", "attentive", "retrieval:coclr"]
)
def test_protocols_that_need_the_network_are_refused(folder, name):
    with pytest.raises(RecipeError, match=r"needs the network|is defined on the views"):
        evaluate_embeddings(folder, replace(SETTINGS, protocols=(name,)))


def test_a_run_writes_its_embeddings_and_whether_it_saw_the_videos(tiny_videos, tmp_path):
    run = pretrain(tiny_recipe(epochs=1), tiny_videos, tmp_path / "run", quiet=True)
    rows = [{**tiny_videos.row(i), "label": "ab"[i % 2], "split": "train" if i < 4 else "test"} for i in range(6)]
    labelled = Manifest.from_rows(rows, tiny_videos.root)
    table = embed_run(run, labelled, tmp_path / "vectors", Extraction("single_center"))
    stored = read_embeddings(tmp_path / "vectors")
    np.testing.assert_array_equal(stored.table.pooled, table.pooled)
    seen = stored.exposure(stored.manifest.column("path"))
    assert (stored.name, seen.mark, seen.overlap) == ("run", "transductive", 6)
    assert stored.manifest.column("label") == labelled.column("label")
    found = evaluate_embeddings(tmp_path / "vectors", replace(SETTINGS, protocols=("knn",)))
    assert {(row.exposure, row.card["overlap"]) for row in found.rows} == {("transductive", 2)}
