"""Two processes equal one process on the joined batch.

Equality is up to the order of sums: what differs between the two ways is compared with how far the weights have moved.
Single steps compute in float64, where the difference must be less than `CLOSE` of it: in float32 an activation on the
kink of a ReLU may fall on either side. Plain SGD, because Adam would hide a wrong scale.
"""

import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kinema.data.manifest import Manifest
from kinema.errors import RecipeError
from kinema.modules.sync_bn import convert_sync_batchnorm
from kinema.training.checkpoint import checkpoints, load_tensors
from kinema.training.distributed import agree, choose_device, rank, sum_over_processes, world_size
from kinema.training.loop import pretrain
from kinema.training.stepper import Stepper
from tests.helpers import PLAIN, damage, journal, tiny_recipe

CLOSE = 1e-7
"""Largest difference in float64 networks (losses are float32), as a share of the largest movement."""

SGD = {"optimiser.name": "sgd", "optimiser.lr": 0.01, "schedule.name": "constant", "schedule.warmup": 0.0}

STEPPED = {
    "c3d_light": {"backbone": "c3d_light", "width": 4, "frames": 16, "target": "1d", "optimiser.lr": 1e-4},
    "c3d_light, classes": {"backbone": "c3d_light", "width": 4, "frames": 16},
    "r3d": {"target": "classification"},
    "r3d, channels last": {"channels_last": True},
    "r3d, micro-batches": {"accumulate": 2},
    "r3d, clipped": {"clip_grad": 0.5},
}
"""Options of STS, stepped three times on given batches."""

SHARES = {"equal": 3, "unequal": 2}
"""How many of six samples the first process holds; the second holds three, so it was the first that lost one."""


def recipe_of(name):
    return tiny_recipe(**{**SGD, **STEPPED[name]})


def batch_of(recipe, step):
    """Six prepared samples of STS, a function of the step."""
    generator = torch.Generator().manual_seed(step)
    frames = recipe.options["frames"]
    labels = torch.randint(1, 5, (6, 27), generator=generator)
    return {
        "video": torch.randint(0, 256, (6, 3, frames, 32, 32), generator=generator, dtype=torch.uint8),
        "motion": labels[:, :14],
        "motion_valid": torch.rand(6, 14, generator=generator) > 0.3,
        "appearance": labels[:, 14:],
    }


def part_of(batch, samples):
    return {name: value[samples] for name, value in batch.items()}


def wake(method):
    """The light C3D begins with vanishing signals; larger weights let every layer move."""
    for name, parameter in method.named_parameters():
        if "c3d" in type(method.encoder.backbone).__name__.lower() and name.endswith("weight"):
            torch.nn.init.kaiming_normal_(parameter, generator=torch.Generator().manual_seed(7))
    return method.double()


def three_steps(recipe, batches_of_step):
    """Step a method three times; its state and the outcomes."""
    method = wake(recipe.build())
    method.encoder.register_forward_pre_hook(lambda encoder, inputs: (inputs[0].double(),))
    if world_size() > 1:
        convert_sync_batchnorm(method)
    if recipe.channels_last:
        method.to(memory_format=torch.channels_last_3d)
    method.train()
    stepper = Stepper(method, recipe, torch.device("cpu"))
    outcomes = [stepper.step(batches_of_step(step), step, recipe.optimiser.lr) for step in range(3)]
    return {"state": method.state_dict(), "outcomes": [outcome._asdict() for outcome in outcomes]}


def share(recipe, samples):
    """This process's micro-batches: its samples cut into `accumulate` parts."""
    return lambda step: [part_of(batch_of(recipe, step), chunk) for chunk in samples.chunk(recipe.accumulate)]


def samples_of(shares, number):
    """Of six samples, those of process `number`; what is in no share was lost."""
    return torch.arange(SHARES[shares]) if number == 0 else torch.arange(3, 6)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PRETRAINED = {
    "plain": (PLAIN, {**SGD, "epochs": 2}, 1e-4),
    "plain, more": (PLAIN, {**SGD, "accumulate": 3, "ema": 0.5, "precision": "bf16", "validation": 0.3}, 0.05),
    "phases": ("tests.methods.test_contract:Adversarial", {**SGD, "noise": 0.0}, 1e-4),
    "sts": ("sts", {**SGD, "optimiser.lr": 1e-4, "batch": 10, "health": 1.0, "curriculum": 1, "workers": 1}, 0.05),
}
"""Whole runs: the method, its overrides, and how close they must come in float32 or less."""


def worker(number, folder, port):
    torch.set_num_threads(1)
    folder = Path(folder)
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    manifest, broken = manifests(folder)
    # The first run joins the processes itself, as under torchrun.
    method, overrides, _ = PRETRAINED["plain"]
    pretrain(tiny_recipe(method, **overrides), manifest, folder / "two" / "plain", quiet=True)
    assert not dist.is_initialized()
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=number, world_size=2)
    results = {"before": collectives()}
    for name in ("plain, more", "phases", "sts"):
        method, overrides, _ = PRETRAINED[name]
        pretrain(tiny_recipe(method, **overrides), manifest, folder / "two" / name, quiet=True)
    for name, batch in {"broken": 6, "skipped": 2}.items():
        pretrain(tiny_recipe(PLAIN, **SGD, batch=batch), broken, folder / "two" / name, quiet=True)
    for name in STEPPED:
        for shares in SHARES:
            recipe = recipe_of(name)
            results[name, shares] = three_steps(recipe, share(recipe, samples_of(shares, number)))
    results["noise"] = noise()
    torch.save(results, folder / f"{number}.pt")
    dist.destroy_process_group()


def manifests(folder):
    """The tiny videos, and a copy of them of which one is damaged."""
    return [Manifest.read(folder / name / "videos.parquet") for name in ("whole", "broken")]


def collectives():
    number = rank()
    failures = agree(False, [])
    lists = agree(number == 1, [f"file {number}"] * number)
    return {"rank": number, "sum": sum_over_processes(torch.tensor([1.0, number])), "none": failures, "some": lists}


def noise():
    """What a loss draws from the global generator in one step, as the noise of a GAN."""
    drawn = []
    recipe = tiny_recipe(PLAIN)
    method = recipe.build()
    method.before_step = lambda step: drawn.append(torch.rand(3))
    batch = {"video": torch.zeros(2, 3, 8, 12, 16, dtype=torch.uint8), "target": torch.ones(2, 3)}
    Stepper(method, recipe, torch.device("cpu")).step([batch], 0, 0.1)
    return drawn[0]


@pytest.fixture(scope="module")
def folder(tiny_videos, tmp_path_factory):
    """Run folders of two processes under two/, of one process under one/, and what each of two processes returned."""
    folder = tmp_path_factory.mktemp("distributed")
    for name in ("whole", "broken"):
        shutil.copytree(tiny_videos.root, folder / name)
        Manifest(tiny_videos.table, folder / name).write(folder / name / "videos.parquet")
    manifest, broken = manifests(folder)
    damage(broken.path(2))
    mp.spawn(worker, args=(str(folder), free_port()), nprocs=2)
    for name, (method, overrides, _) in PRETRAINED.items():
        pretrain(tiny_recipe(method, **overrides), manifest, folder / "one" / name, quiet=True)
    pretrain(tiny_recipe(PLAIN, **SGD), broken, folder / "one" / "broken", quiet=True)
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


def assert_close(found, expected, start, close=CLOSE):
    """Each tensor within `close` of how far it moved; all of them moved."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value.is_floating_point():
            moved = (value - start[name]).abs().max()
            assert moved > 0, name
            assert (found[name] - value).abs().max() <= close * moved, name
        else:
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("name", STEPPED)
def test_two_processes_step_like_one_on_the_joined_batch(ranks, name, shares):
    recipe = recipe_of(name)
    everything = torch.cat([samples_of(shares, number) for number in range(2)])
    # Micro-batches of a network with BatchNorm see the statistics of one micro-batch of all processes.
    parts = [samples_of(shares, number).chunk(recipe.accumulate) for number in range(2)]
    joined = [torch.cat(pair) for pair in zip(*parts, strict=True)] if recipe.accumulate > 1 else [everything]
    expected = three_steps(recipe, lambda step: [part_of(batch_of(recipe, step), samples) for samples in joined])
    start = wake(recipe.build()).state_dict()
    for number in range(2):
        found = ranks[number][name, shares]
        assert_close(found["state"], expected["state"], start)
        for one, two in zip(expected["outcomes"], found["outcomes"], strict=True):
            assert two["loss"].item() == pytest.approx(one["loss"].item(), rel=1e-5)
            assert two["grad_norm"].item() == pytest.approx(one["grad_norm"].item(), rel=1e-4)
            assert two["parts"].keys() == one["parts"].keys()
            for part, value in one["parts"].items():
                assert two["parts"][part].item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("name", STEPPED)
def test_both_processes_hold_the_same_bits(ranks, name):
    for shares in SHARES:
        first, second = (ranks[number][name, shares]["state"] for number in range(2))
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretraining_with_two_processes_equals_one(folder, name):
    method, overrides, close = PRETRAINED[name]
    recipe = tiny_recipe(method, **overrides)
    for file in ("model", "ema") if recipe.ema else ("model",):
        one, two = (
            load_tensors(checkpoints(folder / ways / name)[-1] / f"{file}.safetensors") for ways in ("one", "two")
        )
        assert_close(two, one, recipe.build().state_dict(), close)
    steps = [journal(folder / ways / name, "step") for ways in ("one", "two")]
    assert len(steps[0]) == len(steps[1]) > 0
    for one, two in zip(*steps, strict=True):
        assert (one["step"], one["epoch"], one["lr"]) == (two["step"], two["epoch"], two["lr"])
        assert two["loss"] == pytest.approx(one["loss"], rel=close)
        assert two["parts"] == pytest.approx(one["parts"], rel=close)
    for event in ("start", "validation", "health", "end"):
        assert len(journal(folder / "one" / name, event)) == len(journal(folder / "two" / name, event))


def test_a_broken_file_in_one_process_shrinks_the_joined_batch(folder):
    """One process lost samples in some steps; the gradient is still that of one process on what was left."""
    assert len(journal(folder / "two" / "broken", "quarantine")) == 1
    one, two = (
        load_tensors(checkpoints(folder / ways / "broken")[-1] / "model.safetensors") for ways in ("one", "two")
    )
    start = tiny_recipe(PLAIN, **SGD).build().state_dict()
    assert_close(two, one, start, close=1e-4)


def test_all_processes_skip_a_step_that_one_of_them_cannot_take(folder):
    run = folder / "two" / "skipped"
    skipped = [record["step"] for record in journal(run, "skipped")]
    done = [record["step"] for record in journal(run, "step")]
    assert len(skipped) == 10 and sorted(skipped + done) == list(range(30))
    assert checkpoints(run)[-1].name == "step-00000030"


def test_collectives(ranks):
    for number, found in enumerate(result["before"] for result in ranks):
        assert found["rank"] == number
        assert found["sum"].tolist() == [2.0, 1.0]
        assert found["none"] == (False, [])
        assert found["some"] == (True, ["file 1"])


def test_processes_draw_different_noise(ranks):
    assert not torch.equal(ranks[0]["noise"], ranks[1]["noise"])
    assert torch.equal(ranks[0]["noise"], noise())


def test_one_process_needs_no_group():
    value = torch.ones(2)
    assert sum_over_processes(value) is value
    assert agree(True, ["x"]) == (True, ["x"])
    assert (rank(), world_size()) == (0, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("cuda:0", "no CUDA device is visible"), ("tpu9", "write auto, cpu, cuda"), ("mps", "no Metal device")],
)
def test_a_device_that_is_not_there_is_explained(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=message):
        choose_device(name)
    assert choose_device("auto") == torch.device("cpu")
