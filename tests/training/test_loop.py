"""The loop: one batch whatever way it is cut, honest about broken files and numbers, guarded against mistakes."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.data.manifest import Manifest
from kinema.data.reading import execute
from kinema.data.sample import Clock, collate
from kinema.randomness import numpy_generator
from kinema.training.checkpoint import checkpoints, load_run, load_tensors
from kinema.training.loop import pretrain
from kinema.training.schedules import lr_factor
from tests.helpers import (
    CLIP,
    PLAIN,
    Plain,
    assert_same_run,
    damage,
    final_weights,
    journal,
    stopped_and_resumed,
    tiny_recipe,
)


def plain_recipe(**overrides):
    return tiny_recipe(PLAIN, **{"optimiser.lr": 0.05, **overrides})


@pytest.fixture
def broken_videos(tiny_videos, tmp_path):
    """A copy of the tiny videos of which row 2 was damaged after the scan."""
    shutil.copytree(tiny_videos.root, tmp_path / "videos")
    manifest = Manifest(tiny_videos.table, tmp_path / "videos")
    damage(manifest.path(2))
    return manifest


def test_a_run_leaves_its_folder_and_its_journal(tiny_videos, tmp_path):
    recipe = tiny_recipe(health=1.0)
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    assert run.step == 10 and run.recipe == recipe and not run.method.training
    assert run.manifest.column("hash") == tiny_videos.column("hash")
    events = [record["event"] for record in journal(tmp_path / "run")]
    assert events == ["start", *["step"] * 5, "health", *["step"] * 5, "health", "end"]
    start, end = journal(tmp_path / "run", "start")[0], journal(tmp_path / "run", "end")[0]
    assert (start["samples"], start["videos"], start["steps"]) == (30, 6, 10) and end["steps"] == 10
    steps = journal(tmp_path / "run", "step")
    assert [record["step"] for record in steps] == list(range(10))
    assert [record["epoch"] for record in steps] == [0] * 5 + [1] * 5
    factors = [lr_factor(recipe.schedule, step, 5, 10) for step in range(10)]
    assert [record["lr"] for record in steps] == pytest.approx([recipe.optimiser.lr * factor for factor in factors])
    for record in steps:
        weighted = record["parts"]["motion"] + 0.1 * record["parts"]["appearance"]
        assert record["loss"] == pytest.approx(weighted, rel=1e-5)
        assert 0 <= record["wait_share"] <= 1 and record["grad_norm"] > 0 and record["clips_per_second"] > 0
    assert [record["step"] for record in journal(tmp_path / "run", "health")] == [5, 10]


def test_the_same_recipe_gives_the_same_bits_with_any_workers_and_any_looks(tiny_videos, tmp_path):
    pretrain(tiny_recipe(), tiny_videos, tmp_path / "a", quiet=True)
    pretrain(tiny_recipe(workers=2, health=1.0, checkpoint=0.0), tiny_videos, tmp_path / "b", quiet=True)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    pretrain(tiny_recipe(seed=1), tiny_videos, tmp_path / "c", quiet=True)
    assert not torch.equal(final_weights(tmp_path / "a")["head.weight"], final_weights(tmp_path / "c")["head.weight"])


def test_training_learns(tiny_videos, tmp_path):
    pretrain(plain_recipe(epochs=12), tiny_videos, tmp_path / "run", quiet=True)
    losses = [record["loss"] for record in journal(tmp_path / "run", "step")]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


@pytest.mark.parametrize("accumulate", [2, 3])
def test_micro_batches_equal_one_big_batch(tiny_videos, tmp_path, accumulate):
    """A network without BatchNorm; the tolerance is that of sums in another order."""
    recipe = plain_recipe(clip_grad=0.2)
    whole = pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True)
    parts = pretrain(replace(recipe, accumulate=accumulate), tiny_videos, tmp_path / "parts", quiet=True)
    start = recipe.build().state_dict()
    for name, weight in whole.method.state_dict().items():
        moved = (weight - start[name]).abs().max()
        assert moved > 1e-3
        assert (parts.method.state_dict()[name] - weight).abs().max() < 1e-4 * moved
    for one, other in zip(journal(tmp_path / "whole", "step"), journal(tmp_path / "parts", "step"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["parts"] == pytest.approx(one["parts"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)


def loss_by_hand(method, manifest, samples, epoch):
    """The mean loss of these samples as the run draws them in this epoch, in one batch."""
    index = method.index(manifest)
    clock = Clock(epoch, epoch, 0.0)
    plans = [method.plan(i, index, clock, numpy_generator(0, "sample", epoch, i, 0)) for i in samples]
    batch = method.prepare(collate([execute(plan, manifest) for plan in plans]), None)
    return method.losses(batch, method.phases[0])["loss"]


def test_steps_follow_the_gradient_of_the_mean_loss(tiny_videos, tmp_path):
    """Three steps of SGD with momentum and decay, each on all samples, against torch's own optimiser."""
    overrides = {"epochs": 3, "batch": 30, "schedule.name": "constant", "schedule.warmup": 0.0}
    recipe = plain_recipe(**overrides, **{"optimiser.weight_decay": 0.1})
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    method = recipe.build()
    sgd = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    for epoch, record in enumerate(journal(tmp_path / "run", "step")):
        sgd.zero_grad()
        loss = loss_by_hand(method, tiny_videos, range(30), epoch)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in method.parameters()])
        sgd.step()
        assert record["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert record["grad_norm"] == pytest.approx(gradient.norm().item(), rel=1e-5)
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(run.method.state_dict()[name], parameter.detach(), rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_norm_of_all_gradients_together(tiny_videos, tmp_path):
    overrides = {"optimiser.momentum": 0.0, "schedule.name": "constant", "schedule.warmup": 0.0}
    recipe = plain_recipe(epochs=1, batch=30, clip_grad=1e-3, **overrides)
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    start = recipe.build().state_dict()
    change = torch.cat([(start[name] - weight).flatten() for name, weight in run.method.state_dict().items()])
    assert float(change.double().norm()) == pytest.approx(recipe.optimiser.lr * 1e-3, rel=1e-3)
    assert journal(tmp_path / "run", "step")[0]["grad_norm"] > 0.1


def test_averaged_weights_equal_the_slow_formula(tiny_videos, tmp_path):
    recipe = plain_recipe(ema=0.8, checkpoint=0.0, keep=100)
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    assert len(checkpoints(run.folder)) == run.step == 10
    average = {name: weight.double() for name, weight in recipe.build().state_dict().items()}
    for folder in checkpoints(run.folder):
        weights = load_tensors(folder / "model.safetensors")
        average = {name: 0.8 * average[name] + 0.2 * weights[name].double() for name in average}
        stored = load_tensors(folder / "ema.safetensors")
        for name, expected in average.items():
            torch.testing.assert_close(stored[name].double(), expected, rtol=1e-5, atol=1e-7)
    averaged = load_run(run.folder, method=PLAIN, ema=True).method.state_dict()
    assert torch.equal(averaged["head.weight"], stored["head.weight"])
    assert not torch.equal(averaged["head.weight"], run.method.state_dict()["head.weight"])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_close_to_single(tiny_videos, tmp_path, precision):
    whole = pretrain(plain_recipe(), tiny_videos, tmp_path / "whole", quiet=True)
    half = pretrain(plain_recipe(precision=precision), tiny_videos, tmp_path / "half", quiet=True)
    one, other = whole.method.head.weight, half.method.head.weight
    assert other.dtype == torch.float32
    # Loss scaling in fp16 leaves out the first steps, until it has found a scale that does not overflow.
    assert 0 < (one - other).detach().abs().max() < (0.05 if precision == "bf16" else 0.3)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_quarantined_and_training_goes_on(broken_videos, tmp_path, workers):
    run = pretrain(plain_recipe(workers=workers), broken_videos, tmp_path / "run", quiet=True)
    assert run.step == 10
    records = journal(tmp_path / "run", "quarantine")
    assert [record["path"] for record in records] == [str(broken_videos.path(2))]
    assert "damaged" in records[0]["reason"]
    listed = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert [(record["path"], record["reason"]) for record in listed] == [(records[0]["path"], records[0]["reason"])]
    assert len(journal(tmp_path / "run", "step")) == 10 and not journal(tmp_path / "run", "skipped")


def test_a_batch_shrunk_by_a_broken_file_averages_over_what_is_left(broken_videos, tiny_videos, tmp_path):
    """One step on all samples but those of the broken file."""
    recipe = plain_recipe(epochs=1, batch=30, **{"optimiser.momentum": 0.0})
    broken = pretrain(recipe, broken_videos, tmp_path / "run", quiet=True)
    method = recipe.build()
    index = method.index(tiny_videos)
    loss_by_hand(method, tiny_videos, np.flatnonzero(index.rows != 2).tolist(), 0).backward()
    lr = journal(tmp_path / "run", "step")[0]["lr"]
    for name, parameter in method.named_parameters():
        expected = parameter.detach() - lr * parameter.grad
        torch.testing.assert_close(broken.method.state_dict()[name], expected, rtol=1e-5, atol=1e-7)


def test_a_step_of_nothing_but_broken_files_is_skipped(broken_videos, tmp_path):
    run = pretrain(plain_recipe(batch=1, epochs=1), broken_videos, tmp_path / "run", quiet=True)
    assert run.step == 30
    skipped = [record["step"] for record in journal(tmp_path / "run", "skipped")]
    done = [record["step"] for record in journal(tmp_path / "run", "step")]
    assert len(skipped) == 40 // CLIP
    assert sorted(skipped + done) == list(range(30))


def test_one_video_is_enough(tiny_videos, tmp_path):
    """A single file, as from a camera that runs for hours: nothing to compare its features with, but it trains."""
    run = pretrain(plain_recipe(health=1.0), tiny_videos.select([0]), tmp_path / "run", quiet=True)
    assert run.step == 2
    assert journal(tmp_path / "run", "health") == []


def test_labels_may_be_missing_in_part(tiny_videos, tmp_path):
    rows = [tiny_videos.row(i) for i in range(6)]
    rows[3]["label"] = None
    manifest = Manifest.from_rows(rows, tiny_videos.root)
    pretrain(plain_recipe(), manifest, tmp_path / "run", quiet=True)
    assert journal(tmp_path / "run", "health")[0]["knn"] is None


def with_groups(manifest, groups):
    rows = [{**manifest.row(i), "group": group} for i, group in enumerate(groups)]
    return Manifest.from_rows(rows, manifest.root)


def test_validation_holds_out_whole_groups_and_moves_no_weight(tiny_videos, tmp_path):
    """The weights are those of a run that never heard of the held-out rows."""
    manifest = with_groups(tiny_videos, ["x", "x", "y", "y", "z", "z"])
    recipe = plain_recipe(validation=0.3, health=1.0, dropout=0.3)
    held_out = pretrain(recipe, manifest, tmp_path / "with", quiet=True)
    trained_on = journal(tmp_path / "with", "start")[0]
    assert (trained_on["videos"], trained_on["samples"]) == (4, 20)
    candidates = {"x": [2, 3, 4, 5], "y": [0, 1, 4, 5], "z": [0, 1, 2, 3]}
    equal = []
    for name, inside in candidates.items():
        alone = pretrain(plain_recipe(dropout=0.3), manifest.select(inside), tmp_path / name, quiet=True)
        equal.append(torch.equal(alone.method.head.weight, held_out.method.head.weight))
    assert sum(equal) == 1
    records = journal(tmp_path / "with", "validation")
    assert [record["step"] for record in records] == [3, 6]
    outside = sorted(set(range(6)) - set(candidates["xyz"[equal.index(True)]]))
    expected = validation_by_hand(held_out.method, manifest.select(outside))
    assert records[-1]["loss"] == pytest.approx(expected, rel=1e-5)
    assert records[-1]["parts"]["error"] == pytest.approx(expected, rel=1e-5)


def validation_by_hand(method, manifest):
    """The mean loss over all samples, each alone, in eval mode."""
    index = method.index(manifest)
    losses = []
    for i in range(len(index)):
        plan = method.plan(i, index, Clock(0, 0, 0.0), numpy_generator(-1, "sample", 0, i, 0))
        batch = method.prepare(collate([execute(plan, manifest)]), None)
        losses.append(method.losses(batch, method.phases[0])["loss"].item())
    return math.fsum(losses) / len(losses)


def test_the_best_weights_are_those_with_the_least_held_out_loss(tiny_videos, tmp_path, monkeypatch):
    """At a rate that soon breaks what was learned; stopped and resumed in between, it chooses the same."""
    recipe = plain_recipe(epochs=5, validation=0.3, health=1.0, choose="best", **{"optimiser.lr": 2.0})
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    losses = {record["step"]: record["loss"] for record in journal(tmp_path / "run", "validation")}
    best = min(losses, key=losses.get)
    assert run.step == best < max(losses) and losses[best] < list(losses.values())[-1]
    kept = checkpoints(tmp_path / "run" / "best")
    assert [folder.name for folder in kept] == [f"step-{best:08d}"]
    assert load_run(tmp_path / "run", step=max(losses), method=PLAIN).step == max(losses)
    last = pretrain(replace(recipe, choose="last"), tiny_videos, tmp_path / "last", quiet=True)
    assert last.step == max(losses) and not torch.equal(last.method.head.weight, run.method.head.weight)
    again = stopped_and_resumed(monkeypatch, replace(recipe, checkpoint=0), tiny_videos, tmp_path / "again", [best + 1])
    assert again.step == best and torch.equal(again.method.head.weight, run.method.head.weight)


def test_segments_of_one_file_are_held_out_together(tiny_videos, tmp_path):
    rows = [{**tiny_videos.row(i), "start": 0.8 * k, "end": 0.8 * k + 0.8} for i in range(3) for k in range(5)]
    manifest = Manifest.from_rows(rows, tiny_videos.root)
    pretrain(plain_recipe(validation=0.3), manifest, tmp_path / "run", quiet=True)
    assert journal(tmp_path / "run", "start")[0]["videos"] == 10


class Weighted(Plain):
    """A mean over as many items as each batch says; a sample of a bright clip counts more."""

    def losses(self, batch, phase):
        told = self.head(self.encoder(self.input.normalise(batch["video"])).pooled)
        items = 1 + batch["target"][:, 0].clamp(min=0)
        error = ((told - batch["target"]).square().mean(1) * items).sum() / items.sum()
        return {"loss": error, "weight": items.sum(), "parts": {}}


def test_losses_are_averaged_by_their_number_of_items(tiny_videos, tmp_path):
    recipe = replace(plain_recipe(), method=f"{__name__}:Weighted")
    whole = pretrain(recipe, tiny_videos, tmp_path / "whole", quiet=True).method.state_dict()
    parts = pretrain(replace(recipe, accumulate=6), tiny_videos, tmp_path / "parts", quiet=True).method.state_dict()
    start = recipe.build().state_dict()
    for name, weight in whole.items():
        assert (parts[name] - weight).abs().max() < 1e-4 * (weight - start[name]).abs().max()


def test_validation_weighs_batches_by_their_items(tiny_videos, tmp_path):
    """Batches of any size give the same validation loss."""
    found = []
    for batch in (2, 5):
        recipe = plain_recipe(batch=batch, epochs=1, validation=0.5, **{"optimiser.lr": 1e-12})
        recipe = replace(recipe, method=f"{__name__}:Weighted")
        pretrain(recipe, tiny_videos, tmp_path / str(batch), quiet=True)
        found.append(journal(tmp_path / str(batch), "validation")[0]["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_dropout_is_keyed_by_the_step(tiny_videos, tmp_path):
    recipe = plain_recipe(dropout=0.5)
    torch.manual_seed(1)
    pretrain(recipe, tiny_videos, tmp_path / "a", quiet=True)
    torch.manual_seed(2)
    pretrain(recipe, tiny_videos, tmp_path / "b", quiet=True)
    assert_same_run(tmp_path / "a", tmp_path / "b")
