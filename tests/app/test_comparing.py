"""From stored vectors to a comparison, by the command line."""

import json

import numpy as np
import pytest

from kinema.cli import main


@pytest.fixture
def folders(tmp_path):
    """Vectors of two encoders of the same 40 videos in eight groups: one sees the class, one hardly."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(4), 10)
    found = []
    for name, signal in (("good", 3.0), ("poor", 0.3)):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "videos.npy", signal * np.eye(4)[labels] + rng.normal(size=(40, 4)))
        listed = {"ids": list(range(40)), "labels": [f"c{c}" for c in labels], "groups": [i // 5 for i in range(40)]}
        (folder / "embeddings.json").write_text(json.dumps(listed))
        found.append(str(folder))
    return found


def test_folders_of_embeddings_are_evaluated_and_compared(folders, tmp_path, capsys):
    for folder in folders:
        assert main(["evaluate", folder, "--protocol", "knn,linear"]) == 0
    shown = capsys.readouterr().out
    assert "good" in shown and "5-fold" not in shown and "evaluation/results" in shown
    page, table = tmp_path / "page.html", tmp_path / "table.md"
    assert main(["compare", *folders, "--protocol", "knn", "-o", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "p (Holm)" in shown and "beats" in shown and "linear" not in shown
    assert "good against poor" in page.read_text()
    assert main(["compare", *folders, "-o", str(table)]) == 0
    assert "| good | poor | linear |" in table.read_text()


def test_what_cannot_be_compared_is_explained(folders, tmp_path, capsys):
    assert main(["compare", *folders]) == 1
    assert "holds no evaluation; make one with: kinema evaluate" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "name the videos with --data" in capsys.readouterr().err
