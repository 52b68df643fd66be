"""A method of one's own, in thirty lines, through the command line; and its run folder, which must not be trusted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kinema
from kinema.errors import RecipeError
from kinema.training.checkpoint import load_run
from tests.helpers import journal

NAME = "arrow_of_time:ArrowOfTime"

SOURCE = '''
"""Does time run forwards? A clip is shown as it is or reversed."""
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kinema.backbones import build_backbone
from kinema.data.sample import Frames, Sample
from kinema.methods.base import Method
from kinema.methods.encoders import ConvEncoder
from kinema.modules.encoder import EncoderInput, Products


class ArrowOfTime(Method):
    def __init__(self, *, width: int = 4, frames: int = 8):
        super().__init__()
        self.input = EncoderInput("video", frames, resize=(32, 32), size=(32, 32))
        backbone = build_backbone("r3d", width=width)
        self.encoder, self.head = ConvEncoder(backbone, self.input), nn.Linear(backbone.feature_dim, 2)

    def plan(self, i, index, clock, rng):
        shown = index.frames(i)[: self.input.frames]
        return Sample({"video": Frames(int(index.rows[i]), shown, (32, 32))}, {"reversed": rng.integers(2)})

    def prepare(self, batch, generator):
        video, turned = batch["video"], batch["reversed"].bool()
        return {**batch, "video": torch.where(turned.view(-1, 1, 1, 1, 1), video.flip(2), video)}

    def losses(self, batch, phase):
        scores = self.head(self.encoder(self.input.normalise(batch["video"])).pooled)
        accuracy = (scores.argmax(1) == batch["reversed"]).float().mean()
        return {"loss": cross_entropy(scores, batch["reversed"]), "parts": {"accuracy": accuracy}}

    def products(self):
        return Products({"video": self.encoder})
'''


def run_kinema(folder, *arguments):
    """Run the command line as a person would, with the method's folder on the Python path."""
    path = os.pathsep.join([str(Path(kinema.__file__).parents[1]), str(folder)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kinema", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def trained(tiny_videos, tmp_path_factory):
    """The folder of the method, with a run that the command line trained."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "arrow_of_time.py").write_text(SOURCE)
    tiny_videos.write(folder / "videos.parquet")
    overrides = ["epochs=1", "batch=10", "width=6", "workers=0", "device=cpu", "lr=0.01"]
    done = run_kinema(folder, "pretrain", NAME, "--data", folder / "videos.parquet", "-o", folder / "run", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run folder" in done.stdout
    return folder


def test_the_method_is_short():
    assert len([line for line in SOURCE.splitlines() if line.strip()]) <= 40


def test_the_command_line_trains_it(trained):
    start, *_ = journal(trained / "run", "start")
    assert start["method"] == NAME and start["samples"] == 30
    steps = journal(trained / "run", "step")
    assert len(steps) == 3 and all(0 <= record["parts"]["accuracy"] <= 1 for record in steps)
    assert len(journal(trained / "run", "health")) == 1


def test_its_run_loads_only_when_its_name_is_repeated(trained, monkeypatch):
    monkeypatch.syspath_prepend(trained)
    for method in (None, "sts", "arrow_of_time:Other"):
        with pytest.raises(RecipeError, match=f"'{NAME}', which is not part of kinema.*--method {NAME}"):
            load_run(trained / "run", method=method)
        assert "arrow_of_time" not in sys.modules
    run = load_run(trained / "run", method=NAME)
    assert run.recipe.options == {"width": 6, "frames": 8} and run.step == 3
    assert run.encoder().feature_dim == 48
    sys.modules.pop("arrow_of_time")


def test_the_command_line_refuses_it_without_its_name(trained):
    refused = run_kinema(trained, "evaluate", trained / "run", "--data", trained / "videos.parquet")
    assert refused.returncode == 1
    assert f"--method {NAME}" in refused.stderr and "Traceback" not in refused.stderr


def test_a_method_that_is_not_there_is_explained(trained):
    missing = run_kinema(trained, "pretrain", "elsewhere:Mine", "--data", trained / "videos.parquet")
    assert missing.returncode == 1
    assert "'elsewhere:Mine' cannot be imported" in missing.stderr and "PYTHONPATH=folder" in missing.stderr
