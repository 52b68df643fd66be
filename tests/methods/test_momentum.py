"""What the methods of momentum contrast share: over two processes, and over a stop, they do what one run does."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kinema.modules.sync_bn import convert_sync_batchnorm
from kinema.training.loop import pretrain
from kinema.training.stepper import Stepper
from tests.helpers import assert_same_run, stopped_and_resumed, tiny_recipe

SMALL = {"backbone": "r3d", "width": 2, "dim": 8, "queue": 11, "momentum": 0.9}
SMALL |= {"frames": 4, "size": 16, "resize": [20, 24]}
METHODS = {
    "rspnet": ({"margin_form": "code"}, ("query", "positive", "negative")),
    "rspnet, paper": ({"appearance": "one", "margin_form": "paper"}, ("query", "positive", "negative")),
    "tdl": ({"dropout": 0.0, "stride": 1, "window": 4, "short_side": 18}, ("anchor", "positive", "negative")),
}
"""Options, and the clips of a prepared batch."""

CASES = {"groups": {"bn_groups": 2}, "joint statistics": {}}
"""What one process does that equals two: BatchNorm of the keys in two groups, or of the joined batch (`sync_bn`)."""


def recipe_of(name, *, more=(), **overrides):
    options = {f"options.{key}": value for key, value in {**SMALL, **METHODS[name][0], **dict(more)}.items()}
    return tiny_recipe(name.partition(",")[0], **options, **overrides)


def share(name, *samples):
    """Some of five prepared samples, as a function of the step."""

    def batches(step):
        generator = torch.Generator().manual_seed(step)
        shape = (5, 3, 4, 16, 16)
        clips = {clip: torch.randn(shape, generator=generator, dtype=torch.float64) for clip in METHODS[name][1]}
        drawn = torch.rand(5, generator=generator) < 0.7
        return {key: value[list(samples)] for key, value in {**clips, "either": drawn, "distinct": drawn}.items()}

    return batches


def two_steps(name, case, batches, **options):
    """Two steps, the second with keys of the first; losses, and the state without what stays each process's own."""
    recipe = recipe_of(name, more=options)
    method = recipe.build().double().train()
    if case == "joint statistics":
        convert_sync_batchnorm(method)
    else:
        # The query's statistics are its own matter: frozen, so that only the keys are normalised in groups.
        for part in method.network.modules():
            if isinstance(part, torch.nn.BatchNorm3d):
                part.eval()
    stepper = Stepper(method, recipe, torch.device("cpu"))
    outcomes = [stepper.step([batches(step)], step, 0.01) for step in range(2)]
    own = ("running", "num_batches") if case == "groups" else ()
    state = {key: value for key, value in method.state_dict().items() if not any(word in key for word in own)}
    return {"losses": torch.stack([outcome.loss for outcome in outcomes]), "state": state}


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    samples = (0, 1) if rank == 0 else (2, 3, 4)
    found = {(name, case): two_steps(name, case, share(name, *samples)) for name in METHODS for case in CASES}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("momentum")
    mp.spawn(worker, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_with_unequal_shares_equal_one_on_the_joined_batch(ranks, name, case):
    whole = two_steps(name, case, share(name, 0, 1, 2, 3, 4), **CASES[case])
    for rank in (rank[name, case] for rank in ranks):
        torch.testing.assert_close(rank["losses"], whole["losses"], rtol=1e-5, atol=1e-6)
        assert rank["state"].keys() == whole["state"].keys()
        for key, value in whole["state"].items():
            torch.testing.assert_close(rank["state"][key], value, rtol=1e-5, atol=1e-7, msg=key)


@pytest.mark.parametrize("name", ["rspnet", "tdl"])
def test_a_stopped_run_goes_on_with_the_same_queue_and_keys(name, tiny_videos, tmp_path, monkeypatch):
    pretrain(recipe_of(name, epochs=3), tiny_videos, tmp_path / "whole", quiet=True)
    # A checkpoint after every step.
    often = recipe_of(name, epochs=3, checkpoint=0)
    resumed = stopped_and_resumed(monkeypatch, often, tiny_videos, tmp_path / "parts", [2])
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert int(resumed.method.queue.position) == 18 % 11
