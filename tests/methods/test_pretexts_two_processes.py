"""Rotation, clip order, playback rate and in-batch contrast over two processes equal one process on the joined batch.

In float64 with plain SGD and shared BatchNorm, as for STS in `tests/training/test_distributed.py`; dropout is off,
since every process draws its own.
"""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kinema.methods.encoders import ConvEncoder
from kinema.modules.sync_bn import convert_sync_batchnorm
from kinema.training.distributed import world_size
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper

CLOSE = 1e-7
FRAMES, SIZE, SAMPLES = 4, 16, 6
SMALL = {"backbone": "r3d", "width": 2, "frames": FRAMES, "resize": [16, 20], "size": SIZE}
METHODS = {
    "rotnet": {"rotations": "sample", "dropout": 0.0, "init_std": None},
    "rotnet, all turns": {"rotations": "all", "dropout": 0.0, "init_std": None},
    "vcop": {"tuple_length": 3, "dropout": 0.0},
    "prp": {"dilations": [1, 2, 4]},
    "cvrl": {"hidden": 1, "hidden_width": 8, "dim": 8, "head_momentum": 0.1, "kernel_decay": 0.01},
}
SHARES = {"equal": 3, "unequal": 2}
"""How many of six samples the first process holds; the second holds three, so the first has lost one or none."""


def recipe_of(name):
    options = {f"options.{key}": value for key, value in {**SMALL, **METHODS[name]}.items()}
    plain = {"optimiser.name": "sgd", "optimiser.lr": 0.01, "device": "cpu", "clip_grad": None, "channels_last": False}
    return load_recipe(name.partition(",")[0], None, {**options, **plain})


def batch_of(name, step):
    """Six prepared samples, a function of the step."""
    generator = torch.Generator().manual_seed(step)
    pixels = lambda *shape: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)  # noqa: E731
    if name == "vcop":
        return {
            "video": pixels(SAMPLES, 3, 3, FRAMES, SIZE, SIZE),
            "label": torch.randint(0, 6, (SAMPLES,), generator=generator),
        }
    if name == "cvrl":
        return {view: pixels(SAMPLES, 3, FRAMES, SIZE, SIZE) / 255 for view in ("first", "second")}
    if name == "prp":
        label = torch.arange(SAMPLES) % 3
        mask = 0.8 + 1.2 * torch.rand(SAMPLES, 3, 4, SIZE, SIZE, generator=generator)
        shown = pixels(SAMPLES, 3, 2 * FRAMES, SIZE, SIZE)
        return {"shown": shown, "mask": mask, "label": label, "dilation": 2**label}
    label = torch.randint(0, 4, (SAMPLES,), generator=generator)
    return {"video": pixels(SAMPLES, 3, FRAMES, SIZE, SIZE), "label": label}


def two_steps(name, samples):
    """Step a method twice on `samples` of its batches; its weights and what was measured."""
    recipe = recipe_of(name)
    method = recipe.build().double()
    encoder = next(part for part in method.modules() if isinstance(part, ConvEncoder))
    encoder.register_forward_pre_hook(lambda encoder, inputs: (inputs[0].double(),))
    if world_size() > 1:
        convert_sync_batchnorm(method)
    stepper = Stepper(method.train(), recipe, torch.device("cpu"))
    measured = []
    for step in range(2):
        batch = {key: value[samples] for key, value in batch_of(name, step).items()}
        outcome = stepper.step([batch], step, 0.01)
        measured.append({"loss": outcome.loss, "norm": outcome.grad_norm, **outcome.parts})
    return {"state": method.state_dict(), "measured": measured}


def samples_of(shares, number):
    """Of six samples, those of process `number`."""
    return torch.arange(SHARES[shares]) if number == 0 else torch.arange(3, SAMPLES)


def worker(number, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=number, world_size=2)
    found = {(name, shares): two_steps(name, samples_of(shares, number)) for name in METHODS for shares in SHARES}
    torch.save(found, folder / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(worker, (folder,), nprocs=2)
    return [torch.load(folder / f"{number}.pt") for number in (0, 1)]


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_equal_one(both, name, shares):
    joined = torch.cat([samples_of(shares, number) for number in (0, 1)])
    one, start = two_steps(name, joined), recipe_of(name).build().double().state_dict()
    moved = max((weight - start[key]).abs().max() for key, weight in one["state"].items() if key in start)
    assert moved > 1e-4
    for two in both:
        for key, weight in one["state"].items():
            assert (two[name, shares]["state"][key] - weight).abs().max() <= CLOSE * moved, key
        for mine, theirs in zip(one["measured"], two[name, shares]["measured"], strict=True):
            for part, value in mine.items():
                assert float(theirs[part]) == pytest.approx(float(value), rel=1e-5), part
