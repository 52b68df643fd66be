"""Linear probes trained by gradient steps: many at once are what each is alone, and the choice sees no test video."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from kinema.evaluation.linear_sgd import LINEAR_PRESETS, LinearPreset, Setting, fit_heads
from kinema.evaluation.probes import linear_protocol, run_linear
from kinema.evaluation.protocols import protocol
from kinema.evaluation.stacked_optimisers import StackedOptimiser
from kinema.evaluation.tasks import Part, Task
from kinema.randomness import torch_generator
from kinema.training.recipe import ScheduleConfig
from kinema.training.schedules import lr_factor

CONSTANT = ScheduleConfig("constant")


def clustered(count=45, dim=6, classes=3, *, views=4, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    features = 2.0 * np.eye(classes, dim)[labels][:, None] + rng.normal(0, noise, (count, views, dim))
    return features.astype(np.float32), labels


def fit(preset, grid, *, features=None, seed=0):
    features, labels = clustered() if features is None else features
    return fit_heads(features, labels, preset, grid=grid, classes=3, seed=seed)


@pytest.mark.parametrize("name", sorted(LINEAR_PRESETS))
def test_probes_trained_together_are_those_trained_alone(name):
    preset = replace(LINEAR_PRESETS[name], epochs=8)
    grid = [Setting("pooled", lr, decay) for lr in (0.1, 0.3, 1.0) for decay in (0.0, 0.01)]
    together = fit(preset, grid)
    for number, setting in enumerate(grid):
        alone = fit(preset, [setting])
        torch.testing.assert_close(together.weight[number], alone.weight[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.bias[number], alone.bias[0], rtol=1e-4, atol=1e-5)
    assert (together.weight[0] - together.weight[4]).abs().max() > 1e-5
    assert (together.weight[4] - together.weight[5]).abs().max() > 1e-8


@pytest.mark.parametrize("name", sorted(LINEAR_PRESETS))
def test_a_probe_is_what_plain_modules_give(name):
    """The same probe written with torch's own layers, and its own optimisers where it has them."""
    preset = replace(LINEAR_PRESETS[name], epochs=6)
    features, labels = clustered()
    setting = Setting("pooled", 1.0, 0.01)
    heads = fit(preset, [setting])
    views, targets = torch.from_numpy(features).flatten(0, 1), torch.from_numpy(labels).repeat_interleave(4)
    dim = views.shape[1]
    norm = {
        "l2+batch": nn.BatchNorm1d(dim), "batch": nn.BatchNorm1d(dim, affine=False)
    }.get(preset.norm, nn.Identity())  # fmt: skip
    linear = nn.Linear(dim, 3)
    with torch.no_grad():
        linear.weight.normal_(std=0.01, generator=torch_generator("linear", 0))
        linear.bias.zero_()
    module = nn.Sequential(norm, linear)
    batch = min(preset.batch, len(views))
    rate = preset.lr * (batch / preset.per if preset.per else 1)
    if preset.optimiser == "adam":
        optimiser = torch.optim.Adam(module.parameters(), rate, weight_decay=0.01)
    else:
        optimiser = torch.optim.SGD(module.parameters(), rate, momentum=0.9, weight_decay=0.01)
    shown = normalize(views, dim=1) if preset.norm.startswith("l2") else views
    order, step, steps = torch_generator("order", 0), 0, len(views) // batch + (len(views) % batch > 1)
    for _ in range(preset.epochs):
        for chosen in torch.randperm(len(views), generator=order).split(batch):
            optimiser.zero_grad()
            cross_entropy(module(shown[chosen]), targets[chosen]).backward()
            if preset.optimiser == "lars":
                rescale_by_lars(linear, 0.01)
                optimiser.param_groups[0]["weight_decay"] = 0.0
            optimiser.param_groups[0]["lr"] = rate * lr_factor(preset.schedule, step, steps, steps * preset.epochs)
            optimiser.step()
            step += 1
    module.eval()
    with torch.no_grad():
        torch.testing.assert_close(heads.logits(views)[0], module(shown), rtol=1e-3, atol=1e-4)


def rescale_by_lars(linear, decay):
    """You et al., 2017: the decayed gradient of the weights at a thousandth of their length."""
    with torch.no_grad():
        whole = linear.weight.grad + decay * linear.weight
        linear.weight.grad = whole * 0.001 * linear.weight.norm() / whole.norm()


def test_lars_does_not_divide_by_nothing():
    weight = torch.zeros(2, 3, 4)
    optimiser = StackedOptimiser("lars", [weight], torch.ones(2), torch.zeros(2))
    optimiser.step([torch.ones(2, 3, 4)], 1.0)
    assert torch.equal(weight, -torch.ones(2, 3, 4))


def test_probes_learn_one_hot_labels_and_repeat_themselves():
    labels = np.arange(33) % 3
    features = np.eye(3, dtype=np.float32)[labels][:, None].repeat(5, 1)
    task = Task(Part(features, labels, tuple("g" + str(i) for i in labels)), Part(features, labels, ()), EMPTY, 3, 0)
    for name, preset in LINEAR_PRESETS.items():
        quick = replace(preset, epochs=40, lrs=preset.lrs[-1:], weight_decays=(0.0,))
        one, other = (run_linear(task, preset=quick) for _ in range(2))
        assert (one.video[""].argmax(1) == labels).all(), name
        np.testing.assert_array_equal(one.clip[""], other.clip[""])
        turned = run_linear(task._replace(seed=1), preset=quick)
        assert (turned.clip[""] != one.clip[""]).any()


EMPTY = Part(np.zeros((0, 1, 3), np.float32), np.zeros(0, np.int64), ())


def task_with(train, test, validation=EMPTY, **taps):
    def part(found, name):
        groups = tuple(f"{name}{i // 3}" for i in range(len(found[1])))
        return Part(*found, groups, {f"{tap}.mean": values[name] for tap, values in taps.items()})

    held = validation if isinstance(validation, Part) else part(validation, "val")
    return Task(part(train, "train"), part(test, "test"), held, 3, 0)


def test_the_setting_is_chosen_on_held_out_groups_and_never_on_test():
    # A rate that does not move, one that learns, one that leaves the numbers.
    preset = LinearPreset("sgd", 0.1, lrs=(1e-9, 1.0, 1e39), epochs=20)
    good, wrong = clustered(noise=0.5), clustered(noise=0.5, seed=1)
    card = run_linear(task_with(good, wrong), preset=preset).card
    assert card["lr"] == 0.1 and not card["diverged"]
    ((_, grid),) = [item for item in card.items() if item[0].startswith("grid")]
    assert [row[1] for row in grid] == [1e-9, 1.0, 1e39]
    assert grid[1][3] < grid[0][3] == pytest.approx(np.log(3), abs=0.02) and np.isnan(grid[2][3])
    # Labels of the test turned round: the choice stays.
    turned = run_linear(task_with(good, (wrong[0], wrong[1][::-1].copy())), preset=preset).card
    assert str(turned) == str(card)
    # Validation labels that say the opposite of the training's: not to move is best.
    against = run_linear(task_with(good, wrong, (good[0], (good[1] + 1) % 3)), preset=preset).card
    assert against["lr"] == pytest.approx(1e-10) and against["held out"] == 45


def test_a_single_setting_holds_nothing_out_and_no_tenth_means_the_published_one():
    card = run_linear(task_with(clustered(), clustered(seed=1)), preset=LinearPreset(epochs=1)).card
    assert "held out" not in card
    few = np.eye(3, dtype=np.float32)[:, None], np.arange(3)
    card = run_linear(task_with(few, few), preset=LinearPreset(lr=0.5, lrs=(1.0, 2.0), epochs=1)).card
    assert (card["held out"], card["lr"]) == (0, 0.5)


def test_the_tap_that_tells_is_chosen():
    told, noise = clustered(noise=0.3), clustered(noise=0.3, seed=1)
    blank = np.random.default_rng(0).normal(size=(45, 4, 9)).astype(np.float32)
    task = task_with((blank, told[1]), (blank, noise[1]), p4={"train": told[0], "test": noise[0]})
    found = run_linear(task, preset=LinearPreset("adam", 0.01, epochs=20, taps=("pooled", "p4")))
    assert found.card["tap"] == "p4" and (found.video[""].argmax(1) == noise[1]).mean() > 0.9
    assert linear_protocol("x", LinearPreset(taps=("pooled", "p3", "p4"))).taps == ("p3.mean", "p4.mean")


def test_a_rate_that_is_too_high_is_counted_as_wrong_and_said():
    found = run_linear(task_with(clustered(), clustered(seed=1)), preset=LinearPreset(lr=1e38, epochs=3))
    assert found.card["diverged"] and np.isnan(found.video[""]).any()


def test_rates_are_as_written_or_in_proportion_to_the_views_of_a_step():
    """One step from the start: the change of the weights is in proportion to the rate."""
    start = torch.empty(3, 6).normal_(std=0.01, generator=torch_generator("linear", 0))
    one = Setting("pooled", 1.0, 0.0)
    written = fit(LinearPreset(lr=0.1, epochs=1, batch=180, schedule=CONSTANT), [one]).weight[0] - start
    scaled = fit(LinearPreset(lr=0.1, per=90, epochs=1, batch=180, schedule=CONSTANT), [one]).weight[0] - start
    torch.testing.assert_close(scaled, 2 * written, rtol=1e-4, atol=1e-6)


def test_published_settings():
    found = {
        name: (p.optimiser, p.lr, p.per, p.epochs, p.schedule.milestones, p.schedule.warmup, p.norm, p.batch)
        for name, p in LINEAR_PRESETS.items()
    }
    assert found == {
        "coclr_features": ("sgd", 1.0, None, 100, (60, 80), 0, "l2+batch", 64),
        "severe": ("adam", 0.01, None, 40, (10, 20, 30), 0, "none", 64),
        "cvrl": ("sgd", 32.0, 1024, 100, (), 5, "l2", 1024),
        "mae": ("lars", 0.1, 256, 90, (), 10, "batch", 64),
        "lv_mae": ("adam", 1e-4, None, 30, (), 0, "none", 16),
    }
    assert all(p.lrs[0] == 1.0 for p in LINEAR_PRESETS.values())
    decays = {name: p.weight_decays[0] for name, p in LINEAR_PRESETS.items()}
    assert decays == {"coclr_features": 1e-3, "severe": 0, "cvrl": 0, "mae": 0, "lv_mae": 0}
    assert LINEAR_PRESETS["severe"].schedule.gamma == 0.3


def test_overrides_reach_the_probe():
    found = protocol("linear:severe", {"linear": {"lrs": [0.1, 1.0], "taps": ["pooled", "p4"]}})
    assert found.card["probe"]["lrs"] == [0.1, 1.0] and found.taps == ("p4.mean",) and found.every_view
    assert protocol("linear:logreg").name == "linear"
