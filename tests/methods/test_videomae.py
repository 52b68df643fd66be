"""VideoMAE against its specification: masks, targets, loss, sizes, sampling, pictures, and that it learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.errors import RecipeError
from kinema.losses.reconstruction import masked_error, token_errors
from kinema.methods.base import ParamGroup
from kinema.methods.videomae import VideoMAE, reachable_positions
from kinema.modules.transformer import Attention, patchify, unpatchify
from kinema.randomness import numpy_generator
from kinema.report.record import read_record
from kinema.targets.masking import Masking, frame_masking
from kinema.targets.patches import standardise, unstandardise
from kinema.training.loop import pretrain
from kinema.training.recipe import load_recipe
from kinema.training.schedules import lr_factor
from kinema.training.stepper import Stepper
from tests.helpers import read_batch, tiny_recipe, write_video

TINY = {
    "model": "small",
    "width": 48,
    "depth": 2,
    "heads": 3,
    "decoder_width": 24,
    "decoder_depth": 1,
    "decoder_heads": 3,
    "frames": 4,
    "stride": 2,
    "resize": (36, 48),
    "size": 32,
    "mask": 0.75,
}


def tiny(**options):
    torch.manual_seed(0)
    return VideoMAE(**{**TINY, **options})


def read(method, videos):
    return read_batch(method, method.index(videos), prepare=False)


def prepared(method, videos):
    return method.prepare(read(method, videos), torch.Generator())


def loss_of(method, batch):
    return method.losses(batch, method.phases[0])["loss"]


@pytest.mark.parametrize(
    ("name", "count"),
    [("small", 24_029_376), ("base", 94_210_944), ("large", 342_996_992), ("huge", 692_487_296)],
)
def test_whole_models_have_the_published_numbers_of_parameters(name, count):
    with torch.device("meta"):
        method = VideoMAE(model=name, masks="frame", mask=0.875)
    assert sum(p.numel() for p in method.parameters()) == count
    assert "mean" not in method.state_dict()


def test_features_of_a_cube_are_in_the_published_order():
    clip = torch.arange(3 * 4 * 32 * 32).view(1, 3, 4, 32, 32)
    cubes = patchify(clip, (2, 16, 16))
    assert cubes.shape == (1, 8, 1536)
    first = cubes[0, 0]
    places = {0: (0, 0, 0, 0), 1: (1, 0, 0, 0), 3: (0, 0, 0, 1), 48: (0, 0, 1, 0), 768: (0, 1, 0, 0)}
    for feature, (channel, frame, row, column) in places.items():
        assert first[feature] == clip[0, channel, frame, row, column]
    assert torch.equal(unpatchify(cubes, (2, 2, 2), (2, 16, 16)), clip)


@pytest.mark.parametrize("values", [1536, 15])
def test_targets_are_standardised_by_cube_and_colour(values):
    """Beside the definition; 15 values are five pixels, too few for the fast sums."""
    cubes = torch.rand(2, 3, values, generator=torch.Generator().manual_seed(0))
    cubes[0, 0], cubes[0, 1, 1::3] = 0.1, 0.7
    found = standardise(cubes, "channel").unflatten(-1, (-1, 3))
    pixels = cubes.double().unflatten(-1, (-1, 3))
    wanted = (pixels - pixels.mean(2, keepdim=True)) / (pixels.var(2, keepdim=True).sqrt() + 1e-6)
    assert not found[0, 0].any() and not found[0, 1, :, 1].any()
    changing = torch.ones(2, 3, 1, 3, dtype=torch.bool)
    changing[0, 0], changing[0, 1, 0, 1] = False, False
    torch.testing.assert_close(found * changing, (wanted * changing).float(), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found[1].mean(1), torch.zeros(3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1].var(1), torch.ones(3, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("how", ["patch", "channel", "none"])
def test_standardised_cubes_can_be_taken_back(how):
    cubes = torch.rand(2, 3, 96)
    torch.testing.assert_close(unstandardise(standardise(cubes, how), cubes, how), cubes)


def test_patches_standardised_as_a_whole():
    cubes = torch.rand(2, 3, 96)
    cubes[1, 2] = 0.1
    wanted = (cubes - cubes.mean(-1, keepdim=True)) / (cubes.var(-1, keepdim=True) + 1e-6).sqrt()
    found = standardise(cubes, "patch")
    assert not found[1, 2].any()
    torch.testing.assert_close(found[0], wanted[0])


def silent(method):
    nn.init.zeros_(method.network.decoder.head.weight)
    nn.init.zeros_(method.network.decoder.head.bias)
    return method


def test_predicting_nothing_costs_what_the_variance_says(tiny_videos):
    """The unbiased variance of 512 values is 1, so that their mean square is 511 / 512."""
    method = silent(tiny())
    batch = prepared(method, tiny_videos)
    batch["patches"] = torch.randint(0, 256, batch["patches"].shape, dtype=torch.uint8)
    assert loss_of(method, batch).item() == pytest.approx(0.998047, abs=1e-5)


def test_the_loss_is_the_mean_over_hidden_cubes_alone(tiny_videos):
    """In the paper's steps: pixels in [0, 1], cubes, statistics, the hidden ones, one mean of everything."""
    for target, distance in (("channel", "mse"), ("none", "l1"), ("patch", "smooth_l1")):
        method = tiny(target=target, distance=distance)
        batch = prepared(method, tiny_videos)
        masking = Masking(batch["kept"], batch["hidden"])
        clips = unpatchify(batch["patches"], method.network.trunk.grid, method.network.trunk.patch)
        normal = method.input.normalise(clips)
        out = method.network(patchify(normal, (2, 16, 16)), masking)
        wanted = standardise(patchify(clips.float() / 255, (2, 16, 16)), target)
        errors = [
            (out.predicted[b, m] - wanted[b, place]).abs()
            for b, row in enumerate(masking.hidden.tolist())
            for m, place in enumerate(row)
        ]
        error = torch.stack(errors)
        by_hand = {"mse": error**2, "l1": error, "smooth_l1": torch.where(error < 1, error**2 / 2, error - 0.5)}
        torch.testing.assert_close(loss_of(method, batch), by_hand[distance].mean(), atol=1e-5, rtol=1e-5)


def test_hidden_cubes_are_not_looked_at(tiny_videos):
    method = tiny().eval()
    batch = prepared(method, tiny_videos)
    masking = Masking(batch["kept"], batch["hidden"])
    before = method.predict(batch["patches"], masking)
    places = masking.hidden[..., None].expand(-1, -1, 1536)
    other = batch["patches"].scatter(1, places, torch.randint_like(places, 256).to(torch.uint8))
    torch.testing.assert_close(method.predict(other, masking), before)
    changed = batch["patches"].clone()
    changed[0, masking.kept[0, 0]] = 255 - changed[0, masking.kept[0, 0]]
    assert not torch.allclose(method.predict(changed, masking)[0], before[0])


def test_the_order_of_visible_tokens_changes_nothing(tiny_videos):
    method = tiny(mask=0.5).eval()
    batch = prepared(method, tiny_videos)
    masking = Masking(batch["kept"], batch["hidden"])
    found = method.predict(batch["patches"], masking)
    assert found.shape == (len(masking.hidden), masking.hidden.shape[1], 1536)
    shuffled = Masking(masking.kept.flip(1), masking.hidden)
    torch.testing.assert_close(method.predict(batch["patches"], shuffled), found, atol=1e-5, rtol=1e-4)


def test_a_bias_of_the_keys_would_change_nothing():
    torch.manual_seed(0)
    attention, x = Attention(12, 3, bias="all"), torch.randn(2, 5, 12)
    before = attention(x)
    with torch.no_grad():
        attention.qkv.bias[12:24] += 3.0
    torch.testing.assert_close(attention(x), before)
    assert sum(p.numel() for p in Attention(12, 3, bias="qv").parameters()) == 4 * 144 + 3 * 12


def test_masks_of_every_kind(tiny_videos):
    for masks, share in (("tube", 0.75), ("random", 0.75), ("frame", 0.5)):
        method = tiny(masks=masks, mask=share)
        batch = prepared(method, tiny_videos)
        mask = Masking(batch["kept"], batch["hidden"]).mask
        slices = mask.view(-1, 2, 4)
        assert mask.sum(1).tolist() == [8 * share] * len(mask)
        assert (masks == "tube") == torch.equal(slices[:, 0], slices[:, 1])
        assert (masks == "frame") == torch.equal(slices, slices[:, :, :1].expand_as(slices))
        assert len({tuple(row) for row in mask.tolist()}) > 1
    slices = frame_masking(torch.rand(3, 8), 196, 0.875).mask.view(3, 8, 196).sum(2)
    assert slices.sort(1).values.tolist() == [[0] + [196] * 7] * 3


def test_masks_that_leave_nothing_are_refused_at_once():
    for options in ({"mask": 1.0}, {"mask": 0.1}, {"masks": "frame", "mask": 0.4}, {"model": "vast"}):
        with pytest.raises(RecipeError):
            tiny(**options)


def test_the_same_draws_give_the_same_sample_whatever_the_batch(tiny_videos):
    method = tiny()
    batch = read(method, tiny_videos)
    whole = method.prepare(batch, torch.Generator())
    one = method.prepare({name: value[1:2] for name, value in batch.items()}, torch.Generator())
    for name, value in one.items():
        assert torch.equal(whole[name][1:2], value)


def test_clips_are_read_as_released():
    """An index moves on only while that stays inside: the last frame that is reached is repeated."""
    assert reachable_positions(0, 6, 4, 10).tolist() == [0, 4, 8, 8, 8, 8]
    assert reachable_positions(3, 4, 2, 40).tolist() == [3, 5, 7, 9]
    assert reachable_positions(0, 3, 4, 1).tolist() == [0, 0, 0]
    assert reachable_positions(0, 4, 4, 9).tolist() == [0, 4, 4, 4]  # the last frame of all is not reached


def test_clips_begin_anywhere_that_leaves_room(tiny_videos):
    method = tiny(frames=16, stride=2)
    index = method.index(tiny_videos)
    starts = set()
    for key in range(200):
        sample = method.plan(0, index, Clock(0, 0, 0.0), numpy_generator("start", key))
        indices = sample.reads["video"].indices
        assert (np.diff(indices) == 2).all() and not sample.draws["flip"]
        starts.add(int(indices[0]))
    # Forty frames less 16 x 2, both ends included.
    assert starts == set(range(9))
    assert len(index) == len(tiny_videos)
    assert len(tiny(clips="windows").index(tiny_videos)) == 5 * len(tiny_videos)


def test_crops_are_multi_scale_in_the_shape_of_the_video(tiny_videos):
    """Frames of 48 x 64 are read at 36 x 48; sides are shares of 48, of which at most neighbours are paired."""
    method, seen = tiny(), set()
    for key in range(300):
        draws = method.plan(0, method.index(tiny_videos), Clock(0, 0, 0.0), numpy_generator("crop", key)).draws
        seen.add(tuple((draws["box"][2:] * 48 / 36).round().astype(int).tolist()))
    # 31 is 0.66 x 48, within two pixels of the view's 32.
    sides = [48, 42, 36, 32]
    assert seen == {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}


def test_what_decays():
    method = tiny()
    free = {name for name, p in method.named_parameters() if method.param_group(name, p) == ParamGroup(1.0, 0.0)}
    named = dict(method.named_parameters())
    assert free == {n for n, p in named.items() if p.ndim == 1} | {"network.decoder.mask_token"}
    assert {"network.trunk.blocks.0.attn.q_bias", "network.trunk.norm.weight"} < free


def test_first_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = VideoMAE(**{**TINY, "decoder_width": 192})
    token = method.network.decoder.mask_token
    assert 0 < token.abs().max() <= 0.02 and token.std() < 0.015
    for name, p in method.named_parameters():
        if p.ndim == 2:
            bound = math.sqrt(6 / (p.shape[0] + p.shape[1]))
            assert 0.9 * bound < p.abs().max() <= bound, name
        elif name.endswith("bias"):
            assert not p.any()
    assert method.network.decoder.project.bias is None


def steps_of(method, batches, count, *, lr):
    recipe = tiny_recipe("videomae", **{"optimiser.name": "adamw", "optimiser.weight_decay": 0.0})
    stepper = Stepper(method, recipe, torch.device("cpu"))
    return [stepper.step([batches[step % len(batches)]], step, lr).loss.item() for step in range(count)]


def test_it_can_learn_four_clips_by_heart(tiny_videos):
    method = tiny()
    noise = torch.randint(0, 256, (4, 8, 1536), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    losses = steps_of(method, [{**prepared(method, tiny_videos), "patches": noise}], 100, lr=1e-2)
    assert losses[-1] < 0.3 * losses[0]


def test_what_is_hidden_is_told_from_what_is_seen_in_clips_never_seen(tmp_path):
    """Half of a moving grating tells the other half; nothing told would cost 1."""
    for number in range(6):
        write_video(tmp_path / f"{number}.mp4", striped(number))
    videos = Manifest.from_rows([{"path": f"{number}.mp4"} for number in range(6)], tmp_path)
    method = tiny(mask=0.5, scales=(1.0,))
    index = method.index(videos)
    steps_of(method, [read_batch(method, index, seed=seed) for seed in range(20)], 200, lr=3e-3)
    with torch.no_grad():
        assert loss_of(method.eval(), read_batch(method, index, (4, 5), seed=99)) < 0.5


def striped(number):
    """A sine grating of one of a few directions that moves; [40, 48, 64, 3]."""
    rng = np.random.default_rng(number)
    y, x, t = np.mgrid[:48, :64, :40]
    angle, phase = rng.choice([0.0, math.pi / 2]), rng.uniform(0, 6)
    wave = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * math.pi / 16 + 0.4 * t + phase)
    grey = (127 + 100 * wave).astype(np.uint8).transpose(2, 0, 1)
    return np.repeat(grey[..., None], 3, -1)


def test_pictures_show_what_is_hidden_and_answers_what_is_filled_in(tiny_videos):
    method = tiny().eval()
    batch = read(method, tiny_videos)
    (asked,) = method.pictures(batch)
    count = min(4, len(batch["video"]))
    assert asked.frames.shape == (4, 2 * 32, count * 36 - 4, 3)
    assert (asked.frames[:, 32:] == 127).all(-1).mean() > 0.6
    with torch.no_grad():
        (answer,) = method.answers(batch)
        assert answer.frames.shape[1] == 4 * 32 and "truth" in answer.caption
        # What is seen stays as it is, the rest is painted over.
        clip, seen, filled = (answer.frames[:, row * 32 : row * 32 + 32, :32] for row in range(3))
        kept = (seen != 127).any(-1)
        assert (filled[kept] == clip[kept]).all() and (filled[~kept] != 127).mean() > 0.5
        (raw,) = tiny(target="none").eval().answers(batch)
        assert raw.frames.shape[1] == 3 * 32 and "truth" not in raw.caption


def test_a_perfect_network_fills_in_the_truth(tiny_videos, monkeypatch):
    method = tiny().eval()
    batch = read(method, tiny_videos)
    shown, masking = method._shown(batch)
    hidden = shown.gather(1, masking.hidden[..., None].expand(-1, -1, 1536)).float() / 255
    monkeypatch.setattr(method, "predict", lambda patches, masking: standardise(hidden, "channel"))
    (answer,) = method.answers(batch)
    assert np.abs(answer.frames[:, :32].astype(int) - answer.frames[:, 64:96].astype(int)).max() <= 1
    assert np.abs(answer.frames[:, :32].astype(int) - answer.frames[:, 96:].astype(int)).max() > 5


def test_a_run_draws_what_it_answers_and_its_encoder_is_read_back(tiny_videos, tmp_path):
    named = {**TINY, "patch": 16, "tubelet": 2, "clips": "random"}
    options = {f"options.{name}": list(v) if isinstance(v, tuple) else v for name, v in named.items()}
    recipe = tiny_recipe("videomae", epochs=1, **options)
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    record = read_record(tmp_path / "run")
    assert [shown.title for shown in (*record.pictures, *record.answers)] == ["What is hidden?", "What it fills in"]
    encoder = run.encoder()
    clips = torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    features = encoder(encoder.input.normalise(clips), taps=("b1",))
    assert features.pooled.shape == (2, 48) and features.map.shape == (2, 48, 2, 2, 2)
    torch.testing.assert_close(features.map.mean((2, 3, 4)), features.pooled)
    assert features.extra["b1"].shape == (2, 48, 2, 2, 2)


def test_recipes_have_the_published_schedule():
    """Peak 1.5e-4 and minimum 1e-5 per 256 clips; the rise begins at 0, and the minimum is never reached."""
    paper = load_recipe("videomae", "paper")
    share = paper.batch / 256
    assert paper.optimiser.lr == pytest.approx(1.5e-4 * share)
    assert paper.optimiser.lr * paper.schedule.floor == pytest.approx(1e-5 * share)
    rates = [lr_factor(paper.schedule, step, 2, 2 * paper.epochs) * 1.5e-4 for step in range(2 * paper.epochs)]
    warm = 2 * 40
    np.testing.assert_allclose(rates[:warm], np.linspace(0, 1.5e-4, warm), atol=1e-12)
    rest = np.arange(len(rates) - warm)
    cosine = 1e-5 + 0.5 * (1.5e-4 - 1e-5) * (1 + np.cos(np.pi * rest / len(rest)))
    np.testing.assert_allclose(rates[warm:], cosine, rtol=1e-6)
    assert min(rates[warm:]) > 1e-5
    method = load_recipe("videomae", "tiny").build()
    assert isinstance(method, VideoMAE)


def test_errors_of_tokens_average_to_that_of_all():
    predicted, target = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    for distance in ("mse", "l1", "smooth_l1", "cosine"):
        errors = token_errors(predicted, target, distance)
        torch.testing.assert_close(masked_error(predicted, target, distance=distance), errors.mean())
        mask = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 1, 1, 0]])
        found = masked_error(predicted, target, mask, distance)
        torch.testing.assert_close(found, errors[mask.bool()].mean())
