"""Parameter groups, multipliers and phases."""

import copy

import pytest
import torch
from torch import nn

from kinema.errors import RecipeError
from kinema.methods.base import Method, ParamGroup, Phase
from kinema.training.optimisers import build_optimiser, build_optimisers, check_phases, set_lr
from kinema.training.recipe import OptimiserConfig


class Toy(Method):
    """A trunk whose biases learn at twice the rate without decay, a head that does not, and a frozen part."""

    def __init__(self):
        super().__init__()
        self.trunk, self.head, self.frozen = nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(1, 1)
        self.frozen.requires_grad_(False)

    def param_group(self, name, parameter):
        return ParamGroup(lr=2.0, weight_decay=0.0) if name == "trunk.bias" else ParamGroup()


def groups_of(optimiser):
    return [
        (sorted(tuple(p.shape) for p in group["params"]), group["lr"], group["weight_decay"])
        for group in optimiser.param_groups
    ]


def test_groups_multiply_rate_and_decay():
    optimiser = build_optimiser(Toy(), Phase(), OptimiserConfig("sgd", lr=0.1, weight_decay=0.5))
    assert groups_of(optimiser) == [([(1,), (1, 3), (3, 2)], 0.1, 0.5), ([(3,)], 0.2, 0.0)]


def test_every_trainable_parameter_is_in_exactly_one_group():
    method = Toy()
    held = [p for group in build_optimiser(method, Phase(), OptimiserConfig()).param_groups for p in group["params"]]
    trainable = [p for p in method.parameters() if p.requires_grad]
    assert len(held) == len(trainable) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in trainable}


def test_the_scheduled_rate_reaches_each_group_by_its_multiple():
    optimiser = build_optimiser(Toy(), Phase(), OptimiserConfig("adamw", lr=0.1))
    set_lr(optimiser, 0.03)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.03, 0.06])


@pytest.mark.parametrize(
    ("config", "kind", "expected"),
    [
        (
            OptimiserConfig("sgd", momentum=0.7, nesterov=True),
            torch.optim.SGD,
            {"momentum": 0.7, "nesterov": True},
        ),
        (OptimiserConfig("adamw", betas=(0.8, 0.9)), torch.optim.AdamW, {"betas": (0.8, 0.9)}),
        (OptimiserConfig("adam"), torch.optim.Adam, {"betas": (0.9, 0.95)}),
    ],
)
def test_the_optimiser_is_the_one_that_was_named(config, kind, expected):
    optimiser = build_optimiser(Toy(), Phase(), config)
    assert type(optimiser) is kind
    assert {name: optimiser.param_groups[0][name] for name in expected} == expected


def test_sgd_moves_by_the_known_rule():
    """Momentum and L2 decay by hand: v <- m v + (g + wd w), w <- w - lr v."""
    method = Toy()
    method.head.requires_grad_(False)
    optimiser = build_optimiser(method, Phase(), OptimiserConfig("sgd", lr=0.1, momentum=0.9, weight_decay=0.5))
    weight, velocity = method.trunk.weight.detach().clone(), torch.zeros(3, 2)
    for _ in range(3):
        for p in method.trunk.parameters():
            p.grad = torch.ones_like(p)
        optimiser.step()
        velocity = 0.9 * velocity + 1 + 0.5 * weight
        weight = weight - 0.1 * velocity
    torch.testing.assert_close(method.trunk.weight.detach(), weight)


def test_phases_take_parameters_by_the_beginning_of_their_names():
    optimiser = build_optimiser(Toy(), Phase("head", ("head.",)), OptimiserConfig())
    assert [tuple(p.shape) for group in optimiser.param_groups for p in group["params"]] == [(1, 3), (1,)]


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((Phase("a", ("trunk",)),), r"head\.weight \(0 phases\), head\.bias \(0 phases\)"),
        ((Phase(), Phase("b", ("head.w",))), r"head\.weight \(2 phases\)"),
    ],
)
def test_a_parameter_of_no_phase_or_of_two_is_named(phases, message):
    class Wrong(Toy):
        pass

    Wrong.phases = phases
    with pytest.raises(RecipeError, match=message):
        check_phases(Wrong())


def test_frozen_parameters_need_no_phase():
    class Split(Toy):
        phases = (Phase("a", ("trunk",)), Phase("b", ("head",)))

    check_phases(Split())
    with pytest.raises(RecipeError, match=r"phase 'c' has no trainable parameter that starts with \('frozen',\)"):
        build_optimiser(Split(), Phase("c", ("frozen",)), OptimiserConfig())


def test_phases_need_names_of_their_own():
    class Twins(Toy):
        phases = (Phase("same", ("trunk",)), Phase("same", ("head",)))

    with pytest.raises(RecipeError, match="need different names, got same, same"):
        build_optimisers(Twins(), OptimiserConfig())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (OptimiserConfig("sgd", momentum=0.0, nesterov=True), "Nesterov momentum requires a momentum"),
        (OptimiserConfig("adamw", betas=(2.0, 0.9)), "Invalid beta"),
        (OptimiserConfig("sgd", momentum=-1.0), "Invalid momentum"),
    ],
)
def test_settings_that_no_optimiser_takes_are_explained(config, message):
    with pytest.raises(RecipeError, match=f"optimiser '{config.name}' refuses its settings: {message}"):
        build_optimisers(Toy(), config)


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam"])
def test_a_first_step_that_loss_scaling_leaves_out_leaves_no_trace(name):
    method = Toy()
    before = [p.detach().clone() for p in method.parameters()]
    config = OptimiserConfig(name, lr=0.1, momentum=0.9)
    optimiser = build_optimiser(method, Phase(), config, scaled=True)
    fresh = build_optimiser(copy.deepcopy(method), Phase(), config)
    scaler = torch.amp.GradScaler("cpu")
    # Memory that is used again holds what was there before.
    junk = [torch.full_like(p, 1e30) for p in method.parameters() for _ in range(50)]
    del junk
    for factor in (float("inf"), 1.0):
        optimiser.zero_grad()
        scaler.scale(sum(p.sum() for p in method.parameters()) * factor).backward()
        scaler.unscale_(optimiser)
        scaler.step(optimiser)
        scaler.update()
        if factor != 1.0:
            assert all(torch.equal(p, old) for p, old in zip(method.parameters(), before, strict=True))
    for group in fresh.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    fresh.step()
    wanted = [p for group in fresh.param_groups for p in group["params"]]
    for p, other in zip((p for group in optimiser.param_groups for p in group["params"]), wanted, strict=True):
        torch.testing.assert_close(p, other)
