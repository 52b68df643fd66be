"""Hidden segments looked for among real ones: known answers, fair baselines, captions, regression, and the command."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from kinema.cli import main
from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.evaluation.masked_segments import (
    FREE,
    MASKED,
    Hiding,
    expected_hits,
    free_predictions,
    masked_retrieval,
)
from kinema.evaluation.regression import like_target, regression_targets, ridge_regression, view_target
from kinema.evaluation.splits import make_split
from kinema.report import write_report
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe

D = 16


class Knows(nn.Module):
    """Predicts the hidden vectors themselves, turned around by `sign`."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.sign = sign

    def targets(self, vectors):
        return vectors

    def forward(self, vectors, masking):
        return self.sign * vectors.gather(1, masking.hidden.clamp(min=0)[..., None].expand(-1, -1, vectors.shape[-1]))


def sequences(folder, arrays, **columns):
    rows = []
    for number, array in enumerate(arrays):
        np.save(folder / f"{number}.npy", array.astype(np.float32))
        cells = {name: values[number] for name, values in columns.items()}
        rows.append({"path": f"{number}.npy", "features": f"{number}.npy", **cells})
    return Manifest.from_rows(rows, folder)


@pytest.fixture(scope="module")
def random(tmp_path_factory):
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("random")
    captions = [rng.normal(size=(n, D)).astype(np.float32) for n in (8, 20, 1, 5)]
    arrays = [text + 0.3 * rng.normal(size=text.shape) for text in captions]
    for number, text in enumerate(captions):
        np.save(folder / f"text{number}.npy", text)
    names = [f"text{number}.npy" for number in range(4)]
    return sequences(folder, arrays, text_features=names, likes=[9, 90, 5, 1], dislikes=[1, 10, 5, 3])


def by_name(rows):
    return {(row.gallery, row.predictor): row for row in rows}


def test_who_knows_finds_all_and_nothing_is_gained_by_predicting_nothing(random):
    rows = by_name(masked_retrieval({"knows": Knows(), "errs": Knows(-1.0)}, random, Hiding(tokens=64)))
    # Of 8, 20 and 5 segments a half is hidden: 4, 10 and 3.
    chance = {"video": (4 / 8 + 10 / 20 + 3 / 5), "hidden": 4 / 4 + 10 / 10 + 3 / 3, "all": 17 / 34}
    for gallery, expected in chance.items():
        knows, zero, errs = (rows[gallery, name] for name in ("knows", "zero", "errs"))
        assert knows.queries == 17 and knows.hits == {"R@1": 100.0, "R@5": 100.0, "R@10": 100.0}
        assert (knows.median, knows.mean, knows.error) == (1.0, 1.0, 0.0)
        if gallery != "all":
            assert zero.hits["R@1"] == pytest.approx(100 * expected / 17) == pytest.approx(zero.chance)
        else:
            assert zero.hits["R@1"] == pytest.approx(100 / 33)
        assert zero.error == pytest.approx(1.0) and errs.error == pytest.approx(4.0, rel=1e-5)
        assert errs.hits["R@1"] == 0 or gallery == "hidden"
    assert {name for _, name in rows} == {"knows", "errs", "original", *FREE}
    # A visible segment, copied, finds itself.
    assert rows["video", "nearest"].hits["R@1"] == 0 and rows["video", "nearest"].median >= 2


def test_captions_are_ranked_by_what_is_predicted(random):
    rows = by_name(masked_retrieval({"knows": Knows()}, random, Hiding(ratio=0.4, tokens=64)))
    original, knows = rows["captions of video", "original"], rows["captions of video", "knows"]
    assert original.hits == knows.hits and original.hits["R@1"] > 90 and original.error is None
    assert rows["captions of all", "zero"].hits["R@1"] == pytest.approx(100 / 33)
    wrong = Manifest.from_rows([{**random.row(0), "text_features": "text3.npy"}], random.root)
    with pytest.raises(DataError, match=r"text3\.npy has shape \(5, 16\): captions must be one vector of 16 numbers"):
        masked_retrieval({"knows": Knows()}, wrong, Hiding())


def test_equal_entries_share_their_places():
    greater, equal = torch.tensor([0, 0, 2, 9]), torch.tensor([1, 4, 2, 1])
    assert expected_hits(greater, equal, 1).tolist() == [1, 0.25, 0, 0]
    assert expected_hits(greater, equal, 3).tolist() == [1, 0.75, 0.5, 0]


def test_what_costs_nothing():
    vectors = torch.arange(10.0)[:, None].expand(-1, 2).contiguous()
    kept, hidden = torch.tensor([2, 3, 7]), torch.tensor([0, 1, 4, 5, 6, 8, 9])
    found = {name: values[:, 0].tolist() for name, values in free_predictions(vectors, kept, hidden).items()}
    assert found["interpolated"] == pytest.approx([2, 2, 4, 5, 6, 7, 7])
    assert found["nearest"] == [2, 2, 3, 3, 7, 7, 7]
    assert found["mean"] == [4.0] * 7 and found["zero"] == [0.0] * 7


def test_long_videos_are_cut_and_masks_do_not_depend_on_the_batch(random):
    rows = by_name(masked_retrieval({"knows": Knows()}, random, Hiding(tokens=6)))
    # 6 + 2, 6 + 6 + 6 + 2, 5 segments.
    assert rows["video", "knows"].queries == 3 + 1 + 3 + 3 + 3 + 1 + 3
    for masking in ("random", "low_similarity"):
        plans = [Hiding(tokens=6, batch=batch, masking=masking) for batch in (1, 16)]
        one, other = (by_name(masked_retrieval({"knows": Knows()}, random, plan)) for plan in plans)
        assert one["video", "mean"] == other["video", "mean"]
    other = by_name(masked_retrieval({"knows": Knows()}, random, Hiding(tokens=6, seed=1)))
    assert other["video", "mean"].error != rows["video", "mean"].error


def test_published_transforms():
    assert view_target(150000) == pytest.approx(0.154136, abs=1e-6)
    assert like_target(900, 100) == pytest.approx(-0.138221, abs=1e-6)


def test_numbers_are_read_off_features(random, tmp_path):
    told = regression_targets(random, ("likes", "dislikes"), "like_ratio")
    np.testing.assert_allclose(told, [like_target(9, 1), like_target(90, 10), like_target(5, 5), like_target(1, 3)])
    np.testing.assert_allclose(regression_targets(random, ("likes",), "log_views")[0], view_target(9))
    with pytest.raises(DataError, match=r"like_ratio takes 2 column\(s\)"):
        regression_targets(random, ("likes",), "like_ratio")
    zero = Manifest.from_rows([{"path": "a", "likes": 0}], tmp_path)
    with pytest.raises(DataError, match=r"row 0: \{'likes': 0\} cannot be told"):
        regression_targets(zero, ("likes",), "log_views")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 5))
    targets = features @ rng.normal(size=5) + 0.1 * rng.normal(size=80)
    rows = [{"path": str(k), "label": str(k), "split": "train" if k < 60 else "test"} for k in range(80)]
    split = make_split(Manifest.from_rows(rows, tmp_path))
    found = ridge_regression(features, targets, split)
    assert found.error < 0.03 and found.constant > 1 and (found.n_train, found.n_test) == (60, 20)
    noise = ridge_regression(features, rng.normal(size=80), split)
    assert noise.error > 0.8 * noise.constant


def test_the_command_on_a_run(random, tmp_path, capsys):
    tiny = {
        "width": D,
        "depth": 1,
        "heads": 2,
        "decoder_width": 8,
        "decoder_depth": 1,
        "decoder_heads": 2,
        "tokens": 12,
    }
    settings = {"epochs": 1, "batch": 3, "workers": 0, "device": "cpu"}
    recipe = load_recipe("lv-mae", "tiny", {**{f"options.{k}": v for k, v in tiny.items()}, **settings})
    run = pretrain(recipe, random, tmp_path / "run", quiet=True)
    place = random.root / "random.csv"
    random.write(place)
    assert main(["segments", str(run.folder), "--data", str(place), "--ratio", "0.4", "--name", "x"]) == 0
    shown = capsys.readouterr().out
    assert "| video | trained |" in shown and "| captions of all | original |" in shown
    stored = json.loads((run.folder / "evaluation" / "x" / MASKED).read_text())
    assert stored["hiding"]["ratio"] == 0.4 and stored["hiding"]["tokens"] == 12
    assert {row["predictor"] for row in stored["rows"]} == {"trained", "untrained", "original", *FREE}
    page = write_report(run.folder).read_text()
    assert 'id="segments"' in page and "Among the captions of all videos" in page
    (run.folder / "evaluation" / "x" / MASKED).write_text("{}")
    assert "x/segments.json cannot be read" in write_report(run.folder).read_text()
    assert (
        main(["segments", str(run.folder), "--data", str(place), "--regress", "likes", "--transform", "log_views"]) == 0
    )
    assert "| segments |" in capsys.readouterr().out
