"""Evaluation of a run folder: the trained encoder beside the same network untrained, kept in the run."""

import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.evaluation import EvaluationSettings, Extraction, Results, extract
from kinema.evaluation.runs import evaluate_run
from kinema.training.loop import pretrain
from tests.helpers import tiny_recipe


@pytest.fixture(scope="module")
def run(tiny_videos, tmp_path_factory):
    return pretrain(tiny_recipe(epochs=1), tiny_videos, tmp_path_factory.mktemp("run") / "run", quiet=True)


@pytest.fixture(scope="module")
def labelled(tiny_videos):
    rows = [{**tiny_videos.row(i), "label": "ab"[i % 2], "split": "train" if i < 4 else "test"} for i in range(6)]
    return Manifest.from_rows(rows, tiny_videos.root)


def test_results_are_kept_in_the_run_and_marked_transductive(run, labelled):
    settings = EvaluationSettings(protocols=("knn",), extraction=Extraction(views="single_center"))
    results = evaluate_run(run, labelled, settings, name="mine")
    kept = Results.read(run.folder / "evaluation" / "mine")
    assert kept.rows == results.rows
    assert {"trained", "untrained", "untrained-calibrated"} <= {row.arm for row in results.rows}
    assert {row.exposure for row in results.find(arm="trained")} == {"transductive"}
    assert {row.exposure for row in results.find(arm="untrained")} == {"none"}


def test_stored_features_are_those_of_the_trained_encoder_on_the_test_videos(run, labelled):
    settings = EvaluationSettings(protocols=("knn",), extraction=Extraction(views="single_center"))
    kept = evaluate_run(run, labelled, settings, name="features").predictions
    own = extract({"x": run.encoder()}, labelled, settings.extraction)["x"].pooled.mean(1)
    np.testing.assert_allclose(kept["features"], own[4:], rtol=1e-5)
    other = run.untrained().products().encoders["video"]
    assert np.abs(extract({"x": other}, labelled, settings.extraction)["x"].pooled.mean(1)[4:] - own[4:]).max() > 1e-4
