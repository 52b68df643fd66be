"""CVRL: intervals, strong views, the loss in closed form, one forward pass for both views, and that it learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from kinema.data.sample import Clock
from kinema.data.sampling import clip_positions, clip_span, interval_at, pair_starts
from kinema.errors import RecipeError
from kinema.evaluation.linear_sgd import LINEAR_PRESETS
from kinema.losses import in_batch_info_nce
from kinema.methods.cvrl import CVRL, kernels, photometrics
from kinema.randomness import numpy_generator
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from kinema.training.schedules import lr_factor
from kinema.training.stepper import Stepper
from kinema.views.filters import gaussian_blur, gaussian_kernel, solarise
from tests.helpers import journal, read_batch, tiny_recipe

TINY = {"backbone": "r3d", "width": 4, "hidden": 2, "hidden_width": 32, "dim": 16, "head_momentum": 0.1}
TINY |= {"frames": 8, "size": 32, "resize": [32, 40]}
SHORT = clip_span(16, 2)


def tiny(**options):
    torch.manual_seed(0)
    return CVRL(**{**TINY, "resize": (32, 40), **options})


def recipe_of(**overrides):
    return tiny_recipe("cvrl", **{**{f"options.{name}": value for name, value in TINY.items()}, **overrides})


def formula_batch(count=6, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(count, 3, 8, 16, 16, generator=generator, dtype=dtype) for name in ("first", "second")}


def embeddings(count=5, dim=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(2, count, dim, generator=generator, dtype=torch.float64))


# Intervals


def test_intervals_are_those_of_the_table():
    shares = (0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.999)
    assert [interval_at(u, 220) for u in shares] == [0, 5, 11, 29, 64, 110, 150, 181, 213]
    assert [interval_at(u, 220) for u in shares] == [math.floor(220 * (1 - math.sqrt(1 - u))) for u in shares]
    assert [interval_at(u, 220, law="uniform") for u in (0, 0.5, 0.999)] == [0, 110, 219]
    assert interval_at(np.nextafter(1, 0), 1) == interval_at(np.nextafter(1, 0), 1, law="uniform") == 0


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_intervals_of_a_power_have_its_density(power):
    """Slowly: the density 1 - (k / M)^p summed up."""
    room = 50
    fine = (np.arange(room * 200) + 0.5) / 200
    reached = np.cumsum(1 - (fine / room) ** power)
    for share in (0.1, 0.37, 0.62, 0.9):
        slow = fine[np.searchsorted(reached / reached[-1], share)]
        assert interval_at(share, room, power=power) == math.floor(slow)


def test_short_intervals_are_likelier():
    rng, found = np.random.default_rng(0), []
    for _ in range(4000):
        first, second = pair_starts(rng, 250, SHORT)
        found.append(second - first)
        assert min(first, second) >= 0 and max(first, second) + SHORT - 1 <= 249
    distances = np.abs(found)
    assert distances.mean() == pytest.approx(220 / 3 - 0.5, abs=2.5)
    assert (distances <= 110).mean() == pytest.approx(0.75, abs=0.025)
    assert (np.array(found) > 0).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("law", "mean"), [("uniform", 109.5), ("zero", 0)])
def test_other_laws_of_intervals(law, mean):
    rng = np.random.default_rng(0)
    starts = np.array([pair_starts(rng, 250, SHORT, law=law) for _ in range(2000)])
    assert np.abs(starts[:, 0] - starts[:, 1]).mean() == pytest.approx(mean, abs=5)
    assert starts.min() < 5 and starts.max() > 200


def test_the_earlier_start_is_uniform_over_what_is_left():
    rng = np.random.default_rng(0)
    starts = [pair_starts(rng, 10, 7, law="zero")[0] for _ in range(800)]
    assert np.bincount(starts).tolist() == pytest.approx([200] * 4, abs=50)


def test_clips_of_short_videos_begin_anywhere_and_wrap(tiny_videos):
    assert (clip_positions(7, 16, 2) % 20).tolist() == [7, 9, 11, 13, 15, 17, 19, 1, 3, 5, 7, 9, 11, 13, 15, 17]
    rng = np.random.default_rng(0)
    starts = np.array([pair_starts(rng, 20, SHORT) for _ in range(500)])
    assert set(starts[:, 0]) == set(starts[:, 1]) == set(range(20)) and (starts[:, 0] != starts[:, 1]).mean() > 0.8
    assert all(first == second for first, second in (pair_starts(rng, 20, SHORT, law="zero") for _ in range(20)))
    # The longest that wraps has (n - 1) s frames: one more is a clip that fits.
    assert {pair_starts(rng, SHORT, SHORT) for _ in range(20)} == {(0, 0)}
    method = tiny(frames=32)
    reads = method.plan(0, method.index(tiny_videos), Clock(0, 0, 0.0), numpy_generator(1)).reads
    steps = {int(step) for read in reads.values() for step in np.diff(read.indices)}
    assert steps == {2, 2 - 40}


def test_a_sample_is_two_clips_looked_at_apart(tiny_videos):
    method = tiny()
    index = method.index(tiny_videos)
    assert len(index) == len(tiny_videos)
    plan = method.plan(0, index, Clock(0, 0, 0.0), numpy_generator(3))
    first, second = (plan.reads[name].indices for name in ("first", "second"))
    assert set(np.diff(first)) == set(np.diff(second)) == {2} and first[0] != second[0]
    assert not np.array_equal(plan.draws["view0_box"], plan.draws["view1_box"])
    still = tiny(interval="zero").plan(0, index, Clock(0, 0, 0.0), numpy_generator(3))
    assert np.array_equal(still.reads["first"].indices, still.reads["second"].indices)
    # 40 frames are two stretches of 20.
    assert len(tiny(window=20).index(tiny_videos)) == 2 * len(tiny_videos)


# Views


@pytest.mark.parametrize("exact", [False, True])
def test_a_static_video_stays_static_and_its_views_differ(tiny_videos, exact):
    method = tiny(exact_colours=exact, interval="zero")
    raw = read_batch(method, method.index(tiny_videos), prepare=False)
    for name in ("first", "second"):
        raw[name] = raw[name][:, :, :1].expand_as(raw[name]).contiguous()
    batch = method.prepare(raw, torch.Generator())
    for view in batch.values():
        assert view.shape == (4, 3, 8, 32, 32) and view.min() >= 0 and view.max() <= 1
        torch.testing.assert_close(view, view[:, :, :1].expand_as(view), rtol=0, atol=1e-5)
    assert ((batch["first"] - batch["second"]).abs().mean((1, 2, 3, 4)) > 0.02).all()


def test_signed_pixels_are_the_others_stretched(tiny_videos):
    unit, signed = tiny(), tiny(pixels="signed")
    raw = read_batch(unit, unit.index(tiny_videos), prepare=False)
    batches = [method.prepare(dict(raw), torch.Generator()) for method in (unit, signed)]
    torch.testing.assert_close(2 * batches[0]["second"] - 1, batches[1]["second"])


def test_the_asymmetric_views_are_those_of_the_code():
    first, second = photometrics("asymmetric", 224, exact=True)
    assert (first.blur.p, second.blur.p, first.solarise, second.solarise) == (1.0, 0.1, 0.0, 0.2)
    assert first.blur.taps == 23 and first.blur.padding == "zero" and first.blur.sigma == (0.1, 2.0)
    assert first.colour == second.colour and first.colour.hsv_saturation and first.colour.exact
    jitter = first.colour
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue, jitter.p) == (0.8, 0.8, 0.8, 0.2, 0.8)
    assert jitter.shuffled and not jitter.additive and (first.grey, second.grey, second.threshold) == (0.2, 0.2, 0.5)
    same, other = photometrics("symmetric", 64)
    assert same == other and (same.blur.p, same.blur.taps, same.solarise) == (0.5, 7, 0.0)
    assert photometrics("plain", 64)[0].colour is None
    weak = photometrics("asymmetric", 64, jitter=0.5)[1]
    assert (weak.colour.contrast, weak.colour.hue, weak.colour.p) == (0.4, 0.1, 0.8) and weak.solarise == 0.2
    assert tiny(jitter=0.25).views.views[0].photometric.colour.brightness == 0.2
    crop = tiny().views.views[0].crop
    assert (crop.scale, crop.ratio, crop.rule, crop.tries) == ((0.3, 1.0), (0.5, 2.0), "tensorflow", 100)


def look(view, clip, **numbers):
    """One clip through one view, with nothing drawn but `numbers`."""
    drawn = {"factors": torch.tensor([[1.0, 1.0, 1.0, 0.0]]), "factor_order": torch.arange(4)[None]}
    drawn |= {"grey": torch.tensor([False]), "sigma": torch.zeros(1), "solarised": torch.tensor([False])}
    return view.apply(clip, {**drawn, **numbers})


@pytest.mark.parametrize("exact", [False, True])
def test_contrast_turns_about_the_mean_of_each_channel_over_the_whole_clip(exact):
    clip = 0.4 + 0.2 * torch.rand(1, 3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    clip = clip * torch.tensor([1.0, 0.8, 0.6]).view(1, 3, 1, 1, 1)
    factors = torch.tensor([[1.0, 1.4, 1.0, 0.0]])
    found = look(photometrics("asymmetric", 64, exact=exact)[0], clip, factors=factors)
    torch.testing.assert_close(found, 1.4 * clip - 0.4 * clip.mean((2, 3, 4), keepdim=True))


def test_solarisation_turns_what_is_bright_once():
    clip = torch.tensor([0.0, 0.3, 0.5, 0.8, 1.0]).view(1, 1, 1, 1, 5).expand(1, 3, 1, 1, 5)
    drawn = torch.tensor([True])
    once = solarise(clip, drawn)
    torch.testing.assert_close(once[0, 0, 0, 0], torch.tensor([0.0, 0.3, 0.5, 0.2, 0.0]))
    assert once.max() <= 0.5
    torch.testing.assert_close(solarise(once, drawn), once)


def test_blur_takes_what_lies_outside_for_black():
    blur = photometrics("asymmetric", 224)[0].blur
    assert float(gaussian_kernel(torch.tensor([1.3]), blur.taps).sum()) == pytest.approx(1)
    clip = torch.ones(1, 3, 1, 64, 64)
    found = gaussian_blur(clip, torch.tensor([2.0]), taps=blur.taps, padding=blur.padding)
    torch.testing.assert_close(found[..., 12:-12, 12:-12], clip[..., 12:-12, 12:-12])
    assert found[..., 0, 32].max() < 0.7 and found[..., 0, 0].max() < 0.5


# Loss


def test_loss_is_a_slow_softmax():
    first, second = embeddings()
    everything = torch.cat([first, second])
    losses, entropies, hits = [], [], []
    for i in range(10):
        others = [j for j in range(10) if j != i]
        scores = {j: math.exp(float(cosine_similarity(everything[i], everything[j], dim=0)) / 0.1) for j in others}
        losses.append(-math.log(scores[(i + 5) % 10] / sum(scores.values())))
        if i < 5:
            across = np.array([scores[j] for j in range(5, 10)])
            share = across / across.sum()
            entropies.append(-(share * np.log(share)).sum())
            hits.append(int(across.argmax()) == i)
    found = in_batch_info_nce(first, second)
    assert float(found.loss) == pytest.approx(2 * np.mean(losses))
    assert float(found.entropy) == pytest.approx(np.mean(entropies))
    assert float(found.accuracy) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_closed_forms(count):
    same = in_batch_info_nce(torch.ones(count, 8), torch.ones(count, 8))
    assert float(same.loss) == pytest.approx(2 * math.log(2 * count - 1), abs=1e-6)
    assert float(same.entropy) == pytest.approx(math.log(count), abs=1e-6) and float(same.accuracy) == (count == 1)
    apart = in_batch_info_nce(torch.eye(8)[:count], torch.eye(8)[:count], temperature=0.5)
    assert float(apart.loss) == pytest.approx(2 * math.log(1 + (2 * count - 2) * math.exp(-2)), abs=1e-6)
    assert float(apart.accuracy) == 1


def test_lengths_order_and_roles_do_not_matter():
    first, second = embeddings()
    loss = in_batch_info_nce(first, second).loss
    # A very long embedding would give itself away if it were compared with itself.
    factors = torch.tensor([1e3, 0.2, 1.0, 7.0, 1e-3], dtype=torch.float64)[:, None]
    order = torch.tensor([3, 0, 4, 1, 2])
    for pair in ((first * factors, second / factors), (second, first), (first[order], second[order])):
        torch.testing.assert_close(in_batch_info_nce(*pair).loss, loss)


def test_gradients_are_at_right_angles_to_their_embeddings():
    views = [view.requires_grad_() for view in embeddings()]
    in_batch_info_nce(*views).loss.backward()
    for view in views:
        assert view.grad.norm(dim=1).min() > 1e-3
        torch.testing.assert_close((view * view.grad).sum(1), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_batch_alone_has_no_loss_and_finite_gradients():
    first, second = (view.requires_grad_() for view in embeddings(1))
    in_batch_info_nce(first, second).loss.backward()
    assert first.grad.abs().max() < 1e-12 and torch.isfinite(second.grad).all()


def test_shares_of_a_joined_batch_add_up():
    first, second = embeddings()
    whole = in_batch_info_nce(first, second)
    parts = [
        in_batch_info_nce(first[s], second[s], joined=(first, second), place=s.start)
        for s in (slice(0, 2), slice(2, 5))
    ]
    for name in ("loss", "accuracy", "entropy"):
        mean = (2 * getattr(parts[0], name) + 3 * getattr(parts[1], name)) / 5
        torch.testing.assert_close(mean, getattr(whole, name))


def test_half_precision_is_widened():
    first, second = (view.bfloat16() for view in embeddings())
    with torch.autocast("cpu", torch.bfloat16):
        found = in_batch_info_nce(first, second).loss
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, in_batch_info_nce(first.float(), second.float()).loss)


# Network


def test_both_views_pass_at_once():
    method, batch = tiny().train(), formula_batch()
    norm = next(part for part in method.modules() if isinstance(part, nn.BatchNorm3d))
    seen = []
    norm.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0].detach().clone()))
    method.losses(batch, method.phases[0])
    assert len(seen) == 1 and len(seen[0]) == 12 and norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, 0.1 * seen[0].mean((0, 2, 3, 4)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * seen[0].var((0, 2, 3, 4), correction=0), rtol=1e-3, atol=0)


def test_the_loss_compares_the_embeddings_of_both_views():
    method, batch = tiny().eval(), formula_batch()
    first, second = (method.network(batch[name])[:, 0] for name in ("first", "second"))
    found = method.losses(batch, method.phases[0])
    torch.testing.assert_close(found["loss"], in_batch_info_nce(first, second, temperature=0.1).loss)
    assert found["parts"].keys() == {"contrast", "accuracy", "entropy"}
    assert (first.norm(dim=1) - 1).abs().max() > 1e-3


def test_decay_counts_kernels_alone():
    method, batch = tiny(kernel_decay=0.01), formula_batch()
    with torch.no_grad():
        for part in method.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm3d):
                part.weight.fill_(3.0)
    named = {id(kernel) for kernel in kernels(method.network)}
    for name, parameter in method.named_parameters():
        assert (id(parameter) in named) == (parameter.ndim > 1), name
    squares = sum(float(p.detach().double().square().sum()) for p in method.parameters() if p.ndim > 1)
    found = method.losses(batch, method.phases[0])
    assert (found["loss"] - found["parts"]["contrast"]).item() == pytest.approx(0.005 * squares, rel=1e-5)
    before = [kernel.clone() for kernel in kernels(method.network)]
    for kernel, gradient in zip(before, torch.autograd.grad(method.decay(), kernels(method.network)), strict=True):
        torch.testing.assert_close(gradient, 0.01 * kernel)


def test_the_published_network():
    recipe = load_recipe("cvrl", "paper")
    with torch.device("meta"):
        method = recipe.build()
    encoder, head = method.network.encoder, method.network.heads[0]
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 31_672_128
    assert [layer.out_features for layer in head.layers if isinstance(layer, nn.Linear)] == [2048, 2048, 2048, 128]
    norms = [part.momentum for part in method.modules() if isinstance(part, nn.BatchNorm1d)]
    assert norms == [0.003] * 3 and {part.eps for part in method.modules() if hasattr(part, "eps")} == {1e-5}
    assert method.input.mean == (0, 0, 0) and method.input.std == (1, 1, 1)


def test_the_published_schedule():
    recipe, preset = load_recipe("cvrl", "paper"), LINEAR_PRESETS["cvrl"]
    factor = lambda step: lr_factor(recipe.schedule, step, 357.4, recipe.steps)  # noqa: E731
    assert factor(0) == pytest.approx(1 / 1787) and factor(1786) == factor(1787) == 1
    assert factor(recipe.steps) == pytest.approx(0) and 0 < factor(recipe.steps - 1) < 1e-6
    assert recipe.optimiser.lr == pytest.approx(0.08 * recipe.batch / 256)
    assert preset.lr / preset.per == pytest.approx(100 * recipe.optimiser.lr / recipe.batch)
    assert preset.norm == "l2" and recipe.optimiser.weight_decay == 0 and not recipe.optimiser.nesterov


def test_what_cannot_be_is_refused():
    for options in ({"temperature": 0.0}, {"interval_power": -1.0}):
        with pytest.raises(RecipeError, match="must be above 0"):
            tiny(**options)
    for jitter in (-0.1, 1.1):
        with pytest.raises(RecipeError, match="jitter="):
            tiny(jitter=jitter)
    with pytest.raises(RecipeError, match="'r3d' has no option 'padding'"):
        tiny(padding="same")
    assert tiny(backbone="r3d_50", padding="same")


# Learning


def test_it_learns_on_tiny_clips(tiny_videos, tmp_path):
    """Six videos of textures come to be told from each other; chance is one in six, and four seeds ended above 0.52."""
    overrides = {"epochs": 40, "optimiser.name": "adamw", "optimiser.lr": 0.003, "options.stride": 1}
    overrides |= {"options.views": "plain", "options.scale": [0.7, 1.0], "options.width": 8}
    run = pretrain(recipe_of(**overrides), tiny_videos, tmp_path / "run", quiet=True)
    records = journal(tmp_path / "run", "step")
    first, last = (np.mean([record["parts"]["accuracy"] for record in part]) for part in (records[:5], records[-15:]))
    assert first < 0.35 and last > 0.42
    encoder = run.method.products().encoders["video"]
    assert encoder.input.frames == 8 and not any(name.startswith("heads") for name in encoder.state_dict())


def test_decay_inside_the_loss_is_the_optimisers_on_kernels():
    """One step of plain SGD either way, but for the gradient of the contrast, which is the same."""
    moved = []
    for options in ({"options.kernel_decay": 0.1}, {}):
        recipe = recipe_of(**options)
        method = recipe.build().double().train()
        Stepper(method, recipe, torch.device("cpu")).step([formula_batch(dtype=torch.float64)], 0, 0.5)
        moved.append(method)
    start = recipe_of().build().double()
    for with_decay, without, before in zip(
        *(dict(m.named_parameters()).values() for m in (*moved, start)), strict=True
    ):
        expected = without - 0.5 * 0.1 * before if before.ndim > 1 else without
        torch.testing.assert_close(with_decay, expected, rtol=1e-7, atol=1e-9)


def test_its_picture_shows_both_views(tiny_videos):
    method = tiny()
    picture, *others = method.pictures(read_batch(method, method.index(tiny_videos), prepare=False))
    assert not others and picture.frames.shape == (8, 32, 68, 3) and picture.frames.dtype == np.uint8
