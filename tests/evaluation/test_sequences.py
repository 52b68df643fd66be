"""Evaluation of encoders of sequences: means over real tokens, attentive probes, and the command on a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.data.manifest import Manifest
from kinema.errors import DataError, RecipeError
from kinema.evaluation import EvaluationSettings, Extraction, Results, evaluate
from kinema.evaluation.protocols import protocol
from kinema.evaluation.sequence_probe import SEQUENCE_PROBES, SequenceHead, SequenceProbe
from kinema.evaluation.sequences import sequence_tables, sequence_tokens
from kinema.methods.lv_mae import LVMAE
from kinema.methods.sequences import RawSequence
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from tests.evaluation.videos import MeanColour

D = 16
TINY = {"width": D, "depth": 1, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2, "tokens": 12}


def tiny(**options):
    torch.manual_seed(0)
    return LVMAE(**{**TINY, **options}).eval()


@pytest.fixture(scope="module")
def ordered(tmp_path_factory):
    """Ten segments of two kinds, five of each; the class is which comes first: their means say nothing."""
    folder = tmp_path_factory.mktemp("ordered")
    kinds = np.random.default_rng(0).normal(size=(2, D))
    rows = []
    for number in range(60):
        rng = np.random.default_rng(number)
        order = np.repeat([0, 1] if number % 2 else [1, 0], 5)
        array = kinds[order] + 0.1 * rng.normal(size=(10, D))
        np.save(folder / f"{number}.npy", array.astype(np.float32))
        split = "train" if number < 40 else "test"
        rows.append({"path": f"{number}.npy", "features": f"{number}.npy", "label": "ab"[number % 2], "split": split})
    manifest = Manifest.from_rows(rows, folder)
    manifest.write(folder / "manifest.csv")
    return Manifest.read(folder / "manifest.csv")


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unequal")
    rows = []
    for number, count in enumerate((7, 3, 30, 1, 12)):
        np.save(folder / f"{number}.npy", np.random.default_rng(number).normal(size=(count, D)).astype(np.float32))
        rows.append({"path": f"{number}.npy", "features": f"{number}.npy"})
    return Manifest.from_rows(rows, folder)


def test_features_are_means_over_real_tokens_whatever_the_batch(unequal):
    encoder = tiny().encoder
    plan = Extraction(batch=4, taps=("b1.mean",))
    table = sequence_tables({"e": encoder}, unequal, plan)["e"]
    tokens = sequence_tokens(encoder, unequal, plan)
    assert tokens.bounds.tolist() == [0, 8, 12, 43, 45, 58]
    with torch.no_grad():
        for row in range(5):
            alone = encoder(torch.from_numpy(np.load(unequal.file(row, "features")))[None], taps=("b1",))
            np.testing.assert_allclose(table.pooled[row, 0], alone.map[0].mean(0).numpy(), atol=1e-5)
            np.testing.assert_allclose(table.taps["b1.mean"][row, 0], alone.extra["b1"][0, 1:].mean(0), atol=1e-5)
            own = tokens.values[tokens.bounds[row] : tokens.bounds[row + 1]]
            np.testing.assert_allclose(own, alone.extra["tokens"][0].numpy(), atol=1e-5)
    cut = sequence_tokens(tiny(long="truncate").encoder, unequal, plan)
    assert np.diff(cut.bounds).tolist() == [8, 4, 13, 2, 13]
    values, lengths = tokens.read(np.array([1, 3]))
    assert values.shape == (2, 4, D) and lengths.tolist() == [3, 1] and values[1, 2:].abs().sum() == 0


def test_features_of_the_wrong_kind_are_refused(unequal, tmp_path):
    with pytest.raises(RecipeError, match="'e' takes vectors of 8 numbers, those in column 'features' have 16"):
        sequence_tables({"e": RawSequence(8)}, unequal, Extraction())
    with pytest.raises(RecipeError, match=r"no feature 'map'; besides the mean of all tokens there are: @b1\.mean"):
        sequence_tables({"e": tiny().encoder}, unequal, Extraction(taps=("map",)))
    rows = [unequal.row(row) for row in range(5)]
    np.save(unequal.root / "other.npy", np.ones((3, 4), np.float32))
    rows[2]["features"] = "other.npy"
    with pytest.raises(DataError, match="mixes vectors of 4 and 16 numbers, first in row 2"):
        sequence_tables({"e": RawSequence(D)}, Manifest.from_rows(rows, unequal.root), Extraction())
    rows[2]["features"] = "nowhere.npy"
    with pytest.raises(DataError, match=r"nowhere\.npy is no readable \.npy array"):
        sequence_tables({"e": RawSequence(D)}, Manifest.from_rows(rows, unequal.root), Extraction())


# §9, 8: the mask of the attentive probe.


def test_the_last_segment_counts_unless_the_published_mask_is_asked_for():
    torch.manual_seed(0)
    head = SequenceHead(D, 3, heads=4).eval()
    tokens, lengths = torch.randn(2, 9, D), torch.tensor([8, 5])
    changed = tokens.clone()
    changed[0, 8], changed[1, 5] = torch.randn(2, D)
    behind = tokens.clone()
    behind[1, 6:] = 9.0
    for name, differs in (("real", True), ("off_by_one", False)):
        probe = SequenceProbe(mask=name)
        padding = probe.padding(lengths, 9)
        assert padding[:, 0].tolist() == [False, False] and (~padding).sum(1).tolist() == [
            8 + differs,
            5 + differs,
        ]
        with torch.no_grad():
            told = head(tokens, padding)
            for row in range(2):
                assert torch.allclose(head(changed, padding)[row], told[row], atol=1e-6) is not differs
            torch.testing.assert_close(head(behind, padding), told)


def test_published_settings_of_the_probes():
    paper, code = SEQUENCE_PROBES["lv_mae"], SEQUENCE_PROBES["lv_mae_code"]
    assert [paper.rate(epoch) for epoch in (0, 1, 10)] == pytest.approx([1e-3, 9e-4, 1e-3 * 0.9**10])
    assert (paper.epochs, paper.batch, paper.heads, paper.mask) == (20, 16, 8, "real")
    assert [code.rate(epoch) for epoch in (0, 15, 30)] == pytest.approx([3e-4, 1.5e-4, 0.0])
    assert code.amsgrad and code.weight_decay == 1e-3 and code.mask == "off_by_one"
    changed = protocol("attentive:lv_mae", {"attentive": {"mask": "off_by_one", "epochs": 3}})
    assert (changed.preset.mask, changed.preset.epochs) == ("off_by_one", 3)


def test_order_is_told_by_the_attentive_probe_and_not_by_the_raw_mean(ordered):
    # Places are what the raw embeddings lack: a transformer gives every token its own.
    protocols = ("linear", "attentive")
    settings = EvaluationSettings(protocols, options={"attentive": {"epochs": 15, "lr": 3e-3}})
    results = evaluate({"trained": tiny().encoder, "segments": RawSequence(D)}, ordered, settings)
    assert {row.protocol for row in results.rows} == {"linear", "attentive:lv_mae"}
    value = {(row.arm, row.protocol): row.value for row in results.find(metric="top1", level="video")}
    assert value["trained", "attentive:lv_mae"] >= 90
    assert value["segments", "linear"] < 80 and value["segments", "attentive:lv_mae"] < 80
    row = results.find(arm="trained", protocol="attentive:lv_mae")[0]
    assert row.card["views"] == "all segments" and row.card["probe"]["mask"] == "real" and row.n_test == 20
    assert not results.find(arm="pixels-mean-frame")
    again = evaluate({"trained": tiny().encoder}, ordered, replace(settings, protocols=("attentive",)))
    name = "trained/attentive:lv_mae/0"
    np.testing.assert_array_equal(again.predictions[name], results.predictions[name])


def test_protocols_of_the_other_kind_are_refused(ordered, colours):
    for name in ("finetune:quick", "attentive:across", "linear:coclr_end2end"):
        with pytest.raises(RecipeError, match=f"'{name}' needs videos"):
            evaluate({"e": RawSequence(D)}, ordered, EvaluationSettings((name,)))
    with pytest.raises(RecipeError, match="'attentive:lv_mae' attends to segments"):
        evaluate({"e": MeanColour()}, colours, EvaluationSettings(("attentive:lv_mae",)))
    with pytest.raises(RecipeError, match="encoders of sequences and encoders of videos"):
        evaluate({"e": MeanColour(), "s": RawSequence(3)}, ordered)


@pytest.fixture(scope="module")
def run(ordered, tmp_path_factory):
    options = {f"options.{name}": value for name, value in TINY.items()}
    settings = {"epochs": 2, "batch": 20, "workers": 0, "device": "cpu"}
    recipe = load_recipe("lv-mae", "tiny", {**options, **settings})
    return pretrain(recipe, ordered, tmp_path_factory.mktemp("runs") / "run", quiet=True)


def test_a_run_is_evaluated_beside_itself_untrained_and_the_embeddings(run, ordered, capsys):
    command = [
        "evaluate",
        str(run.folder),
        "--data",
        str(ordered.root / "manifest.csv"),
        "--protocol",
        "knn,linear,attentive",
    ]
    assert main([*command, "--workers", "0", "--name", "order", "attentive.epochs=2"]) == 0
    results = Results.read(run.folder / "evaluation" / "order")
    assert {row.arm for row in results.rows} == {"trained", "untrained", "segments"}
    assert {row.protocol for row in results.rows} == {"knn", "linear", "attentive:lv_mae"}
    assert results.find(arm="trained")[0].exposure == "transductive"
    assert {(c.arm, c.against) for c in results.comparisons} >= {("trained", "segments"), ("trained", "untrained")}
