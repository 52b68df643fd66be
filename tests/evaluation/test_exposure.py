"""What evaluation says of tested videos that pre-training saw, and of files that the scan set aside."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.data.manifest import Manifest
from kinema.evaluation import EvaluationSettings, as_markdown, evaluate
from kinema.evaluation.exposure import exposure
from kinema.video.fingerprint import BYTES, FRAMES
from tests.evaluation.videos import MeanColour


def moving_print(seed, flips=0):
    """A fingerprint of a video that moves all the time; the same seed gives the same but for `flips` bits."""
    bits = np.random.default_rng(seed).random((FRAMES, 2, 64)) < 0.5
    bits.reshape(-1)[np.random.default_rng(99).integers(0, bits.size, flips)] ^= True
    bits[:, 1, 0] = True
    return np.packbits(bits).tobytes()


def rows(*entries):
    return [{"path": f"{name}.mp4", "hash": name, "fingerprint": prints} for name, prints in entries]


def test_near_identical_videos_count_apart_and_make_a_result_transductive(tmp_path):
    assert len(moving_print(0)) == BYTES
    tested = rows(("a", moving_print(1)), ("b", moving_print(2)), ("c", moving_print(3)), ("d", None))
    trained = rows(("a", moving_print(1)), ("x", moving_print(2, flips=30)), ("y", moving_print(7)))
    test, pretraining = Manifest.from_rows(tested, tmp_path), Manifest.from_rows(trained, tmp_path / "other")
    compared = "content hash, and fingerprint"
    assert exposure(test, range(4), pretraining) == ("transductive", 1, compared, 1)
    assert exposure(test, [1], pretraining) == ("transductive", 0, compared, 1)
    assert exposure(test, [2, 3], pretraining) == ("inductive", 0, compared, 0)


def test_cards_and_the_footnote_tell_both(colours):
    facts = [{**colours.row(i), "hash": f"{i}", "fingerprint": moving_print(i)} for i in range(len(colours))]
    labelled = Manifest.from_rows(facts, colours.root, [("gone.mp4", "no such file"), ("cut.mp4", "damaged")])
    copies = facts[:2] + [facts[i] | {"hash": "other", "fingerprint": moving_print(i, 20)} for i in (2, 3, 4)]
    settings = EvaluationSettings(("knn",), folds="scene", pixels=False)
    found = evaluate(
        {"trained": MeanColour()}, labelled, settings, pretraining={"trained": Manifest.from_rows(copies, colours.root)}
    )
    (card,) = {
        (row.card["overlap"], row.card["near-identical"], row.card["set aside by the scan"]) for row in found.rows
    }
    assert card == (2, 3, 2)
    text = as_markdown(found)
    assert "2 files were set aside by the scan" in text
    assert "Pre-training of 'trained' saw tested videos: 2 identical, 3 near-identical." in text


@pytest.mark.parametrize("kind", ["none", "unscanned"])
def test_nothing_seen_is_no_footnote(colours, kind):
    pretraining = {} if kind == "none" else {"e": Manifest.from_rows([{"path": "elsewhere.mp4"}], colours.root)}
    settings = EvaluationSettings(("knn",), folds="scene", pixels=False)
    text = as_markdown(evaluate({"e": MeanColour()}, colours, settings, pretraining=pretraining))
    assert "Pre-training of" not in text and "set aside" not in text


def test_test_videos_in_the_training_part_are_told(colours):
    """Of 9 training and 12 test videos one test file is a training file under another name, one nearly so."""
    facts = [{**colours.row(i), "hash": f"{i}", "fingerprint": moving_print(i)} for i in range(len(colours))]
    settings = EvaluationSettings(("knn",), pixels=False)
    apart = evaluate({"a": MeanColour()}, Manifest.from_rows(facts, colours.root), settings)
    assert (apart.info["identical in training"], apart.info["near-identical in training"]) == (0, 0)
    assert "training part" not in as_markdown(apart)
    facts[9]["hash"], facts[10]["fingerprint"] = facts[0]["hash"], moving_print(1, flips=20)
    mixed = evaluate({"a": MeanColour()}, Manifest.from_rows(facts, colours.root), settings)
    assert "in the training part, too: 1 identical, 1 near-identical." in as_markdown(mixed)
    assert mixed.rows[0].card["identical in training"] == 1
    folds = replace(settings, folds="scene")
    assert (
        "identical in training"
        not in evaluate({"a": MeanColour()}, Manifest.from_rows(facts, colours.root), folds).info
    )
    assert "identical in training" not in evaluate({"a": MeanColour()}, colours, settings).info
