"""Methods of very different kinds through the one contract and the one loop."""

from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from kinema.data.index import per_row
from kinema.data.manifest import Manifest
from kinema.data.sample import Column, Frames, Ragged, Sample, Times
from kinema.errors import DataError, RecipeError
from kinema.methods.base import Method, ParamGroup, Phase, batch_size, parameter_names
from kinema.modules.ema import EMA
from kinema.modules.encoder import EncoderInput, Products
from kinema.training.checkpoint import load_run
from kinema.training.loop import Trainer, pretrain
from tests.helpers import (
    CLIP,
    Flat,
    assert_same_bits,
    assert_same_journal,
    assert_same_run,
    journal,
    stopped_and_resumed,
    tiny_recipe,
)


def named(cls):
    return f"{__name__}:{cls.__name__}"


class Adversarial(Method):
    """A GAN of mean colours: the critic steps twice, then the generator, then an estimator of the drawn code."""

    phases = (Phase("critic", ("critic.",), repeat=2), Phase("generator", ("generator.",)), Phase("side", ("side.",)))
    input = EncoderInput("video", frames=2, resize=(12, 16), size=(12, 16))

    def __init__(self, *, noise: float = 0.1):
        super().__init__()
        self.generator, self.critic, self.side = nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(3, 2)
        self.noise, self.trace = noise, []

    def plan(self, i, index, clock, rng):
        frames = index.frames(i)[:2]
        return Sample({"video": Frames(int(index.rows[i]), frames, (12, 16))}, {"code": rng.normal(size=2)})

    def prepare(self, batch, generator):
        return {"colour": batch["video"].float().mean((2, 3, 4)) / 255, "code": batch["code"].float()}

    def losses(self, batch, phase):
        self.trace.append((phase.name, self.snapshot()))
        fake = self.generator(batch["code"] + self.noise * torch.randn_like(batch["code"]))
        if phase.name == "critic":
            loss = (self.critic(fake.detach()).square() + (self.critic(batch["colour"]) - 1).square()).mean()
        elif phase.name == "generator":
            loss = (self.critic(fake) - 1).square().mean()
        else:
            loss = (self.side(fake.detach()) - batch["code"]).square().mean()
        return {"loss": loss, "parts": {phase.name: loss}}

    def snapshot(self):
        return {name: p.detach().clone() for name, p in self.named_parameters()}

    def param_group(self, name, parameter):
        return ParamGroup(lr=0.5) if name.startswith("critic") else ParamGroup()

    def products(self):
        return Products(generators={"colour": self.generator})


def test_each_phase_moves_its_own_parameters_alone(tiny_videos, tmp_path):
    recipe = tiny_recipe(named(Adversarial), epochs=1, batch=30, clip_grad=1.0)
    trainer = Trainer(recipe, tiny_videos, tmp_path / "run", torch.device("cpu"))
    batches = [trainer.on_device(delivery) for delivery in next(trainer._steps(Quiet()))]
    outcome = trainer.stepper.step(batches, 0, 0.1)
    trace = [*trainer.method.trace, ("end", trainer.method.snapshot())]
    assert [name for name, _ in trace] == ["critic", "critic", "generator", "side", "end"]
    for (phase, before), (_, after) in pairwise(trace):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved and all(name.startswith(f"{phase}.") for name in moved)
    assert set(outcome.parts) == {"critic", "generator", "side"}
    rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in trainer.stepper.optimisers.items()}
    assert rates == {"critic": 0.05, "generator": 0.1, "side": 0.1}


class Quiet:
    """Stands in for the monitor of a run."""

    def waiting(self):
        return nullcontext()


def test_a_gan_ends_in_the_same_bits_when_it_was_stopped(tiny_videos, tmp_path, monkeypatch):
    recipe = tiny_recipe(named(Adversarial), checkpoint=0.0, **{"optimiser.name": "adamw"})
    pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True)
    stopped_and_resumed(monkeypatch, recipe, tiny_videos, tmp_path / "run", [2, 1])
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert_same_journal(tmp_path / "whole", tmp_path / "run")


def test_a_gan_trains_and_yields_its_generator(tiny_videos, tmp_path):
    recipe = tiny_recipe(
        named(Adversarial), **{"optimiser.name": "adam", "optimiser.lr": 0.03}, epochs=6, validation=0.3
    )
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    steps = journal(tmp_path / "run", "step")
    assert steps[0]["parts"].keys() == {"critic", "generator", "side"}
    assert np.mean([r["parts"]["side"] for r in steps[-3:]]) < np.mean([r["parts"]["side"] for r in steps[:3]])
    assert journal(tmp_path / "run", "validation") and not journal(tmp_path / "run", "health")
    assert run.products().generators["colour"](torch.zeros(1, 2)).shape == (1, 3)
    assert run.products().encoders == {}
    with pytest.raises(RecipeError, match="no encoder 'video'; this method yields none"):
        run.encoder()


class Segments(Method):
    """Ragged: clips and cached embeddings of unequal lengths, one per row; masked means of both."""

    columns = ("path", "features")
    input = EncoderInput("sequence", frames=1)

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(3, 1)

    def index(self, manifest):
        return per_row(manifest)

    def plan(self, i, index, clock, rng):
        row = int(index.rows[i])
        seconds = np.arange(1 + row) * 0.3
        reads = {"sequence": Column(row, "features"), "video": Times(row, seconds, (12, 16))}
        return Sample(reads, {"row": np.array(row), "starts": rng.random(row + 1).astype(np.float32)})

    def prepare(self, batch, generator):
        assert all(isinstance(batch[name], Ragged) for name in ("sequence", "video", "starts"))
        return batch

    def losses(self, batch, phase):
        sequence, video = batch["sequence"], batch["video"]
        told = self.weights(sequence.values)[..., 0]
        seen = self.weights(video.values.float().mean((3, 4)).transpose(1, 2) / 255)[..., 0]
        items = sequence.valid.sum() + video.valid.sum()
        errors = ((told - 1).square() * sequence.valid).sum() + ((seen - 1).square() * video.valid).sum()
        return {"loss": errors / items, "weight": items, "parts": {"longest": sequence.lengths.max().float()}}

    def products(self):
        return Products(predictors={"mean": self.weights})


@pytest.fixture
def with_features(tiny_videos, tmp_path):
    """The tiny videos with a cached array of 2, 3, … 7 rows each."""
    rows = []
    for row in range(len(tiny_videos)):
        np.save(tmp_path / f"{row}.npy", np.random.default_rng(row).normal(size=(row + 2, 3)).astype(np.float32))
        rows.append({**tiny_videos.row(row), "path": str(tiny_videos.path(row)), "features": f"{row}.npy"})
    return Manifest.from_rows(rows, tmp_path)


def test_ragged_samples_train_alike_however_they_are_cut(with_features, tmp_path):
    """Padding counts for nothing: micro-batches of other lengths give the same weights."""
    recipe = tiny_recipe(named(Segments), **{"optimiser.lr": 0.05})
    whole = pretrain(recipe, with_features, tmp_path / "whole", quiet=True).method.state_dict()
    parts = {"accumulate": 3, "optimiser.lr": 0.05}
    cut = pretrain(
        tiny_recipe(named(Segments), **parts), with_features, tmp_path / "cut", quiet=True
    ).method.state_dict()
    start = recipe.build().state_dict()
    for name, weight in whole.items():
        moved = (weight - start[name]).abs().max()
        assert moved > 0 and (cut[name] - weight).abs().max() < 1e-4 * moved
    assert [record["parts"]["longest"] for record in journal(tmp_path / "whole", "step")] == [7.0, 7.0]


class Spoken(Method):
    """Multimodal: a clip, a cached sound embedding, and the row's text as drawn numbers; three heads agree."""

    columns = ("path", "audio", "text")
    optional = ("label",)
    prepare_on_device = True

    def __init__(self, *, momentum: float = 0.5):
        super().__init__()
        self.encoder = Flat(4)
        self.input = self.encoder.input
        self.sound, self.words = nn.Linear(3, 4), nn.EmbeddingBag(7, 4)
        self.teacher = EMA(self.encoder, momentum)
        self.register_buffer("queue", torch.zeros(8, 4))
        self.steps = []

    def plan(self, i, index, clock, rng):
        row = int(index.rows[i])
        text = index.manifest.row(row)["text"]
        words = np.array([sum(map(ord, word)) % 7 for word in text.split()], np.int64)
        reads = {"video": Frames(row, index.frames(i)[:CLIP], (12, 16)), "audio": Column(row, "audio", 0, 1)}
        return Sample(reads, {"words": rng.permutation(words)[:2]})

    def prepare(self, batch, generator):
        """Frozen parts: the teacher tells what the sound should say."""
        told = self.teacher(self.input.normalise(batch["video"])).pooled
        return {**batch, "told": told}

    def before_step(self, step):
        self.steps.append(("before", step))
        self.teacher.update(self.encoder, step)

    def after_step(self, step):
        self.steps.append(("after", step))
        self.queue.copy_(torch.roll(self.queue, 1, 0))
        self.queue[0] = self.sound.weight.detach().mean(1)

    def losses(self, batch, phase):
        seen = self.encoder(self.input.normalise(batch["video"])).pooled
        heard, read = self.sound(batch["audio"][:, 0]), self.words(batch["words"])
        loss = (seen - heard).square().mean() + (seen - read).square().mean() + (heard - batch["told"]).square().mean()
        return {"loss": loss, "parts": {"queue": self.queue.abs().mean()}}

    def products(self):
        return Products({"video": self.encoder}, predictors={"sound": self.sound})


@pytest.fixture
def spoken(tiny_videos, tmp_path):
    rows = []
    for row in range(len(tiny_videos)):
        np.save(tmp_path / f"{row}.npy", np.full((2, 3), row, np.float32))
        text = f"{tiny_videos.row(row)['label']} it moves"
        rows.append({**tiny_videos.row(row), "path": str(tiny_videos.path(row)), "audio": f"{row}.npy", "text": text})
    return Manifest.from_rows(rows, tmp_path)


def test_a_multimodal_method_with_teacher_and_queue_trains(spoken, tmp_path):
    run = pretrain(tiny_recipe(named(Spoken)), spoken, tmp_path / "run", quiet=True)
    losses = [record["loss"] for record in journal(tmp_path / "run", "step")]
    assert losses[-1] < losses[0]
    again = load_run(tmp_path / "run", method=named(Spoken)).method
    assert_same_bits(dict(again.state_dict()), dict(run.method.state_dict()))
    assert again.queue.abs().sum() > 0
    assert not torch.equal(again.teacher.module.weights.weight, again.encoder.weights.weight)


def test_hooks_surround_each_step(spoken, tmp_path):
    trainer = Trainer(tiny_recipe(named(Spoken)), spoken, tmp_path / "run", torch.device("cpu"))
    batches = [trainer.on_device(delivery) for delivery in next(trainer._steps(Quiet()))]
    assert batches[0]["told"].requires_grad is False
    trainer.stepper.step(batches, 3, 0.1)
    assert trainer.method.steps == [("before", 3), ("after", 3)]


def test_a_missing_column_is_said_before_anything_trains(tiny_videos, tmp_path):
    message = (
        r"method '.*:Spoken' needs the columns 'audio', 'text', which the manifest in .* lacks; it has path, label"
    )
    with pytest.raises(DataError, match=message):
        pretrain(tiny_recipe(named(Spoken)), tiny_videos, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_cell_that_names_no_array_is_said_with_its_row(spoken, tmp_path):
    rows = [spoken.row(i) for i in range(6)]
    rows[4]["audio"] = None
    with pytest.raises(DataError, match=r"row 4 .* no 'audio'"):
        pretrain(tiny_recipe(named(Spoken)), Manifest.from_rows(rows, spoken.root), tmp_path / "run", quiet=True)


class Clumsy(Adversarial):
    """Forgets the side estimator."""

    phases = (Phase("critic", ("critic.",)), Phase("generator", ("generator.",)))


def test_a_parameter_that_no_phase_trains_is_refused(tiny_videos, tmp_path):
    with pytest.raises(RecipeError, match=r"side\.weight \(0 phases\), side\.bias \(0 phases\)"):
        pretrain(tiny_recipe(named(Clumsy)), tiny_videos, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_small_helpers_of_the_contract():
    method = Adversarial()
    assert parameter_names(method, method.phases[1]) == ["generator.weight", "generator.bias"]
    assert batch_size({"x": torch.zeros(4, 2)}) == 4
    assert batch_size({"x": Ragged(torch.zeros(3, 2), torch.tensor([1, 2, 2]))}) == 3
    assert Method().pictures({}) == [] and Method().order(None, 0, 0) is None
    with pytest.raises(NotImplementedError):
        Method().products()
