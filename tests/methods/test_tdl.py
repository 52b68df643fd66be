"""TDL: triplets, mixing, loss, key network and queue, and that it learns."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from kinema.data.index import Index
from kinema.data.sample import Clock
from kinema.losses import queue_logits
from kinema.methods.tdl import TDL, draw_starts, other_moment, positions
from kinema.modules.shuffle import shuffled
from kinema.randomness import numpy_generator
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper
from kinema.views.mixing import mix_frame
from tests.helpers import journal, read_batch, tiny_recipe

TINY = {"backbone": "r3d", "width": 4, "dim": 16, "queue": 12, "momentum": 0.9, "dropout": 0.0}
TINY |= {"frames": 8, "stride": 1, "window": 8, "size": 32, "short_side": 34, "resize": [36, 48]}
PLAIN = {"jitter": [0.0, 0.0, 0.0, 0.0], "rotation": 0.0, "mix": 0.0}
DEVICE = torch.device("cpu")


def recipe_of(**overrides):
    options = {f"options.{name}": value for name, value in {**TINY, **PLAIN}.items()}
    return tiny_recipe("tdl", **{**options, **overrides})


def tiny(**options):
    torch.manual_seed(0)
    return TDL(**{**TINY, "resize": (36, 48), **options})


def formula_batch(count=5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    names = ("anchor", "positive", "negative")
    batch = {name: torch.randn(count, 3, 8, 16, 16, generator=generator, dtype=dtype) for name in names}
    return {**batch, "distinct": torch.arange(count) != 1}


# Triplets


def test_the_negative_moves_on_by_a_third_where_it_meets_the_anchor():
    assert other_moment(10, 200, 300) == 200
    assert other_moment(10, 11, 300) == 111 and other_moment(11, 10, 300) == 110
    assert other_moment(10, 12, 300) == 12
    assert other_moment(299, 299, 300) == 99
    assert other_moment(60, 60, 90) == 1  # 90 mod 90 is 0, and 0 becomes 1


def test_starts_are_uniform_over_what_fits():
    rng = np.random.default_rng(0)
    drawn = [draw_starts(rng, 135, 128) for _ in range(500)]
    assert {starts.anchor for starts in drawn} == set(range(1, 9))
    assert all(starts.positive == starts.anchor and abs(starts.negative - starts.anchor) >= 2 for starts in drawn)
    assert draw_starts(rng, 100, 128) == (1, 1, 34)
    assert draw_starts(rng, 2, 128) == (1, 1, 1)


def test_clips_jump_back_to_the_first_frame():
    assert positions(1, 100, 16, 4).tolist() == list(range(0, 64, 4))
    # L = 20, stride 4: from 1, frames up to 17 = L - stride + 1.
    assert positions(9, 20, 6, 4).tolist() == [8, 12, 16, 0, 4, 8]
    assert positions(10, 20, 4, 4).tolist() == [9, 13, 0, 4]
    assert positions(20, 20, 3, 4).tolist() == [19, 0, 4]
    assert positions(1, 1, 3, 4).tolist() == [0, 0, 0]


def test_samples_hold_the_anchor_s_frames_twice_and_another_moment(tiny_videos):
    method = tiny()
    index = method.index(tiny_videos)
    moments = set()
    for key in range(20):
        plan = method.plan(0, index, Clock(0, 3, 0.0), numpy_generator(key))
        anchor, positive, negative = (plan.reads[name].indices for name in ("anchor", "positive", "negative"))
        assert np.array_equal(anchor, positive) and not np.array_equal(anchor, negative) and plan.draws["distinct"]
        assert np.diff(anchor).tolist() == [1] * 7
        assert plan.draws["anchor_angle"] != plan.draws["positive_angle"]
        moments.add(int(plan.draws["frame"]))
        assert plan.draws["amount"] == np.float32(numpy_generator("mix", 3).uniform(0, 0.1))
    assert len(moments) > 4 and moments <= set(range(8))
    assert len(tiny(clips="windows").index(tiny_videos)) == 2 * len(tiny_videos)


def test_a_video_without_another_moment_is_marked(tiny_videos):
    method = tiny()
    short = Index(tiny_videos, np.array([0]), np.array([0.0]), np.array([0.2]))
    assert len(short.frames(0)) == 2
    plan = method.plan(0, short, Clock(0, 0, 0.0), numpy_generator(1))
    assert not plan.draws["distinct"]


# Mixing


def test_mixing_leaves_alone_what_the_published_formula_leaves_alone(tiny_videos):
    clips, frame = torch.rand(3, 3, 8, 4, 4), torch.tensor([0, 3, 7])
    assert torch.equal(mix_frame(clips, frame, torch.zeros(3)), clips)
    static = clips[:, :, :1].expand_as(clips)
    torch.testing.assert_close(mix_frame(static, frame, torch.tensor([0.1, 0.5, 1.0])), static)
    mixed = mix_frame(clips, frame, torch.full((3,), 0.3))
    for b, j in enumerate(frame.tolist()):
        torch.testing.assert_close(mixed[b, :, j], clips[b, :, j])
        torch.testing.assert_close(mixed[b, :, 5], 0.7 * clips[b, :, 5] + 0.3 * clips[b, :, j])


def test_only_the_anchor_is_mixed(tiny_videos):
    index = tiny().index(tiny_videos)
    plain, mixed = (read_batch(method, index) for method in (tiny(mix=0.0), tiny(mix=1.0)))
    for name in ("positive", "negative"):
        assert torch.equal(plain[name], mixed[name])
    assert not torch.allclose(plain["anchor"], mixed["anchor"])
    shown = [batch["anchor"].diff(dim=2).abs().mean() for batch in (plain, mixed)]
    assert shown[1] < shown[0]


# Loss


def test_loss_is_over_positive_queue_and_own_negative():
    method, batch = tiny(mask_equal=False).eval(), formula_batch()
    query, negative = (method.network(batch[name])[:, 0] for name in ("anchor", "negative"))
    key = method.keys(batch["positive"])[:, 0]
    for embedding in (query, negative, key):
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5))
    logits = torch.cat(
        [(query * key).sum(1)[:, None], query @ method.queue.rows.t(), (query * negative).sum(1)[:, None]], 1
    )
    assert logits.shape == (5, 12 + 2)
    found = method.losses(batch, method.phases[0])
    torch.testing.assert_close(found["loss"], cross_entropy(logits / 0.07, torch.zeros(5, dtype=torch.int64)))
    torch.testing.assert_close(found["parts"]["positive"], logits[:, 0].mean() / 0.07)
    torch.testing.assert_close(found["parts"]["negative"], logits[:, -1].mean() / 0.07)
    torch.testing.assert_close(found["parts"]["order"], (logits[:, 0] > logits[:, -1]).float().mean())


def test_without_own_negatives_it_is_momentum_contrast():
    batch = formula_batch()
    found = tiny(own_negative=False).eval().losses(batch, TDL.phases[0])
    method = tiny().eval()
    query, key = method.network(batch["anchor"])[:, 0], method.keys(batch["positive"])[:, 0]
    reference = torch.cat([(query * key).sum(1)[:, None], query @ method.queue.rows.t()], 1) / 0.07
    torch.testing.assert_close(found["loss"], cross_entropy(reference, torch.zeros(5, dtype=torch.int64)))
    nobody = {**batch, "distinct": torch.zeros(5, dtype=torch.bool)}
    torch.testing.assert_close(method.losses(nobody, TDL.phases[0])["loss"], found["loss"])
    assert tiny(mask_equal=False).eval().losses(nobody, TDL.phases[0])["loss"] > found["loss"]


def test_equal_keys_give_the_logarithm_of_the_choices_and_far_ones_nothing():
    method, one = tiny(), torch.eye(16)[:1]
    for queue, negative, expected in ((one, one, math.log(12 + 2)), (-one, -one, 13 * math.exp(-2 / 0.07))):
        logits = queue_logits(one, one, queue.expand(12, 16), negatives=negative[None], temperature=method.temperature)
        assert cross_entropy(logits.double(), torch.tensor([0])).item() == pytest.approx(expected, rel=1e-4)


def test_gradients_reach_the_negative_s_branch_but_not_key_and_queue():
    method, batch = tiny(mask_equal=False).train(), formula_batch()
    for name in ("anchor", "positive", "negative"):
        batch[name].requires_grad_()
    method.losses(batch, method.phases[0])["loss"].backward()
    assert batch["anchor"].grad.abs().sum() > 0 and batch["negative"].grad.abs().sum() > 0
    assert batch["positive"].grad is None and method.queue.rows.grad is None
    assert all(parameter.grad is None for parameter in method.keys.parameters())


def test_a_static_video_cannot_be_solved(tiny_videos):
    method = tiny(**{**PLAIN, "jitter": (0.0,) * 4}, short_side=32, resize=(32, 32), mask_equal=False).eval()
    still = torch.rand(1, 3, 1, 16, 16).expand(2, 3, 8, 16, 16)
    batch = dict.fromkeys(("anchor", "positive", "negative"), still)
    method.queue.rows.copy_(-method.network(still)[:1, 0].detach().expand(12, 16))
    found = method.losses({**batch, "distinct": torch.ones(2, dtype=torch.bool)}, method.phases[0])
    assert found["parts"]["positive"].item() == pytest.approx(1 / 0.07, rel=1e-4)
    assert found["parts"]["negative"].item() == pytest.approx(1 / 0.07, rel=1e-4)
    assert found["loss"].item() == pytest.approx(math.log(2), abs=1e-4)


# Key network and queue


def test_the_key_network_moves_after_the_step_and_parameters_only():
    recipe = recipe_of()
    method = recipe.build().train()
    old = [p.clone() for p in method.keys.parameters()]
    buffers = {name: value.clone() for name, value in method.network.named_buffers()}
    assert all(torch.equal(k, q) for k, q in zip(old, method.network.parameters(), strict=True))
    Stepper(method, recipe, DEVICE).step([formula_batch()], 0, 0.1)
    moved = 0
    for before, query, key in zip(old, method.network.parameters(), method.keys.parameters(), strict=True):
        torch.testing.assert_close(key, 0.9 * before + 0.1 * query)
        assert not key.requires_grad
        moved += not torch.equal(key, query)
    assert moved
    tracked = [dict(part.named_buffers()) for part in (method.network, method.keys.module)]
    name = next(name for name in buffers if name.endswith("num_batches_tracked"))
    assert (tracked[0][name], tracked[1][name]) == (2, 1)  # anchor and negative; positive


def test_after_n_steps_the_key_network_has_moved_that_far():
    method = tiny(momentum=0.999)
    with torch.no_grad():
        for part, value in ((method.network, 1.0), (method.keys, 0.0)):
            for parameter in part.parameters():
                parameter.fill_(value)
    for step in range(7):
        method.after_step(step)
    for parameter in method.keys.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, 1 - 0.999**7))


def test_keys_are_stored_after_their_step_in_order():
    recipe = recipe_of()
    method, places = recipe.build().train(), []
    stepper, encode, keys = Stepper(method, recipe, DEVICE), method.encode_keys, []
    method.encode_keys = lambda clips: keys.append(encode(clips)) or keys[-1]
    for step in range(4):
        before, place = method.queue.rows.clone(), int(method.queue.position)
        stepper.step([formula_batch(seed=step)], step, 0.01)
        written = [(place + k) % 12 for k in range(5)]
        torch.testing.assert_close(method.queue.rows[written], keys[-1][:, 0])
        kept = [k for k in range(12) if k not in written]
        assert torch.equal(method.queue.rows[kept], before[kept])
        places.append(int(method.queue.position))
    assert places == [5, 10, 3, 8]


def test_the_queue_starts_uniform():
    rows = tiny(queue=4000).queue.rows
    bound = 1 / math.sqrt(16 / 3)
    assert rows.abs().max() <= bound and rows.abs().max() > 0.99 * bound
    assert rows.norm(dim=1).mean().item() == pytest.approx(1, abs=0.02) and rows.norm(dim=1).std() > 0.05


def test_the_key_network_is_in_eval_mode_but_for_batchnorm():
    method = tiny(dropout=0.5).train()
    modes = {type(part).__name__: part.training for part in method.keys.modules()}
    assert modes["Dropout"] is False and modes["BatchNorm3d"] is True and modes["Conv3d"] is False
    assert all(part.training for part in method.network.modules())
    assert not any(part.training for part in method.eval().modules())


def test_shuffling_is_undone():
    index = torch.arange(7.0)[:, None]
    assert torch.equal(shuffled(lambda x: x, index, step=3, groups=2), index)


def test_first_weights_are_xavier_s():
    method = tiny(width=16)
    layer = max((m for m in method.network.modules() if isinstance(m, torch.nn.Conv3d)), key=lambda m: m.weight.numel())
    fan = layer.weight[0].numel() + layer.weight[:, 0].numel()
    bound = math.sqrt(2) * math.sqrt(6 / fan)
    assert layer.weight.abs().max() <= bound and layer.weight.abs().max() > 0.99 * bound
    scales = torch.cat([m.weight for m in method.network.modules() if isinstance(m, torch.nn.BatchNorm3d)])
    assert scales.std().item() == pytest.approx(0.02, rel=0.2) and scales.mean().item() == pytest.approx(1, abs=0.01)
    own = tiny(width=16, init="backbone")
    assert all((m.weight == 1).all() for m in own.network.modules() if isinstance(m, torch.nn.BatchNorm3d))
    # The key network begins as the query network.
    assert all(torch.equal(k, q) for k, q in zip(method.keys.parameters(), method.network.parameters(), strict=True))


def test_the_recipe_is_the_published_one():
    recipe = load_recipe("tdl", "paper")
    assert (recipe.optimiser.lr, recipe.batch, recipe.epochs) == (0.003, 8, 240)
    assert recipe.schedule.milestones == (120, 160, 200) and recipe.options["jitter"] == (0.5, 0.5, 0.25, 0.5)


# Learning


def moving_dots(seed=0):
    """Eight videos of a dot on a background of their own; the place of the dot tells the time."""
    generator = torch.Generator().manual_seed(seed)
    videos = torch.randn(8, 3, 1, 16, 16, generator=generator).expand(8, 3, 32, 16, 16).clone()
    for t in range(32):
        videos[:, :, t, 4 + 8 * (t // 16), t // 2 : t // 2 + 3] = 2.0
    return videos


def test_it_tells_moments_of_moving_dots_apart():
    recipe = recipe_of(**{"options.queue": 16, "optimiser.name": "adamw"})
    method = recipe.build().train()
    stepper, videos, rng = Stepper(method, recipe, DEVICE), moving_dots(), np.random.default_rng(0)

    def batch():
        early, late = int(rng.integers(0, 5)), int(rng.integers(16, 21))
        # Colours of anchor and positive differ, as after jitter.
        clips = [
            videos[:, :, start : start + 8] * torch.tensor(rng.uniform(0.6, 1.4, (8, 3, 1, 1, 1)), dtype=torch.float32)
            for start in (early, early, late)
        ]
        return {"anchor": clips[0], "positive": clips[1], "negative": clips[2], "distinct": torch.ones(8) > 0}

    first = stepper.step([batch()], 0, 0.01).parts
    assert first["order"] < 1
    parts = (stepper.step([batch()], step, 0.01).parts for step in range(1, 100))
    assert any(part["order"] == 1 and part["positive"] > part["negative"] + 2 for part in parts)


def test_it_learns_on_tiny_clips(tiny_videos, tmp_path):
    overrides = {"epochs": 30, "optimiser.name": "adamw", "optimiser.lr": 0.01, "options.mix": 0.1}
    run = pretrain(recipe_of(**overrides), tiny_videos, tmp_path / "run", quiet=True)
    records = journal(tmp_path / "run", "step")
    gaps = [
        np.mean([r["parts"]["positive"] - r["parts"]["negative"] for r in part]) for part in (records[:5], records[-5:])
    ]
    assert gaps[1] > gaps[0] + 0.5
    assert run.method.products().encoders["video"].input.frames == 8


def test_its_picture_shows_the_three_clips(tiny_videos):
    method = tiny()
    picture, *others = method.pictures(read_batch(method, method.index(tiny_videos), prepare=False))
    assert not others and picture.frames.shape == (8, 32, 96, 3) and picture.frames.dtype == np.uint8


def test_embeddings_of_a_prepared_batch_are_finite(tiny_videos):
    method = tiny()
    batch = read_batch(method, method.index(tiny_videos))
    assert batch["anchor"].shape == (4, 3, 8, 32, 32) and torch.isfinite(batch["anchor"]).all()
    torch.testing.assert_close(normalize(method.network(batch["anchor"]), dim=2), method.network(batch["anchor"]))
