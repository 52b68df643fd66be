"""PRP against its specification: sampling, slow-motion targets, motion masks, losses, decoder, and that it learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate

from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.data.sampling import slow_motion_positions
from kinema.errors import DataError, RecipeError
from kinema.losses.playback import masked_reconstruction_loss
from kinema.methods.base import Phase
from kinema.methods.prp import PRP
from kinema.modules.decoders import DoublingDecoder
from kinema.randomness import numpy_generator
from kinema.targets.playback import gauss_mask, pooled_mask, slow_motion_target, window_differences
from kinema.training.optimisers import build_optimiser, set_lr
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper
from tests.helpers import CLIP, SIZE, moving_texture, read_batch, write_video

TINY = {
    "frames": CLIP,
    "size": SIZE,
    "resize": (32, 40),
    "backbone": "r3d",
    "width": 4,
    "dilations": (1, 2, 4),
}


def tiny(**options):
    torch.manual_seed(0)
    return PRP(**{**TINY, **options})


def plan_of(method, index, i=0, *key):
    return method.plan(i, index, Clock(0, 0, 0.0), numpy_generator("prp", *key))


def manifest_of(folder, *lengths):
    for number, frames in enumerate(lengths):
        write_video(folder / f"{number}.mp4", moving_texture(number, (0, 2), frames=frames))
    return Manifest.from_rows([{"path": f"{number}.mp4"} for number in range(len(lengths))], folder)


@pytest.mark.parametrize(
    ("dilation", "clip", "target"),
    [
        (1, range(16), None),
        (2, range(0, 31, 2), range(32)),
        (4, range(0, 61, 4), range(0, 63, 2)),
        (8, range(0, 121, 8), range(0, 125, 4)),
    ],
)
def test_published_table_of_frames(dilation, clip, target):
    found = slow_motion_positions(5, 16, dilation) - 5
    assert found[::2].tolist() == list(clip)
    assert found.tolist() == (list(target) if target else [k for k in range(16) for _ in (0, 1)])


def test_nothing_lies_halfway_between_frames_an_odd_number_apart():
    with pytest.raises(ValueError, match="halfway between frames that are 3 apart"):
        slow_motion_positions(0, 8, 3)


def test_a_ramp_in_slow_motion():
    ramp = lambda dilation: torch.from_numpy(slow_motion_positions(0, 16, dilation) / 200).float()  # noqa: E731
    shown = torch.stack([ramp(1), ramp(4)])[:, None, :, None, None].expand(2, 3, 32, 4, 4)
    found = slow_motion_target(shown, torch.tensor([1, 4]))
    expected = [k / 200 if slot == 0 else min((k + 0.5) / 200, 15 / 200) for k in range(16) for slot in (0, 1)]
    torch.testing.assert_close(found.frames[0, 1, :, 2, 3], torch.tensor(expected))
    assert found.known[0].tolist() == [1, 0] * 16
    assert torch.equal(found.frames[1], shown[1]) and found.known[1].tolist() == [1] * 32
    assert torch.equal(found.frames[:, :, ::2], shown[:, :, ::2])


def test_a_plan_reads_the_clip_its_slow_motion_and_the_frames_of_its_masks(tiny_videos):
    method = tiny()
    index = method.index(tiny_videos)
    seen = set()
    for key in range(200):
        plan = plan_of(method, index, 1, key)
        dilation = int(plan.draws["dilation"])
        shown, compared = (plan.reads[name].indices for name in ("shown", "compared"))
        start = int(shown[0])
        assert method.dilations[int(plan.draws["label"])] == dilation
        assert shown.tolist() == slow_motion_positions(start, CLIP, dilation).tolist()
        blocks = [[start + block * CLIP + place for place in (0, 2, 5, 7)] for block in range(dilation)]
        assert compared.reshape(4, 4).tolist() == [blocks[slot * dilation // 4] for slot in range(4)]
        seen.add((dilation, start))
    last = {dilation: 40 - CLIP * dilation - 2 for dilation in (1, 2, 4)}
    for dilation, most in last.items():
        starts = {start for found, start in seen if found == dilation}
        assert min(starts) == 0 and max(starts) <= most and len(starts) > 0.8 * (most + 1)


def test_the_published_start_leaves_out_the_last_frames_and_uniform_takes_all(tmp_path):
    manifest = manifest_of(tmp_path, 20)
    for start, expected in (("published", set(range(3))), ("uniform", set(range(5)))):
        method = tiny(dilations=(1, 2), start=start)
        index = method.index(manifest)
        plans = [plan_of(method, index, 0, key) for key in range(200)]
        found = {int(p.reads["shown"].indices[0]) for p in plans if p.draws["dilation"] == 2}
        assert found == expected


def test_sixteen_frames_compare_those_published():
    method = tiny(frames=16, dilations=(1, 2, 4, 8))
    assert method.slots == 8 and method.need(8) == 129
    assert tiny(frames=16, dilations=(1, 2), start="uniform").need(2) == 32


def test_short_videos_are_left_out_and_counted(tmp_path):
    manifest = manifest_of(tmp_path, 33, 32, 17, 8)
    method = tiny()
    index = method.index(manifest)
    assert index.rows.tolist() == [0] and index.short == 3
    labels = [int(plan_of(method, index, 0, key).draws["label"]) for key in range(300)]
    assert all(70 < labels.count(label) < 130 for label in range(3))
    with pytest.raises(DataError, match=r"no video has the 65 frames .* longest has 33"):
        tiny(dilations=(1, 8)).index(manifest)


def test_dilations_can_be_drawn_among_those_that_fit(tmp_path):
    method = tiny(short="fit")
    index = method.index(manifest_of(tmp_path, 33, 32, 17, 8))
    assert index.rows.tolist() == [0, 1, 2] and index.short == 1
    drawn = [{int(plan_of(method, index, i, key).draws["dilation"]) for key in range(60)} for i in range(3)]
    assert drawn == [{1, 2, 4}, {1, 2}, {1, 2}]


def test_long_videos_give_a_clip_per_window(tmp_path):
    method = tiny(clips="windows")
    index = method.index(manifest_of(tmp_path, 70, 20))
    assert index.rows.tolist() == [0, 0] and index.short == 1
    frames = np.concatenate([plan_of(method, index, 1, key).reads["shown"].indices for key in range(60)])
    assert frames.min() == 33 and frames.max() < 70


@pytest.mark.parametrize("dilations", [(1,), (), (1, 1), (1, 3), (0, 2), (1, 32), (2, 4, 16, 6)])
def test_other_dilations_are_refused(dilations):
    with pytest.raises(RecipeError, match="least common multiple divides twice the frames"):
        tiny(dilations=dilations)


def four_frames(motion):
    """[1, 3, 4, 112, 112]: grey, with a corner that changes by `motion` from frame to frame."""
    frames = torch.full((1, 3, 4, 112, 112), 0.5)
    for t in range(4):
        frames[:, :, t, :28, :28] += motion * (t % 2)
    return frames


def test_a_still_clip_weighs_the_same_everywhere():
    differences = window_differences(four_frames(0.0), 28, 7)
    assert differences.shape == (1, 3, 13, 13)
    assert torch.equal(pooled_mask(differences, 112), torch.ones(1, 3, 112, 112))
    assert torch.equal(gauss_mask(differences, 112, window=28, step=7, sigma=14), torch.ones(1, 1, 112, 112))


def test_motion_in_a_corner_weighs_most_there():
    mask = pooled_mask(window_differences(four_frames(0.4), 28, 7), 112)
    assert mask.max() == pytest.approx(2.0, abs=1e-5) and mask.argmax() % (112 * 112) < 112 * 8
    assert torch.allclose(mask[..., 40:, 40:], torch.tensor(0.8), atol=1e-4)
    assert mask.min() >= 0.8 - 1e-6 and mask.max() <= 2.0 + 1e-6


def test_masks_against_the_formula():
    frames = torch.rand(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    frames[0, 1] = 0.25
    for n in range(2):
        expected = []
        for c in range(3):
            total = sum((frames[n, c, t + 1] - frames[n, c, t]) ** 2 for t in range(3)) / 3
            d = torch.stack(
                [torch.stack([total[i : i + 8, j : j + 8].mean() for j in range(0, 25, 2)]) for i in range(0, 25, 2)]
            )
            d = (d - d.min() + 1e-6) / (d.max() - d.min() + 1e-6)
            grown = interpolate((0.5 + 2.5 * d)[None, None, None], (4, 32, 32), mode="trilinear", align_corners=False)
            expected.append(grown[0, 0, 0])
        found = pooled_mask(window_differences(frames, 8, 2), 32, low=0.5, high=3.0)[n]
        torch.testing.assert_close(found, torch.stack(expected))
    assert torch.allclose(pooled_mask(window_differences(frames, 8, 2), 32)[0, 1], torch.tensor(2.0))


def test_a_gaussian_stands_on_the_window_that_changes_most():
    frames = torch.full((1, 3, 4, 112, 112), 0.5)
    frames[:, 1, 1::2, 42:70, 63:91] += 0.3
    found = gauss_mask(window_differences(frames, 28, 7), 112, window=28, step=7, sigma=14)
    down, across = torch.arange(112.0) - 55.5, torch.arange(112.0) - 76.5
    bump = torch.exp(-(down[:, None] ** 2 + across[None] ** 2) / (2 * 14**2))
    expected = 0.8 + 1.2 * (bump - bump.min()) / (bump.max() - bump.min())
    torch.testing.assert_close(found[0, 0], expected, atol=1e-5, rtol=0)


def moving_batch(method, dilations):
    """A batch as read whose compared frames change more from slot to slot."""
    count, slots, places = len(dilations), method.slots, 4
    compared = torch.zeros(count, 3, slots * places, 32, 40, dtype=torch.uint8)
    for slot in range(slots):
        compared[:, :, places * slot + 1 :: 2][:, :, :2, 8 * (slot % 4) : 8 * (slot % 4) + 8, 4:36] = 100
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 256, (count, 3, 2 * CLIP, 32, 40), generator=generator, dtype=torch.uint8)
    labels = torch.tensor([method.dilations.index(d) for d in dilations])
    box = torch.tensor([[0, 4, 32, 32]] * count)
    flip = torch.zeros(count, dtype=torch.bool)
    return {
        "shown": shown,
        "compared": compared,
        "box": box,
        "flip": flip,
        "label": labels,
        "dilation": torch.tensor(dilations),
    }


@pytest.mark.parametrize("mask", ["dpau", "gauss"])
def test_every_slot_has_the_mask_of_its_block(mask):
    method = tiny(mask=mask)
    read = moving_batch(method, [1, 4])
    found = method.prepare(read, torch.Generator())["mask"]
    assert found.shape == (2, 3 if mask == "dpau" else 1, 4, SIZE, SIZE)
    for slot in range(4):
        frames = read["compared"][:, :, 4 * slot : 4 * slot + 4, :, 4:36].float() / 255
        differences = window_differences(frames, 8, 2)
        one = (
            pooled_mask(differences, SIZE)
            if mask == "dpau"
            else gauss_mask(differences, SIZE, window=8, step=2, sigma=4.0)
        )
        torch.testing.assert_close(found[:, :, slot], one)
    assert not torch.allclose(found[:, :, 0], found[:, :, 3])


def test_a_constant_mask_reads_nothing_more(tiny_videos):
    method = tiny(mask="constant")
    index = method.index(tiny_videos)
    assert set(plan_of(method, index).reads) == {"shown"}
    batch = read_batch(method, index)
    assert "mask" not in batch and torch.isfinite(method.losses(batch, method.phases[0])["loss"])


def test_closed_forms_of_the_reconstruction_error():
    target = torch.rand(3, 3, 8, 4, 4)
    known = torch.ones(3, 8)
    half = known.clone()
    half[1, 1::2] = 0
    for flags in (known, half):
        for weight, expected in ((1.0, 0.25), (2.0, 0.5)):
            mask = torch.full((3, 1, 8, 1, 1), weight)
            found = masked_reconstruction_loss(target + 0.5, target, mask, flags)
            assert found.item() == pytest.approx(expected, rel=1e-5)
    errors = torch.zeros(2, 3, 4, 2, 2)
    errors[0, :, 0], errors[0, :, 1], errors[1, :, 2] = 1.0, 3.0, 2.0
    flags = torch.tensor([[1.0, 0, 1, 0], [1, 1, 1, 1]])
    found = masked_reconstruction_loss(errors, torch.zeros_like(errors), torch.ones(()), flags)
    assert found.item() == pytest.approx((1 / 2 + 4 / 4) / 2)


def silent(method):
    """Hardly a network: both branches answer zero."""
    for layer in (method.fc8, method.decoder.out.norm):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return method


@pytest.mark.parametrize("weight", [0.1, 2.0])
def test_the_loss_joins_its_parts_and_masks_the_right_frames(weight):
    method = silent(tiny(rate_weight=weight))
    batch = method.prepare(moving_batch(method, [1, 2, 4]), torch.Generator())
    found = method.losses(batch, method.phases[0])
    parts = found["parts"]
    assert parts["rate"].item() == pytest.approx(math.log(3), rel=1e-6)
    torch.testing.assert_close(found["loss"], parts["reconstruction"] + weight * parts["rate"])
    shown = batch["shown"].float() / 255
    expected = []
    for b, dilation in enumerate((1, 2, 4)):
        slots = [t for t in range(2 * CLIP) if dilation > 1 or t % 2 == 0]
        expected += [torch.stack([(batch["mask"][b, :, t // 4] * shown[b, :, t] ** 2).mean() for t in slots]).mean()]
    torch.testing.assert_close(parts["reconstruction"], torch.stack(expected).mean())


def test_made_up_frames_cost_nothing():
    method = tiny().eval()
    batch = method.prepare(moving_batch(method, [1, 1]), torch.Generator())
    other = {**batch, "shown": batch["shown"].clone()}
    other["shown"][:, :, 1::2] = 7
    one, two = (method.losses(found, method.phases[0])["parts"]["reconstruction"] for found in (batch, other))
    assert torch.equal(one, two)
    fast = {**other, "dilation": torch.tensor([2, 2])}
    assert not torch.equal(one, method.losses(fast, method.phases[0])["parts"]["reconstruction"])


def test_the_whole_network_has_its_published_size():
    with torch.device("meta"):
        method = PRP()
        logits, frames = method(torch.empty(1, 3, 16, 112, 112))
        features = method.encoder(torch.empty(1, 3, 16, 112, 112)).map
    assert features.shape == (1, 512, 2, 7, 7) and logits.shape == (1, 4) and frames.shape == (1, 3, 32, 112, 112)
    assert sum(p.numel() for p in method.parameters()) == 49_259_981
    assert sum(p.numel() for p in method.encoder.parameters()) == 27_661_440


@pytest.mark.parametrize("backbone", ["shufflenet", "mobilenet_v2", "squeezenet", "resnet3d_18", "s3d", "r2plus1d"])
@pytest.mark.parametrize("fit", ["crop", "interpolate"])
def test_the_decoder_follows_other_backbones(backbone, fit):
    with torch.device("meta"):
        method = PRP(backbone=backbone, fit=fit)
        assert method(torch.empty(1, 3, 16, 112, 112))[1].shape == (1, 3, 32, 112, 112)
    assert len(method.decoder.ups) == (4 if backbone == "r2plus1d" else 5)


def test_what_overshoots_is_cut_in_the_middle_or_scaled_down():
    x = torch.rand(1, 8, 1, 2, 2)
    whole, cut, scaled = (
        DoublingDecoder(8, map_size=(1, 2, 2), size=size, fit=fit).eval()
        for size, fit in (((2, 8, 8), "crop"), ((2, 5, 7), "crop"), ((2, 5, 7), "interpolate"))
    )
    for other in (cut, scaled):
        other.load_state_dict(whole.state_dict())
    assert len(whole.ups) == 2 and whole(x).shape == (1, 3, 2, 8, 8) and whole(x).min() >= 0
    assert torch.equal(cut(x), whole(x)[..., 1:6, 0:7])
    expected = interpolate(whole(x), (2, 5, 7), mode="trilinear", align_corners=False)
    assert torch.equal(scaled(x), expected)


def test_only_the_rate_classifier_learns_ten_times_as_fast():
    recipe = load_recipe("prp", "paper")
    method = tiny()
    optimiser = build_optimiser(method, Phase(), recipe.optimiser)
    set_lr(optimiser, recipe.optimiser.lr)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    fast = {name for name, p in method.named_parameters() if rates[id(p)] == pytest.approx(0.1)}
    slow = {name for name, p in method.named_parameters() if rates[id(p)] == pytest.approx(0.01)}
    assert fast == {"fc8.weight", "fc8.bias"} and len(fast) + len(slow) == len(rates)


def test_without_weight_the_drawing_branch_gets_no_gradient():
    method = tiny()
    batch = method.prepare(moving_batch(method, [1, 2, 4]), torch.Generator())
    method.losses({**batch, "mask": torch.zeros_like(batch["mask"])}, method.phases[0])["loss"].backward()
    moved = {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert not any(name.startswith(("decoder.", "slow_unit.")) for name in moved)
    assert all(any(name.startswith(part) for name in moved) for part in ("encoder.", "rate_unit.", "fc8."))


def test_a_still_video_does_not_tell_its_rate(tiny_videos):
    method = tiny().eval()
    index = method.index(tiny_videos)
    read = read_batch(method, index, prepare=False)
    picture = read["shown"][:1, :, :1]
    still = {
        **read,
        "shown": picture.expand_as(read["shown"]).contiguous(),
        "compared": picture.expand_as(read["compared"]).contiguous(),
    }
    batch = method.prepare(still, torch.Generator())
    logits, _ = method(method.input.normalise(batch["shown"][:, :, ::2]))
    assert len(set(batch["dilation"].tolist())) > 1
    assert torch.equal(logits, logits[:1].expand_as(logits))
    assert torch.equal(batch["mask"], torch.ones_like(batch["mask"]))
    rates = torch.stack([cross_entropy(logits[:1], torch.tensor([label])) for label in range(3)])
    assert rates.mean() >= math.log(3)


def test_clip_target_and_mask_share_one_look(tiny_videos):
    plain, looked = (
        tiny(crop="random", flip=1.0, **more) for more in ({}, {"colour": (0.3, 0.2, 0.1, 0.05), "colour_p": 1.0})
    )
    index = plain.index(tiny_videos)
    read = read_batch(plain, index, prepare=False)
    one = plain.prepare(read, torch.Generator())
    for b in range(4):
        top, left, height, width = (int(value) for value in read["box"][b])
        window = read["shown"][b, :, :, top : top + height, left : left + width].flip(-1)
        assert torch.equal(one["shown"][b], window)
        compared = read["compared"][b, :, :4, top : top + height, left : left + width].flip(-1).float() / 255
        differences = avg_pool2d(compared.diff(dim=1).square().mean(1), 8, 2)[None]
        torch.testing.assert_close(one["mask"][b, :, 0], pooled_mask(differences, SIZE)[0])
    read = read_batch(looked, index, prepare=False)
    two = looked.prepare(read, torch.Generator())
    assert not torch.equal(one["shown"], two["shown"]) and torch.equal(one["mask"], two["mask"])


def squares(dilations):
    """Four videos of a square that moves right by a pixel per frame, each at every dilation: a prepared batch."""
    shown, labels = [], []
    for label, dilation in enumerate(dilations):
        for seed in range(4):
            clip = torch.full((3, 2 * CLIP, SIZE, SIZE), 60 * seed, dtype=torch.uint8)
            for slot, t in enumerate(slow_motion_positions(0, CLIP, dilation).tolist()):
                left = (3 * seed + t) % (SIZE - 8)
                clip[:, slot, 6 * seed : 6 * seed + 8, left : left + 8] = 255 - 60 * seed
            shown.append(clip)
            labels.append(label)
    label = torch.tensor(labels)
    return {"shown": torch.stack(shown), "label": label, "dilation": torch.tensor(dilations)[label]}


def test_it_learns_rates_and_draws_better_than_the_mean_frame():
    method = tiny(dilations=(1, 4), mask="constant")
    batch = squares((1, 4))
    target = slow_motion_target(batch["shown"].float() / 255, batch["dilation"])
    mean = target.frames.mean((0, 2), keepdim=True).expand_as(target.frames)
    guess = masked_reconstruction_loss(mean, target.frames, torch.ones(()), target.known)
    recipe = load_recipe("prp", None, {"optimiser.name": "adamw", "optimiser.lr": 0.01, "device": "cpu"})
    stepper = Stepper(method.train(), recipe, torch.device("cpu"))
    for step in range(60):
        outcome = stepper.step([batch], step, 0.01)
        if outcome.parts["accuracy"] == 1 and outcome.parts["reconstruction"] < guess:
            break
    assert outcome.parts["accuracy"] == 1.0
    assert outcome.parts["reconstruction"] < guess


def test_the_picture_shows_the_clip_beside_its_slow_motion(tiny_videos):
    method = tiny()
    (picture,) = method.pictures(read_batch(method, method.index(tiny_videos), prepare=False))
    assert picture.frames.shape == (2 * CLIP, SIZE, 2 * SIZE + 4, 3)
    assert np.array_equal(picture.frames[::2, :, :SIZE], picture.frames[::2, :, SIZE + 4 :])


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_recipes_resolve(name):
    recipe = load_recipe("prp", name)
    with torch.device("meta"):
        assert recipe.build().fc8.out_features == len(recipe.options["dilations"])
