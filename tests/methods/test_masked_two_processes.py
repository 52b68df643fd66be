"""Masked autoencoders over two processes equal one process on the joined batch, gathered contrast included.

With plain SGD and shared BatchNorm; in single precision, so equal but for rounding. Of six samples the second process
holds three, the first three or, as if one had been broken, two.
"""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kinema.data.sample import Ragged
from kinema.modules.sync_bn import convert_sync_batchnorm
from kinema.training.distributed import world_size
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper
from tests.helpers import read_batch

SAMPLES, CLOSE = 6, 1e-4
VIT = {"model": "tiny", "width": 16, "depth": 2, "heads": 2, "patch": 8, "size": 16, "resize": [18, 24]}
SMALL = {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
METHODS = {
    "videomae": {**VIT, **SMALL, "frames": 4, "mask": 0.5},
    "child-view": {**VIT, **SMALL, "frames": 4, "stride": 2, "rate": None, "repeats": 1, "mask": 0.5},
    "crossvideomae": {**VIT, **SMALL, "image_decoder_depth": 1, "dim": 8, "frames": 4, "mask": 0.5, "image_mask": 0.5},
    "cropmae": {**VIT, **SMALL, "mask": 0.5, "dropout": 0.0},
    "lv-mae": {"width": 8, "depth": 2, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2},
}
SHARES = {"equal": 3, "unequal": 2}


def recipe_of(name):
    options = {f"options.{key}": value for key, value in METHODS[name].items()}
    plain = {"optimiser.name": "sgd", "optimiser.lr": 0.1, "device": "cpu", "clip_grad": None, "channels_last": False}
    return load_recipe(name, None, {**options, **plain})


def sequences():
    """Six prepared sequences of different lengths: as many hidden tokens as each has."""
    generator, lengths = torch.Generator().manual_seed(0), torch.tensor([4, 12, 6, 10, 8, 12])
    order = torch.arange(12).expand(6, -1).contiguous()
    return {
        "segments": Ragged(torch.randn(6, 12, 8, generator=generator), lengths),
        "order": Ragged(order, lengths),
        "noise": Ragged(torch.rand(6, 12, generator=generator), lengths),
        "keep": lengths // 2,
    }


def some(batch, samples):
    """The rows `samples` of a batch as read."""
    rows = {}
    for key, value in batch.items():
        ragged = isinstance(value, Ragged)
        rows[key] = Ragged(value.values[samples], value.lengths[samples], value.axis) if ragged else value[samples]
    return rows


def two_steps(name, batch, samples):
    """Step a method twice on `samples` of a batch as read; its weights and what was measured."""
    recipe = recipe_of(name)
    method = recipe.build()
    if world_size() > 1:
        convert_sync_batchnorm(method)
    stepper = Stepper(method.train(), recipe, torch.device("cpu"))
    measured = []
    for step in range(2):
        ready = method.prepare(some(batch, samples), torch.Generator().manual_seed(0))
        outcome = stepper.step([ready], step, 0.1)
        measured.append({"loss": outcome.loss, "norm": outcome.grad_norm, **outcome.parts})
    return {"state": method.state_dict(), "measured": measured}


def samples_of(shares, number):
    return torch.arange(SHARES[shares]) if number == 0 else torch.arange(3, SAMPLES)


def worker(number, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=number, world_size=2)
    batches = torch.load(folder / "batches.pt", weights_only=False)
    found = {
        (name, shares): two_steps(name, batches[name], samples_of(shares, number))
        for name in METHODS
        for shares in SHARES
    }
    torch.save(found, folder / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tiny_videos, tmp_path_factory):
    """The batches, and what each of two processes found."""
    folder, batches = tmp_path_factory.mktemp("two"), {"lv-mae": sequences()}
    for name in METHODS:
        if name not in batches:
            method = recipe_of(name).build()
            batches[name] = read_batch(method, method.index(tiny_videos), range(SAMPLES), prepare=False)
    torch.save(batches, folder / "batches.pt")
    mp.spawn(worker, (folder,), nprocs=2)
    return batches, [torch.load(folder / f"{number}.pt") for number in (0, 1)]


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_equal_one(both, name, shares):
    batches, parts = both
    joined = torch.cat([samples_of(shares, number) for number in (0, 1)])
    one, start = two_steps(name, batches[name], joined), recipe_of(name).build().state_dict()
    moved = max((weight - start[key]).abs().max() for key, weight in one["state"].items())
    assert moved > 1e-3
    for two in parts:
        for key, weight in one["state"].items():
            assert (two[name, shares]["state"][key] - weight).abs().max() <= CLOSE * moved, key
        for mine, theirs in zip(one["measured"], two[name, shares]["measured"], strict=True):
            assert mine.keys() == theirs.keys()
            for part, value in mine.items():
                assert float(theirs[part]) == pytest.approx(float(value), rel=1e-4), part
