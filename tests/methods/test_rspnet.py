"""RSPNet: speed views, the two tasks in both forms, key network and queue, and that it learns."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from kinema.data.sample import Clock
from kinema.data.sampling import spread_positions
from kinema.errors import RecipeError
from kinema.methods.rspnet import RawClips, RSPNet, halved, photometric, speed_views
from kinema.metrics import cosine_match_ranks, hit_at_k
from kinema.randomness import numpy_generator
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper
from kinema.views.colour import normalise
from tests.helpers import journal, read_batch, tiny_recipe

TINY = {"backbone": "r3d", "width": 4, "dim": 16, "queue": 24, "momentum": 0.9}
TINY |= {"frames": 8, "size": 32, "resize": [32, 40]}
DEVICE = torch.device("cpu")


def recipe_of(**overrides):
    options = {f"options.{name}": value for name, value in {**TINY, "colours": "none"}.items()}
    return tiny_recipe("rspnet", **{**options, **overrides})


def tiny(**options):
    torch.manual_seed(0)
    return RSPNet(**{**TINY, "resize": (32, 40), **options})


def formula_batch(count=6, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    names = ("query", "positive", "negative")
    batch = {name: torch.randn(count, 3, 8, 16, 16, generator=generator, dtype=dtype) for name in names}
    return {**batch, "either": torch.rand(count, generator=generator) < 0.5}


def embed(method, embeddings, batch):
    """Losses for given embeddings [B, 2, D] of query, positive and negative."""
    query, positive, negative = embeddings
    found = iter([negative, positive])
    method.encode_keys = lambda clips, turn: next(found)
    method.network.forward = lambda clips: query
    return method.losses(batch, method.phases[0])


# Views


def test_query_and_positive_share_a_speed_and_the_negative_has_the_other():
    numbers = torch.arange(32.0).view(1, 1, 32, 1, 1).repeat(7, 1, 1, 1, 1)
    slow = halved(7, torch.Generator().manual_seed(0))
    assert int(slow.sum()) == 3
    views = speed_views(numbers, numbers + 100, torch.arange(0, 32, 2), slow)
    for b in range(7):
        query, positive, negative = (view[b].flatten() for view in views)
        steps = [clip.diff().unique().tolist() for clip in (query, positive, negative)]
        assert steps == ([[1], [1], [2]] if slow[b] else [[2], [2], [1]])
        assert positive[0] == negative[0] == 100 and query[0] == 0 and len(query) == 16


def test_halves_are_drawn_anew_from_the_generator():
    draws = [tuple(halved(6, torch.Generator().manual_seed(seed)).tolist()) for seed in range(20)]
    assert {sum(draw) for draw in draws} == {3} and len(set(draws)) > 5
    assert draws[3] == tuple(halved(6, torch.Generator().manual_seed(3)).tolist())


@pytest.mark.parametrize("speeds", [(2,), (4,), (4, 2, 1)])
def test_the_ratio_of_a_step_is_one_for_all_and_sets_the_length(speeds):
    raw = RawClips(16, speeds, (1,), (1.0,))
    assert raw.size == 16 * speeds[0]
    seen = set()
    for step in range(30):
        fast = raw.fast(step)
        ratio = raw.size // len(fast)
        seen.add(ratio)
        assert fast.tolist() == list(range(0, raw.size, ratio)) == raw.fast(step).tolist()
    assert seen == set(speeds)


def test_raw_clips_of_long_short_and_very_short_videos():
    rng = np.random.default_rng(0)
    raw = RawClips(8, (2,), (3,), (1.0,))  # 16 frames, 46 needed
    starts = set()
    for _ in range(200):
        found = raw.draw(rng, 50)
        assert np.unique(np.diff(found)).tolist() == [3]
        starts.add(int(found[0]))
    assert starts == set(range(5))
    assert raw.draw(rng, 30).tolist() == np.linspace(0, 29, 16).round().tolist()
    assert raw.draw(rng, 5).tolist() == [i % 5 for i in range(16)] and raw.draw(rng, 16).tolist() == list(range(16))


def test_strides_follow_their_weights():
    raw, rng = RawClips(2, (2,), (1, 5), (3.0, 1.0)), np.random.default_rng(0)
    strides = [int(np.diff(raw.draw(rng, 100))[0]) for _ in range(400)]
    assert set(strides) == {1, 5} and strides.count(1) / 400 == pytest.approx(0.75, abs=0.06)


def test_samples_hold_two_raw_clips_drawn_apart(tiny_videos):
    method = tiny()
    index = method.index(tiny_videos)
    assert len(index) == len(tiny_videos)
    plan = method.plan(0, index, Clock(0, 0, 0.0), numpy_generator(1))
    query, key = plan.reads["query"].indices, plan.reads["key"].indices
    assert len(query) == len(key) == 16 and np.unique(np.diff(query)).tolist() == [1]
    assert not np.array_equal(query, key)
    assert not np.array_equal(plan.draws["query_box"], plan.draws["key_box"])
    # Two raw clips of 8 frames to each stretch: 40 frames hold two, the second with the rest.
    assert len(tiny(clips="windows", frames=4).index(tiny_videos)) == 2 * len(tiny_videos)


def test_a_static_video_stays_static_after_augmentation(tiny_videos):
    method = tiny(colours="plus")
    raw = read_batch(method, method.index(tiny_videos), prepare=False)
    for name in ("query", "key"):
        raw[name] = raw[name][:, :, :1].expand_as(raw[name]).contiguous()
    batch = method.prepare(raw, torch.Generator().manual_seed(0))
    for name in ("query", "positive", "negative"):
        assert batch[name].shape == (4, 3, 8, 32, 32)
        torch.testing.assert_close(batch[name], batch[name][:, :, :1].expand_as(batch[name]), rtol=0, atol=1e-5)
    # The two keys are one raw clip in one view.
    torch.testing.assert_close(batch["positive"], batch["negative"], rtol=0, atol=1e-5)
    assert (batch["query"] - batch["positive"]).abs().mean() > 0.05


def test_prepared_clips_are_the_raw_ones_at_two_speeds(tiny_videos):
    method = tiny(colours="none", flip=0.0)
    raw = read_batch(method, method.index(tiny_videos), prepare=False)
    batch = method.prepare(raw, torch.Generator().manual_seed(0))
    slow = halved(4, torch.Generator().manual_seed(0))
    shown = {name: method.augment.apply(raw[name], raw, prefix=f"{name}_") for name in ("query", "key")}
    seen = {name: normalise(clips, method.input.mean, method.input.std) for name, clips in shown.items()}
    for b in range(4):
        normal, fast = slice(0, 8), slice(0, 16, 2)
        same, other = (normal, fast) if slow[b] else (fast, normal)
        torch.testing.assert_close(batch["query"][b], seen["query"][b][:, same], rtol=0, atol=0)
        torch.testing.assert_close(batch["positive"][b], seen["key"][b][:, same], rtol=0, atol=0)
        torch.testing.assert_close(batch["negative"][b], seen["key"][b][:, other], rtol=0, atol=0)


def test_clips_of_several_ratios_differ_in_length(tiny_videos):
    method = tiny(speeds=(4, 2, 1), frames=4)
    index = method.index(tiny_videos)
    for step in range(6):
        raw = read_batch(method, index, (0, 1), prepare=False)
        raw["fast"] = torch.from_numpy(method.raw.fast(step))[None].expand(2, -1)
        batch = method.prepare(raw, torch.Generator())
        assert raw["query"].shape[2] == 16 and batch["query"].shape[2] == len(method.raw.fast(step)) in (4, 8, 16)
        assert torch.isfinite(method.losses(batch, method.phases[0])["loss"])


def test_colour_presets_are_those_of_the_code():
    strong, plus = photometric("strong", exact=True), photometric("plus")
    assert strong.order[:2] == ("grey", "colour") and strong.colour.exact and strong.grey == 0.2 and not strong.blur
    assert (strong.colour.hue, strong.colour.p, plus.colour.hue, plus.colour.p) == (0.4, 1.0, 0.1, 0.8)
    assert (plus.blur.p, plus.blur.sigma, plus.blur.taps) == (0.5, (1.5, 1.5), 3)
    assert photometric("none").colour is None


def test_evenly_spread_test_clips_start_where_published():
    assert spread_positions(100, 10, 16)[:, 0].tolist() == [0, 9, 19, 28, 37, 47, 56, 65, 75, 84]


def test_frames_of_another_rate_are_the_published_ones(tiny_videos):
    """From 10 to 10 / 1.2 frames per second: floor(1.2 i); up to 10.4: the first frame twice."""
    index = tiny().index(tiny_videos)
    assert index.frames(0, rate=10 / 1.2)[:16].tolist() == [math.floor(1.2 * i + 1e-9) for i in range(16)]
    assert index.frames(0, rate=10 * 25 / 24)[:4].tolist() == [0, 0, 1, 2]


def test_every_video_finds_itself():
    """Retrieval with the gallery as queries: its nearest is itself, top-1 100 %."""
    features = normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1).numpy()
    assert hit_at_k(cosine_match_ranks(features, features, np.arange(6), np.arange(6)), 1) == 100


# Losses


def test_without_any_similarity_losses_are_the_logarithm_and_the_margin():
    method, zero = tiny(), torch.zeros(4, 2, 16)
    parts = embed(method, (zero, zero, zero), formula_batch(4))["parts"]
    assert parts["appearance"].item() == pytest.approx(2 * math.log(1 + 24))
    assert parts["motion"].item() == pytest.approx(2.0)
    one = tiny(appearance="one", margin_form="paper")
    parts = embed(one, (zero, zero, zero), formula_batch(4))["parts"]
    assert parts["appearance"].item() == pytest.approx(math.log(1 + 24))
    assert parts["motion"].item() == pytest.approx(0.15)


def test_equal_appearance_and_a_foreign_queue():
    method = tiny()
    method.queue.rows.copy_(torch.eye(16)[1:2].expand(24, 16))
    same = torch.eye(16)[:1].expand(4, 2, 16)
    parts = embed(method, (same, same, same), formula_batch(4))["parts"]
    expected = math.log(1 + 24 * math.exp(-1 / 0.07))
    assert parts["appearance"].item() == pytest.approx(2 * expected, abs=1e-6)
    assert (parts["top1"].item(), parts["speed"].item()) == (1, 0)


def test_a_speed_that_is_told_by_014_has_no_loss_and_no_gradient():
    method = tiny(appearance_weight=0.0)
    query = torch.eye(16)[:1].expand(4, 2, 16).clone().requires_grad_()
    far = normalize(torch.eye(16)[:1] * 0.8 + torch.eye(16)[1:2] * 0.6, dim=1).expand(4, 2, 16)
    found = embed(method, (query, query.detach(), far), formula_batch(4))
    found["loss"].backward()
    assert found["parts"]["motion"].item() == 0 and query.grad.abs().sum() == 0 and found["parts"]["speed"] == 1


def random_embeddings(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(6, 2, 16, generator=generator), dim=2) for _ in range(3)]


def test_the_papers_margin_is_the_codes_up_to_the_temperature():
    code = embed(tiny(), random_embeddings(), formula_batch())["parts"]["motion"]
    paper = embed(tiny(margin_form="paper", margin=0.14), random_embeddings(), formula_batch())["parts"]["motion"]
    torch.testing.assert_close(code, paper / 0.07)


def test_one_positive_is_the_drawn_one_and_both_are_the_sum():
    batch = formula_batch()
    assert 0 < int(batch["either"].sum()) < 6
    both = embed(tiny(), random_embeddings(), batch)["parts"]["appearance"]
    always = [{**batch, "either": torch.full((6,), value)} for value in (True, False)]
    each = [embed(tiny(appearance="one"), random_embeddings(), one)["parts"]["appearance"] for one in always]
    torch.testing.assert_close(both, each[0] + each[1])
    assert abs(each[0] - each[1]) > 1e-3
    query, positive, _ = random_embeddings()
    known = embed(tiny(appearance="one"), (query, positive, torch.zeros_like(query)), always[0])["parts"]["appearance"]
    torch.testing.assert_close(known, each[0])  # True takes the key at the query's speed.


def test_weights_join_the_tasks():
    found = embed(tiny(appearance_weight=0.5, motion_weight=3.0), random_embeddings(), formula_batch())
    expected = 0.5 * found["parts"]["appearance"] + 3.0 * found["parts"]["motion"]
    torch.testing.assert_close(found["loss"], expected)


@pytest.mark.parametrize("head", ["linear", "mlp", "conv", "convbn"])
def test_heads_have_length_1_and_the_motion_head_leaves_appearance_alone(head):
    method = tiny(head=head).eval()
    batch = formula_batch()
    embeddings = method.network(batch["query"])
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(6, 2))
    before = method.losses(batch, method.phases[0])["parts"]
    with torch.no_grad():
        for part in (method.network, method.keys.module):
            for parameter in part.heads[1].parameters():
                parameter.add_(torch.randn_like(parameter))
    after = method.losses(batch, method.phases[0])["parts"]
    torch.testing.assert_close(before["appearance"], after["appearance"])
    assert not torch.allclose(before["motion"], after["motion"])


@pytest.mark.parametrize("off", [0, 1])
def test_a_task_without_weight_trains_no_head(off):
    method = tiny(**{("appearance_weight", "motion_weight")[off]: 0.0})
    method.losses(formula_batch(), method.phases[0])["loss"].backward()
    assert all(parameter.grad is None for parameter in method.network.heads[off].parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.network.heads[1 - off].parameters())
    with pytest.raises(RecipeError, match="leave nothing to learn"):
        tiny(appearance_weight=0.0, motion_weight=0.0)


# Key network and queue


def test_the_key_network_moves_before_the_keys_of_a_step():
    recipe = recipe_of()
    method = recipe.build().train()
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.add_(0.1)
    old, new = ([p.clone() for p in part.parameters()] for part in (method.keys, method.network))
    seen = []
    encode, step_of = method.encode_keys, method.queue.push
    method.encode_keys = lambda clips, turn: (
        seen.append([p.clone() for p in method.keys.parameters()]) or encode(clips, turn=turn)
    )
    Stepper(method, recipe, DEVICE).step([formula_batch()], 0, 0.1)
    for before, query, key, now in zip(old, new, seen[0], method.keys.parameters(), strict=True):
        torch.testing.assert_close(key, 0.9 * before + 0.1 * query)
        assert torch.equal(key, now) and now.grad is None and not now.requires_grad
    assert any(not torch.equal(q, p) for q, p in zip(new, method.network.parameters(), strict=True)) and step_of


def test_the_key_network_has_statistics_of_its_own():
    method = tiny().train()
    for name, buffer in method.network.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(7.0)
    method.before_step(0)
    means = [buffer for name, buffer in method.keys.named_buffers() if name.endswith("running_mean")]
    assert means and not any(mean.any() for mean in means)


def test_keys_at_the_other_speed_are_encoded_first_in_train_mode():
    method, seen = tiny().train(), []
    method.keys.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0], module.training)))
    batch = formula_batch()
    method.losses(batch, method.phases[0])
    assert torch.equal(seen[0][0], batch["negative"]) and torch.equal(seen[1][0], batch["positive"])
    assert [training for _, training in seen] == [True, True]
    norm = next(part for part in method.keys.modules() if isinstance(part, torch.nn.BatchNorm3d))
    assert norm.num_batches_tracked == 2


@pytest.mark.parametrize("enqueue", ["other", "same"])
def test_keys_enter_the_queue_after_the_loss(enqueue):
    recipe = recipe_of(**{"options.enqueue": enqueue})
    method = recipe.build().train()
    stepper, keys = Stepper(method, recipe, DEVICE), {}
    encode = method.encode_keys

    def watched(clips, turn):
        keys[turn] = encode(clips, turn=turn)
        return keys[turn]

    method.encode_keys = watched
    for step in range(5):
        before, place = method.queue.rows.clone(), int(method.queue.position)
        outcome = stepper.step([formula_batch(seed=step)], step, 0.01)
        chosen = keys[0 if enqueue == "other" else 1][:, 0]
        assert int(method.queue.position) == (place + 6) % 24
        torch.testing.assert_close(method.queue.rows[place : place + 6], chosen)
        torch.testing.assert_close(chosen.norm(dim=1), torch.ones(6))
        kept = torch.ones(24, dtype=torch.bool)
        kept[place : place + 6] = False
        assert torch.equal(method.queue.rows[kept], before[kept]) and torch.isfinite(outcome.loss)


def test_logits_do_not_see_the_keys_of_their_own_step():
    method, batch = tiny().train(), formula_batch()
    method.before_step(0)
    before = method.queue.rows.clone()
    method.losses(batch, method.phases[0])
    method.losses(batch, method.phases[0])
    assert torch.equal(method.queue.rows, before)
    method.after_step(0)
    assert int(method.queue.position) == 12  # both micro-batches


def test_validation_remembers_nothing():
    method = tiny().eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.losses(formula_batch(), method.phases[0])
    method.after_step(0)
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_queue_is_trimmed_to_whole_batches():
    assert len(tiny(queue=16384, queue_batch=96).queue.rows) == 16320
    assert len(tiny(queue=100).queue.rows) == 100


def test_the_recipe_scales_its_learning_rate_as_the_code_does():
    """0.1 x processes x batch of each / 64: 4 x 32 gives 0.2, and the recipe's 256 give 0.4."""
    recipe = load_recipe("rspnet", "paper")
    assert recipe.optimiser.lr == pytest.approx(0.1 * recipe.batch / 64)
    assert recipe.options["queue"] % recipe.batch == 0 and not recipe.sync_bn


def test_batchnorm_groups_change_the_keys():
    batch = formula_batch()
    losses = [tiny(bn_groups=groups).train().losses(batch, RSPNet.phases[0])["loss"].item() for groups in (1, 2)]
    assert losses[0] != losses[1]


# Learning


def test_it_learns_on_tiny_clips(tiny_videos, tmp_path):
    """Six videos of textures come to be told from each other; each has 4 of 24 places in the queue."""
    overrides = {"epochs": 40, "optimiser.name": "adamw", "optimiser.lr": 0.01, "options.scale": [0.9, 1.0]}
    # Some first weights need twice the steps.
    run = pretrain(recipe_of(seed=2, **overrides), tiny_videos, tmp_path / "run", quiet=True)
    records = journal(tmp_path / "run", "step")
    first, last = (np.mean([record["parts"]["top1"] for record in part]) for part in (records[:8], records[-16:]))
    assert last > first + 0.2
    encoder = run.method.products().encoders["video"]
    assert encoder.input.frames == 8 and not any(name.startswith("heads") for name in encoder.state_dict())


def test_it_learns_to_tell_speeds(tiny_videos):
    recipe = recipe_of(**{"options.appearance_weight": 0.0, "optimiser.name": "adamw"})
    method = recipe.build().train()
    batch = read_batch(method, method.index(tiny_videos), range(6))
    stepper = Stepper(method, recipe, DEVICE)
    outcomes = [stepper.step([batch], step, 0.01) for step in range(40)]
    assert outcomes[-1].parts["speed"] == 1
    assert outcomes[-1].parts["motion"] < 0.5 * outcomes[0].parts["motion"]


def test_its_picture_shows_the_three_clips(tiny_videos):
    method = tiny()
    picture, *others = method.pictures(read_batch(method, method.index(tiny_videos), prepare=False))
    assert not others and picture.frames.shape == (8, 32, 96, 3) and picture.frames.dtype == np.uint8
