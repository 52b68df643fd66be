"""child-view: visits and windows, masks, positions, the class token, targets, and a loss with a known floor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.data.index import per_row
from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.data.sampling import even_starts, spread_over
from kinema.errors import RecipeError
from kinema.evaluation import EvaluationSettings, Subset, evaluate
from kinema.evaluation.classifier import Classifier
from kinema.evaluation.finetune_clips import LabelledClips
from kinema.evaluation.finetune_presets import FINETUNE_PRESETS
from kinema.methods.base import ParamGroup
from kinema.methods.child_view import ChildView, normal
from kinema.methods.masked import predicted_frames
from kinema.modules.transformer import Block, patchify, space_table, take
from kinema.randomness import numpy_generator
from kinema.report.page import write_report
from kinema.targets.masking import Masking, centre_masking, random_masking, temporal_masking, visible_count
from kinema.training.loop import pretrain
from kinema.training.optimisers import build_optimisers
from kinema.training.recipe import load_recipe
from kinema.training.timeline import build_timeline
from tests.helpers import journal, moving_texture, read_batch, tiny_recipe, write_video

TINY = {"model": "tiny", "width": 16, "depth": 2, "heads": 2}
TINY |= {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
TINY |= {"patch": 8, "size": 16, "frames": 4, "stride": 2, "rate": None, "repeats": 3, "mask": 0.5, "interpolate": 0.5}


def tiny(**options):
    torch.manual_seed(0)
    return ChildView(**{**TINY, "resize": (18, 24), **options})


def prepared(method, count=2, seed=0):
    """A batch as `prepare` returns it, of random clips."""
    generator = torch.Generator().manual_seed(seed)
    frames, (height, width) = method.input.frames, method.input.size
    clips = torch.randint(0, 256, (count, 3, frames, height, width), generator=generator, dtype=torch.uint8)
    kept, hidden = random_masking(torch.rand(count, method.tokens, generator=generator), method.mask)
    batch = {"patches": patchify(clips, method.network.trunk.patch), "kept": kept, "hidden": hidden}
    if len(method.shown) < frames:
        batch["wanted"] = patchify(clips[:, :, list(method.shown)], method.target_patch)
    return batch


def loss_of(method, batch):
    """Scalar tensor; with gradients while they are on."""
    return method.losses(batch, method.phases[0])["loss"]


# Windows


def test_windows_are_those_of_the_published_arithmetic():
    assert even_starts(300, 128, 10)[[0, 4, 9]].tolist() == [0, 76, 171]
    assert even_starts(300, 128, 1).tolist() == [86]
    assert even_starts(100, 128, 3).tolist() == [0, 0, 0]
    expected = [10, 18, 27, 35, 44, 52, 61, 69, 78, 86, 94, 103, 111, 120, 128, 137]
    assert spread_over(10.3, 128, 16, 300).tolist() == expected
    assert spread_over(0, 128, 16, 50).tolist() == [min(int(127 / 15 * k), 49) for k in range(16)]


def test_clips_of_a_visit_have_windows_of_their_own_or_share_one():
    rng = np.random.default_rng(0)
    apart = tiny(frames=16, stride=8, repeats=500).visit.draw(rng, 300)
    assert apart.shape == (500, 16)
    assert apart[:, 0].min() < 4 and 168 < apart[:, 0].max() <= 172
    assert set((apart[:, -1] - apart[:, 0]).tolist()) == {127}
    assert np.mean(apart[:, 0]) == pytest.approx(85.5, abs=7)
    assert tiny(repeats=5, windows="one").visit.draw(rng, 300).shape == (1, 4)


@pytest.mark.parametrize("windows", ["independent", "one"])
def test_every_clip_of_a_visit_gets_its_own_frames_crop_and_mask(tiny_videos, windows):
    method = tiny(windows=windows)
    index = method.index(tiny_videos)
    read = read_batch(method, index, (0, 3), prepare=False)
    assert read["clips"].shape == (2, 3, (12 if windows == "independent" else 4), 18, 24)
    ready = method.prepare(read, torch.Generator())
    assert ready["patches"].shape == (6, 8, 384) and ready["patches"].dtype == torch.uint8
    for visit, clip in ((0, 0), (0, 2), (1, 1)):
        frames = read["clips"][visit : visit + 1, :, 4 * clip : 4 * clip + 4] if windows == "independent" else None
        frames = read["clips"][visit : visit + 1] if frames is None else frames
        draws = {name: read[name][visit, clip : clip + 1] for name in ("box", "flip", "noise")}
        alone = patchify(method.augment.geometry(frames, draws), (2, 8, 8))
        assert torch.equal(ready["patches"][3 * visit + clip], alone[0])
        assert torch.equal(ready["kept"][3 * visit + clip], random_masking(draws["noise"], 0.5).kept[0])
    boxes = read["box"].flatten(0, 1)
    assert len({tuple(box.tolist()) for box in boxes}) == 6


def test_a_plan_decodes_one_window_or_one_for_each_clip(tiny_videos):
    index = tiny().index(tiny_videos)
    for windows, count in (("independent", 3), ("one", 1)):
        plan = tiny(windows=windows).plan(1, index, Clock(0, 0, 0.0), numpy_generator(1))
        assert plan.reads["clips"].indices.shape == (4 * count,)
        assert plan.draws["box"].shape == (3, 4) and plan.draws["noise"].shape == (3, 8)
        starts = plan.reads["clips"].indices[::4]
        assert len(set(starts.tolist())) == count


def test_time_is_that_of_the_nominal_rate_whatever_the_videos_own(tmp_path):
    from kinema.data.scan import scan

    for rate in (10, 20):
        write_video(tmp_path / f"at{rate}.mp4", moving_texture(0, (1, 1), frames=4 * rate), rate=rate)
    manifest = scan(tmp_path, workers=1).manifest
    method = tiny(rate=10.0, frames=8, stride=4, repeats=1)
    index = method.index(manifest)
    seconds = []
    for i in range(2):
        read = method.plan(i, index, Clock(0, 0, 0.0), numpy_generator(5)).reads["clips"]
        seconds.append(index.video(i).times[read.indices])
    np.testing.assert_allclose(seconds[0], seconds[1], atol=0.051)
    assert seconds[0][-1] - seconds[0][0] == pytest.approx(3.1, abs=0.11)


def test_long_recordings_are_cut_and_an_epoch_visits_every_stretch_once(tiny_videos):
    assert len(tiny(window=None).index(tiny_videos)) == len(tiny().index(tiny_videos)) == 6
    method = tiny(window=13)
    index = method.index(tiny_videos)
    assert len(index) == 18
    recipe = tiny_recipe("child-view", epochs=2, batch=3, **{f"options.{name}": value for name, value in TINY.items()})
    timeline = build_timeline(method, index, recipe)
    assert timeline.epoch_steps == (6, 6)
    visits = [i for request in timeline.requests(0, 0, 1) for i in request.samples]
    assert sorted(visits[:18]) == sorted(visits[18:]) == list(range(18))
    plan = method.plan(2, index, Clock(0, 0, 0.0), numpy_generator(1)).reads["clips"]
    assert plan.indices.min() >= 26 and plan.indices.max() < 40


# Tokens, masks, positions


def test_published_sizes():
    assert [visible_count(2048, share) for share in (0.9, 0.95)] == [204, 102]
    assert visible_count(1568, 0.9) == 156
    counts = []
    for depth in (1, 2):
        with torch.device("meta"):
            method = load_recipe("child-view", "paper", {"depth": depth}).build()
        network = method.network
        counts.append([sum(p.numel() for p in part.parameters()) for part in (network.trunk, network.decoder)])
    # Of the published depth, 32, each block of which has as many.
    encoder = counts[0][0] + 31 * (counts[1][0] - counts[0][0])
    assert (round(encoder / 1e6, 1), round(counts[0][1] / 1e6, 1)) == (631.5, 14.0)
    assert (method.tokens, network.decoder.head.out_features, len(network.decoder.blocks)) == (2048, 1176, 4)


def test_an_embedding_is_that_of_place_plus_that_of_time():
    method = tiny()
    trunk, decoder = method.network.trunk, method.network.decoder
    for positions in (trunk.positions, decoder.positions):
        table = positions().reshape(2, 2, 2, -1)
        for t, y, x in np.ndindex(2, 2, 2):
            torch.testing.assert_close(table[t, y, x], positions.spatial[0, 2 * y + x] + positions.temporal[0, t])
    black = trunk.embed(torch.zeros(1, 8, 384))
    with torch.no_grad():
        trunk.positions.temporal[0, 1] += 1.0
    moved = trunk.embed(torch.zeros(1, 8, 384)) - black
    torch.testing.assert_close(moved[0, 5:], torch.ones(4, 16))
    assert not moved[0, :5].any()
    kept = torch.tensor([[1, 6]])
    torch.testing.assert_close(
        trunk.embed(torch.zeros(1, 8, 384), kept)[0, 1:], trunk.embed(torch.zeros(1, 8, 384))[0, [2, 7]]
    )


def test_tables_may_start_as_waves_and_are_learned():
    method = tiny(tables="waves", width=16)
    positions = method.network.trunk.positions
    assert torch.equal(positions.spatial[0], space_table(2, 2, 16)) and positions.spatial.requires_grad
    torch.testing.assert_close(positions.temporal[0, 1, :8], (10000 ** -(torch.arange(8) / 8)).sin())
    decoder = method.network.decoder.positions
    assert torch.equal(decoder.spatial[0], space_table(2, 2, 8))
    assert float(tiny().network.trunk.positions.spatial.detach().abs().max()) < 0.1


def test_what_is_seen_does_not_hold_what_is_hidden():
    method = tiny().eval()
    batch = prepared(method)
    other = {**batch, "patches": batch["patches"].clone()}
    other["patches"].scatter_(1, batch["hidden"].unsqueeze(-1).expand(-1, -1, 384), 0)
    masking = Masking(batch["kept"], batch["hidden"])
    assert torch.equal(method.predict(batch["patches"], masking), method.predict(other["patches"], masking))


# The class token


def test_the_encoders_class_token_is_dropped_for_the_decoders_own():
    method = tiny()
    decoder, batch = method.network.decoder, prepared(method)
    latent = torch.randn(2, 5, 16)
    told = decoder(latent, batch["kept"], batch["hidden"])
    assert torch.equal(told, decoder(torch.cat([latent[:, :1] + 9, latent[:, 1:]], 1), batch["kept"], batch["hidden"]))
    with torch.no_grad():
        decoder.cls_position += torch.randn(8)
    assert (told - decoder(latent, batch["kept"], batch["hidden"])).abs().max() > 1e-5
    # Through attention alone: without blocks it makes no difference.
    decoder.blocks = torch.nn.ModuleList()
    told = decoder(latent, batch["kept"], batch["hidden"])
    with torch.no_grad():
        decoder.cls_position += torch.randn(8)
        decoder.cls_token += torch.randn(8)
    assert torch.equal(told, decoder(latent, batch["kept"], batch["hidden"]))


def test_it_works_without_class_tokens():
    with_token, without = tiny(), tiny(class_token=False)
    batch = prepared(with_token)
    masking = Masking(batch["kept"], batch["hidden"])
    shapes = [method.predict(batch["patches"], masking).shape for method in (with_token, without)]
    assert shapes == [(2, 4, 384)] * 2
    assert not [name for name, _ in without.named_parameters() if "cls" in name]
    assert loss_of(without, batch).isfinite()
    with pytest.raises(RecipeError, match="no class token"):
        tiny(class_token=False, pool="class")


# Targets


def test_the_loss_is_of_hidden_pixels_as_they_are(monkeypatch):
    method = tiny()
    batch = prepared(method)
    truth = normal(take(batch["patches"], batch["hidden"]))
    monkeypatch.setattr(method, "predict", lambda patches, masking: truth)
    assert loss_of(method, batch) == 0
    changed = {**batch, "patches": batch["patches"].clone()}
    changed["patches"].scatter_(1, batch["kept"].unsqueeze(-1).expand(-1, -1, 384), 255)
    assert loss_of(method, changed) == 0
    monkeypatch.setattr(method, "predict", lambda patches, masking: truth + 0.5)
    assert loss_of(method, batch) == pytest.approx(0.25, rel=1e-5)


def test_standardised_patches_have_variance_one_and_constant_ones_are_zero(monkeypatch):
    method = tiny(target="patch")
    batch = prepared(method)
    monkeypatch.setattr(method, "predict", lambda patches, masking: torch.zeros(2, 4, 384))
    assert loss_of(method, batch) == pytest.approx(383 / 384, rel=1e-4)
    assert loss_of(method, {**batch, "patches": torch.full_like(batch["patches"], 77)}) == 0


def test_fewer_frames_are_predicted(tiny_videos):
    assert predicted_frames(16, 2, 8) == (0, 2, 4, 6, 8, 10, 12, 15)
    assert predicted_frames(16, 2) == tuple(range(16))
    whole, half = tiny(), tiny(target_frames=2)
    assert (whole.network.decoder.head.out_features, half.network.decoder.head.out_features) == (384, 192)
    ready = read_batch(half, half.index(tiny_videos), (0,))
    frames = ready["patches"].view(3, 2, 4, 2, -1)
    # Of frames 0 … 3 the first and the last: of the first tubelet its first, of the second its second.
    wanted = ready["wanted"].view(3, 2, 4, -1)
    assert torch.equal(wanted[:, 0], frames[:, 0, :, 0]) and torch.equal(wanted[:, 1], frames[:, 1, :, 1])
    truth = normal(take(ready["wanted"], ready["hidden"]))
    with torch.no_grad():
        told = half.predict(ready["patches"], Masking(ready["kept"], ready["hidden"]))
        torch.testing.assert_close(loss_of(half, ready), (told - truth).square().mean())
    for wrong in (0, 3, 5):
        with pytest.raises(RecipeError, match=f"target_frames={wrong}"):
            tiny(target_frames=wrong)


def test_bytes_become_what_the_network_was_published_with():
    expected = pytest.approx([-2.0, 0.23094, 2.44444], abs=1e-5)
    shades = torch.tensor([0, 128, 255], dtype=torch.uint8)
    assert normal(shades).tolist() == expected
    clip = shades.view(3, 1, 1, 1, 1).expand(3, 3, 1, 1, 1)
    assert tiny().input.normalise(clip)[:, 2].flatten().tolist() == expected


def test_settings_that_leave_nothing_are_refused():
    for options, match in (
        ({"mask": 0.95}, "0 of 8"),
        ({"repeats": 0}, "repeats"),
        ({"interpolate": 0.6}, "interpolate"),
    ):
        with pytest.raises(RecipeError, match=match):
            tiny(**options)


# Weights, optimiser, classifier


def test_whatever_has_two_dimensions_decays_in_pre_training():
    method = tiny()
    decays = {name for name, p in method.named_parameters() if method.param_group(name, p).weight_decay}
    assert {
        f"network.{part}.{token}" for part in ("trunk", "decoder") for token in ("cls_token", "cls_position")
    } <= decays
    assert {
        "network.trunk.positions.spatial",
        "network.trunk.positions.temporal",
        "network.decoder.mask_token",
    } <= decays
    assert {name for name, _ in method.named_parameters()} - decays == {
        name for name, _ in method.named_parameters() if name.endswith("bias") or "norm" in name
    }
    recipe = load_recipe("child-view", "paper")
    assert (recipe.schedule.name, recipe.schedule.warmup, recipe.clip_grad) == ("constant", 0, 0.1)
    groups = build_optimisers(method, recipe.optimiser)["main"].param_groups
    assert sorted(group["weight_decay"] for group in groups) == [0, 0.05]
    assert groups[0]["betas"] == (0.9, 0.95)


def test_the_classifier_takes_all_weights_of_the_encoder_and_adds_a_head():
    method, preset = tiny(depth=3), FINETUNE_PRESETS["child-view"]
    encoder = method.products().encoders["video"]
    classifier = Classifier(encoder, 50, preset)
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    missing, unexpected = classifier.load_state_dict(state, strict=False)
    assert not unexpected and missing and all(name.startswith("head.") for name in missing)
    assert classifier.encoder.pool == "class" and encoder.pool == "mean"
    rates = [block.drop_path.probability for block in classifier.encoder.modules() if isinstance(block, Block)]
    assert rates == pytest.approx([0, 0.05, 0.1])
    assert [block.drop_path.probability for block in encoder.trunk.blocks] == [0, 0, 0]
    norm, dropout, linear = classifier.head
    assert isinstance(norm, torch.nn.Identity) and dropout.p == 0.3
    assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.1) and not linear.bias.any()
    # Class token, LayerNorm, linear.
    clips = torch.randn(2, 3, 4, 16, 16)
    tokens = encoder.trunk.eval().norm(encoder.trunk.forward_blocks(clips)[-1])
    torch.testing.assert_close(classifier.eval()(clips), linear(tokens[:, 0]))


def test_the_rate_falls_from_block_to_block_and_vectors_do_not_decay_in_fine_tuning():
    preset = FINETUNE_PRESETS["child-view"]
    classifier = Classifier(tiny(depth=4).products().encoders["video"], 2, preset)
    groups = {name: classifier.param_group(name, p) for name, p in classifier.named_parameters()}
    for name in ("cls_token", "cls_position", "positions.spatial", "positions.temporal"):
        assert groups[f"encoder.trunk.{name}"].weight_decay == 0
        assert groups[f"encoder.trunk.{name}"].lr == pytest.approx(0.32768)
    assert groups["encoder.trunk.patch_embed.proj.weight"] == ParamGroup(pytest.approx(0.32768), 1)
    for number, rate in enumerate((0.4096, 0.512, 0.64, 0.8)):
        assert groups[f"encoder.trunk.blocks.{number}.attn.q.weight"] == ParamGroup(pytest.approx(rate), 1)
    assert groups["encoder.trunk.norm.weight"] == ParamGroup(1, 0)
    assert groups["head.2.weight"] == ParamGroup(1, 1) and groups["head.2.bias"] == ParamGroup(1, 0)


def test_a_still_is_a_clip_in_which_nothing_moves():
    products = tiny().eval().products().encoders
    images = torch.randn(2, 3, 16, 16)
    clips = images.unsqueeze(2).expand(-1, -1, 4, -1, -1)
    still, clip = products["image"](images, taps=("b1",)), products["video"](clips, taps=("b1",))
    assert torch.equal(still.pooled, clip.pooled) and torch.equal(still.extra["b1"], clip.extra["b1"])
    assert (products["image"].input.modality, products["image"].input.frames) == ("image", 1)
    preset = FINETUNE_PRESETS["child-view-image"]
    torch.manual_seed(0)
    of_images = Classifier(products["image"], 5, preset).eval()
    torch.manual_seed(0)
    of_clips = Classifier(products["video"], 5, FINETUNE_PRESETS["child-view"]).eval()
    assert torch.equal(of_images(images), of_clips(clips))


def test_attention_of_the_last_block_is_that_which_the_network_uses():
    trunk = tiny(depth=3).eval().network.trunk
    clips = torch.randn(2, 3, 4, 16, 16)
    shares = trunk.last_attention(clips)
    assert shares.shape == (2, 2, 9, 9)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 2, 9))
    tokens = trunk.forward_blocks(clips, (1,))[0]
    block = trunk.blocks[-1]
    normed = block.norm1(tokens)
    values = block.attn.v(normed).unflatten(-1, (2, -1)).transpose(1, 2)
    by_hand = block.attn.proj((shares @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(by_hand, block.attn(normed), atol=1e-5, rtol=0)


def test_training_clips_with_labels_are_spread_as_in_pre_training(tiny_videos):
    method = tiny(frames=8, stride=4)
    preset = replace(FINETUNE_PRESETS["child-view"], native=True)
    planner = LabelledClips(method.input, np.arange(6), preset)
    starts, steps = [], set()
    for number in range(200):
        read = planner.plan(0, per_row(tiny_videos), Clock(0, 0, 0.0), numpy_generator(number)).reads["clip"]
        starts.append(int(read.indices[0]))
        assert read.indices[-1] - read.indices[0] == 31
        steps |= set(np.diff(read.indices).tolist())
    # 40 frames, 32 of them in a clip; 31 / 7 from one to the next.
    assert set(starts) == set(range(8)) and steps == {4, 5}


def test_ten_examples_of_a_class_and_the_published_validation(tiny_videos):
    classes, _ = tiny_videos.labels()
    known = tiny_videos.select(np.flatnonzero(np.bincount(classes)[classes] > 1))
    splits = ["train" if name not in seen else "test" for seen, name in _so_far(known.column("label"))]
    rows = [{**known.row(i), "split": split} for i, split in enumerate(splits)]
    labelled = Manifest.from_rows(rows, known.root)
    settings = EvaluationSettings(
        ("finetune:child-view",), pixels=False, calibrated=False, scratch=False, subset=Subset(shots=1),
        options={"finetune": {"native": True, "epochs": 1, "batch": 2, "views": "child_view_random"}},
    )  # fmt: skip
    encoder = tiny().products().encoders["video"]
    first, again = (evaluate({"trained": encoder}, labelled, settings) for _ in range(2))
    (row,) = [row for row in first.rows if (row.metric, row.level) == ("top1", "video") and row.arm == "trained"]
    assert (row.card["views"], row.n_train) == ("child_view_random", len(set(known.column("label"))))
    assert [one.value for one in first.rows] == [one.value for one in again.rows]


def _so_far(names):
    return [(names[:i], name) for i, name in enumerate(names)]


# Learning


def still_patches(count, generator):
    """Clips that stand still: 2 x 2 patches of 2 x 2 pixels each, of normal colours; as values 0 … 255 would be."""
    colours = torch.randn(count, 3, 1, 4, 4, generator=generator).repeat_interleave(2, 3).repeat_interleave(2, 4)
    return patchify(colours.expand(-1, -1, 4, -1, -1), (2, 4, 4)) * 0.225 * 255 + 0.45 * 255


def test_hidden_twins_set_a_floor_that_is_reached_and_not_passed():
    """A patch of a still clip is known when its twin in the other tubelet is seen: P(twin hidden) = 3 / 7."""
    sizes = {"width": 32, "depth": 1, "decoder_width": 32, "decoder_depth": 2, "patch": 4, "size": 8}
    method, generator = tiny(**sizes), torch.Generator().manual_seed(0)
    steps = 300
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-2, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)

    def batch(count, masking=None):
        found = masking or random_masking(torch.rand(count, 8, generator=generator), 0.5)
        return {"patches": still_patches(count, generator), "kept": found.kept, "hidden": found.hidden}

    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(method, batch(128)).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        assert 0.40 < float(loss_of(method, batch(2000))) < 0.46
        for rule in (temporal_masking, centre_masking):
            assert float(loss_of(method, batch(1000, rule(1000, 8, 0.5)))) < 0.01


def test_training_learns_and_shows_what_lies_between(tiny_videos, tmp_path):
    options = {f"options.{name}": value for name, value in {**TINY, "width": 32, "resize": [18, 24]}.items()}
    changes = {"optimiser.name": "adamw", "optimiser.lr": 3e-3, "epochs": 30, "batch": 2, "validation": 0.3}
    pretrain(tiny_recipe("child-view", **options, **changes, health=15.0), tiny_videos, tmp_path / "run", quiet=True)
    losses = [record["loss"] for record in journal(tmp_path / "run", "step")]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:3])
    first, *_, last = journal(tmp_path / "run", "validation")
    names = {f"interpolation_{name}" for name in ("network", "nearest", "blend", "mean")}
    assert set(last["parts"]) == names
    assert last["parts"]["interpolation_network"] < first["parts"]["interpolation_network"]
    assert last["parts"]["interpolation_blend"] == first["parts"]["interpolation_blend"] > 0
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "What lies between?" in page and "What it paints" in page and "What is hidden?" in page
    assert "interpolation_network" in page and f"{last['parts']['interpolation_network']:.4g}" in page


def test_pictures_show_the_first_clip_of_each_visit(tiny_videos):
    for options in ({}, {"target": "patch"}, {"target_frames": 2}):
        method = tiny(**options).eval()
        read = read_batch(method, method.index(tiny_videos), (0, 1, 2, 3), prepare=False)
        frames = len(method.shown)
        (asked,) = method.pictures(read)
        assert asked.frames.shape == (frames, 32, 3 * 16 + 8, 3)
        with torch.no_grad():
            painted, between = method.answers(read)
        assert (painted.frames.shape[1], between.frames.shape[1]) == (48, 96)
        draws = {name: read[name][1, :1] for name in ("box", "flip")}
        clip = method.augment.geometry(read["clips"][1:2, :, :4], draws)[0][:, list(method.shown)].permute(1, 2, 3, 0)
        shown = asked.frames[:, :16, 20:36]
        assert np.abs(shown.astype(int) - clip.numpy().astype(int)).max() <= 1
        # What is seen stands in every row.
        hidden = (between.frames[:, 16:32] == 115).all(-1)
        assert hidden[:, :, :16].mean() == pytest.approx(0.5, abs=0.01)
        same = np.abs(between.frames[:, 32:48].astype(int) - between.frames[:, :16].astype(int)).max(-1) <= 1
        assert (same | hidden)[:, :, :16].all()
    standard = tiny(target="patch").eval()
    assert standard.losses(prepared(standard), standard.phases[0])["parts"] == {}
