"""CropMAE and SiamMAE: published sizes and formulas, who may look at whom, samples, pictures, and that they learn."""

import numpy as np
import pytest
import torch

from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.data.scan import scan
from kinema.errors import DataError, RecipeError
from kinema.losses.reconstruction import masked_error
from kinema.methods.cropmae import CropMAE, SiamMAE
from kinema.methods.masked import reconstruction_loss
from kinema.modules.transformer import patchify, space_table, unpatchify
from kinema.randomness import numpy_generator
from kinema.targets.masking import random_masking
from kinema.targets.patches import standardise
from kinema.training.estimate import estimate_memory
from kinema.training.loop import pretrain
from kinema.training.optimisers import build_optimiser
from kinema.training.recipe import load_recipe
from kinema.training.schedules import lr_factor
from tests.helpers import journal, moving_texture, read_batch, tiny_recipe, write_video

TINY = {"model": "tiny", "width": 24, "depth": 2, "heads": 3, "patch": 8}
TINY |= {"decoder_width": 8, "decoder_depth": 2, "decoder_heads": 2, "mask": 0.75, "size": 32, "resize": (36, 48)}


def tiny(cls=CropMAE, **options):
    torch.manual_seed(0)
    return cls(**{**TINY, **options})


def recipe_of(name, **overrides):
    options = {f"options.{key}": list(v) if isinstance(v, tuple) else v for key, v in TINY.items()}
    return tiny_recipe(name, **{**options, **overrides})


def formula_batch(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    views = {name: torch.randn(count, 3, 1, 32, 32, generator=generator) for name in ("reference", "target")}
    return {**views, "noise": torch.rand(count, 16, generator=generator)}


def loss_of(method, batch):
    return method.losses(batch, method.phases[0])["loss"]


# Published numbers


@pytest.mark.parametrize(
    ("options", "total", "tables"),
    [
        ({}, 28_327_808, 197 * (384 + 256)),
        ({"model": "base"}, 92_559_104, 197 * (768 + 256)),
    ],
)
def test_published_numbers_of_parameters(options, total, tables):
    """The released count has both fixed position tables in it, with a row of zeros for the class token."""
    with torch.device("meta"):
        method = CropMAE(**options)
    assert sum(parameter.numel() for parameter in method.parameters()) + tables == total
    if not options:
        assert tables == 126_080
        blocks = (method.network.trunk.blocks, method.network.decoder.blocks)
        assert [sum(p.numel() for p in part.parameters()) for part in blocks] == [21_293_568, 6_315_008]


def test_the_position_table_is_the_published_one():
    table = space_table(14, 14, 384).double()
    assert float(table.sum()) == pytest.approx(34713.82, abs=0.01)
    assert float(table.abs().sum()) == pytest.approx(42100.21, abs=0.01)
    quarters = table[1].view(4, 96)
    assert not quarters[2].any() and (quarters[3] == 1).all()
    assert float(quarters[0, 0]) == pytest.approx(np.sin(1.0))


def test_patches_begin_with_the_channels_of_their_first_pixel():
    channel, row, column = torch.meshgrid(torch.arange(3), torch.arange(32), torch.arange(32), indexing="ij")
    picture = (channel * 10_000 + row * 100 + column)[None, :, None].float()
    tokens = patchify(picture, (1, 16, 16))
    assert tokens[0, 0, :6].tolist() == [0, 10_000, 20_000, 1, 10_001, 20_001]
    assert tokens[0, 3, 0] == 1616
    assert torch.equal(unpatchify(tokens, (1, 2, 2), (1, 16, 16)), picture)


def test_as_many_patches_are_seen_as_published():
    noise = torch.rand(3, 196, generator=torch.Generator().manual_seed(0))
    for ratio, kept in ((0.5, 98), (0.75, 49), (0.9, 19), (0.95, 9), (0.98, 3), (0.985, 2), (0.99, 1)):
        masking = random_masking(noise, ratio)
        assert masking.mask.sum(1).tolist() == [196 - kept] * 3
        everything = torch.cat([masking.kept, masking.hidden], 1).sort(1).values
        assert torch.equal(everything, torch.arange(196).expand(3, -1))
        assert torch.equal(masking.kept.sort(1).values, noise.argsort(1)[:, :kept].sort(1).values)
    with pytest.raises(RecipeError, match="0 of 16 tokens visible"):
        tiny(mask=0.985)


def test_learning_rates_are_as_published():
    for name in ("cropmae", "siammae"):
        recipe = load_recipe(name, "paper")
        assert recipe.optimiser.lr == 1e-4 * 2048 / 256 and recipe.batch == 2048
        for epoch, rate in ((10, 4e-4), (20, 8e-4), (100, 7.1566e-4), (210, 4e-4)):
            factor = lr_factor(recipe.schedule, epoch * 1000, 1000, 400_000)
            assert recipe.optimiser.lr * factor == pytest.approx(rate, rel=2e-4)


def test_the_recipes_are_the_published_settings():
    crop, siam = (load_recipe(name, "paper").build() for name in ("cropmae", "siammae"))
    assert (crop.mask, siam.mask, crop.tokens) == (0.985, 0.95, 196)
    assert (crop.pair.strategy, crop.pair.whole.scale, crop.pair.part.scale) == (
        "global-to-local",
        (0.1, 1.0),
        (0.3, 0.6),
    )
    assert (siam.pair.crop.scale, siam.gap, siam.repeats) == ((0.5, 1.0), (4, 48), 1)
    assert {rule.rule for rule in (crop.pair.whole, crop.pair.part, siam.pair.crop)} == {"rejection"}
    assert {rule.rule for rule in (tiny(crop="single").pair.whole, tiny(crop="single").pair.part)} == {"single"}
    assert tiny(SiamMAE, crop="single").pair.crop.rule == "single"


# Loss


def test_only_hidden_patches_of_the_target_count():
    method, batch = tiny().eval(), formula_batch()
    masking = random_masking(batch["noise"], 0.75)
    patches = method.patches(batch["target"])
    predicted = method.network(method.patches(batch["reference"]), patches, masking)
    everywhere = torch.randn(4, 16, 192).scatter(1, masking.hidden[..., None].expand(-1, -1, 192), predicted)
    expected = masked_error(everywhere, standardise(patches), masking.mask)
    torch.testing.assert_close(loss_of(method, batch), expected)
    disturbed = everywhere.scatter_add(1, masking.kept[..., None].expand(-1, -1, 192), torch.ones(4, 4, 192))
    torch.testing.assert_close(masked_error(disturbed, standardise(patches), masking.mask), expected)


def test_standardised_patches_know_neither_brightness_nor_contrast():
    patches = torch.randn(2, 16, 768)
    torch.testing.assert_close(standardise(3 * patches + 5), standardise(patches), rtol=1e-4, atol=1e-4)
    masking = random_masking(torch.rand(2, 16), 0.75)
    zeros = torch.zeros(2, 12, 768)
    assert float(reconstruction_loss(zeros, patches, masking)) == pytest.approx(767 / 768, abs=1e-5)
    raw = tiny(target="none")
    batch = formula_batch()
    brighter = {**batch, "target": batch["target"] + 5.0}
    predicted = torch.zeros(4, 12, 192)
    masking = random_masking(batch["noise"], 0.75)
    losses = [
        reconstruction_loss(predicted, raw.patches(b["target"]), masking, raw.standard) for b in (batch, brighter)
    ]
    assert losses[1] > losses[0] + 20


# Who looks at whom


def test_without_cross_attention_the_reference_counts_for_nothing_and_with_it_views_differ():
    method, batch = tiny().eval(), formula_batch()
    other = {**batch, "reference": batch["reference"].flip(0)}
    swapped = {**batch, "reference": batch["target"], "target": batch["reference"]}
    assert (loss_of(method, batch) - loss_of(method, other)).abs() > 1e-6
    assert (loss_of(method, batch) - loss_of(method, swapped)).abs() > 1e-5
    with torch.no_grad():
        for block in method.network.decoder.blocks:
            block.cross_attn.proj.weight.zero_()
    assert torch.equal(loss_of(method, batch), loss_of(method, other))


def test_the_order_of_reference_tokens_is_lost_and_that_of_target_tokens_is_not():
    method, batch = tiny().eval(), formula_batch()
    trunk, decoder = method.network.trunk, method.network.decoder
    masking = random_masking(batch["noise"], 0.75)
    whole = trunk.forward_patches(method.patches(batch["reference"]))
    seen = trunk.forward_patches(method.patches(batch["target"]), masking.kept)
    before = decoder(seen, whole, masking.kept, masking.hidden)
    shuffled = decoder(seen, whole[:, torch.randperm(17)], masking.kept, masking.hidden)
    torch.testing.assert_close(shuffled, before, rtol=1e-4, atol=1e-5)
    moved = decoder(torch.cat([seen[:, :1], seen[:, 1:].flip(1)], 1), whole, masking.kept, masking.hidden)
    assert (moved - before).abs().max() > 1e-4


def test_hidden_pixels_of_the_target_are_not_seen():
    method, batch = tiny().eval(), formula_batch()
    masking = random_masking(batch["noise"], 0.75)
    patches = method.patches(batch["target"])
    changed = patches.scatter(1, masking.hidden[..., None].expand(-1, -1, 192), 7.0)
    reference = method.patches(batch["reference"])
    torch.testing.assert_close(method.network(reference, changed, masking), method.network(reference, patches, masking))


def test_only_training_is_random_and_gradients_reach_both_views():
    method, batch = tiny(), formula_batch()
    assert not torch.equal(loss_of(method, batch), loss_of(method, batch))
    method.eval()
    assert torch.equal(loss_of(method, batch), loss_of(method, batch))
    views = [method.patches(batch[name]).requires_grad_() for name in ("reference", "target")]
    masking = random_masking(batch["noise"], 0.75)
    method.network(*views, masking).square().mean().backward()
    reached = [view.grad.abs().sum(-1) > 0 for view in views]
    assert reached[0].all() and torch.equal(reached[1], ~masking.mask)


def test_vectors_do_not_decay_but_class_and_mask_tokens_do():
    method = tiny()
    optimiser = build_optimiser(method, method.phases[0], load_recipe("cropmae", "paper").optimiser)
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in method.named_parameters():
        assert decay[id(parameter)] == (0.0 if name.endswith("bias") or "norm" in name else 0.05), name


# Samples


def test_a_sample_is_one_frame_or_as_many_pairs_as_asked_for(tiny_videos):
    crop, siam = tiny(), tiny(SiamMAE, repeats=3)
    assert len(crop.index(tiny_videos)) == len(siam.index(tiny_videos)) == 6
    assert len(tiny(window=10).index(tiny_videos)) == 24 and len(tiny(SiamMAE, window=20).index(tiny_videos)) == 12
    index, seen, gaps = siam.index(tiny_videos), set(), set()
    for key in range(60):
        clock = Clock(0, 3, 0.0)
        plan = crop.plan(1, index, clock, numpy_generator(key))
        seen.update(plan.reads["frames"].indices.tolist())
        assert plan.reads["frames"].size == (36, 48) and plan.draws["noise"].shape == (1, 16)
        pairs = siam.plan(1, index, clock, numpy_generator(key))
        frames = pairs.reads["frames"].indices.reshape(3, 2)
        gaps.update((frames[:, 1] - frames[:, 0]).tolist())
        assert pairs.draws["whole"].shape == (3, 4) and len(np.unique(pairs.draws["noise"])) == 48
    assert seen <= set(range(40)) and len(seen) > 25 and gaps <= set(range(4, 40)) and len(gaps) > 20


def test_a_batch_holds_all_pairs(tiny_videos):
    recipe = recipe_of("siammae", **{"options.repeats": 3, "options.flip": 0.0, "options.scale": [1.0, 1.0]})
    method = recipe.build()
    batch = read_batch(method, method.index(tiny_videos), prepare=False)
    prepared = method.prepare(batch, torch.Generator())
    count = len(batch["frames"])
    assert prepared["reference"].shape == prepared["target"].shape == (3 * count, 3, 1, 32, 32)
    assert prepared["noise"].shape == (3 * count, 16)
    # Pair r of a sample is its frames 2 r and 2 r + 1, and so are its box and its noise.
    for number in range(3 * count):
        sample, pair = divmod(number, 3)
        alone = {
            name: value[sample : sample + 1, pair : pair + 1]
            for name, value in batch.items()
            if name in ("whole", "flips", "noise")
        }
        alone["frames"] = batch["frames"][sample : sample + 1, :, 2 * pair : 2 * pair + 2]
        one = tiny(SiamMAE, flip=0.0, scale=(1.0, 1.0)).prepare(alone, torch.Generator())
        assert all(torch.equal(one[name][0], prepared[name][number]) for name in one)


def test_videos_of_one_frame_have_no_pair(tmp_path):
    write_video(tmp_path / "still.mp4", moving_texture(0, (0, 2), frames=1))
    with pytest.raises(DataError, match="no video has the 2 frames"):
        tiny(SiamMAE).index(scan(tmp_path, workers=1).manifest)
    write_video(tmp_path / "moving.mp4", moving_texture(1, (0, 2), frames=5))
    manifest = scan(tmp_path, workers=1).manifest
    index = tiny(SiamMAE).index(manifest)
    assert (len(index), index.short) == (1, 1) and len(tiny().index(manifest)) == 2


@pytest.mark.parametrize("options", [{"repeats": 0}, {"gap": (5, 5)}, {"gap": (0, 3)}, {"flip": 1.5}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(RecipeError, match=f"{next(iter(options))}="):
        tiny(SiamMAE, **options)


# Products


def test_the_encoder_is_of_images_of_any_size():
    encoder = tiny().products().encoders["image"].eval()
    assert encoder.input.modality == "image" and encoder.input.frames == 1
    assert (encoder.input.resize, encoder.input.size) == ((32, 43), (32, 32))
    for size, grid in (((32, 32), (4, 4)), ((48, 88), (6, 11)), ((88, 48), (11, 6))):
        pictures = torch.randn(2, 3, *size)
        features = encoder(pictures)
        assert features.pooled.shape == (2, 24) and features.map.shape == (2, 24, 1, *grid)
        torch.testing.assert_close(features.pooled, features.map.mean((2, 3, 4)))
        torch.testing.assert_close(encoder(pictures.unsqueeze(2)).map, features.map)
    # Token (row, column) of the map is that patch of the picture: what happens there changes it most.
    changed = pictures.clone()
    changed[:, :, 40:48, 16:24] += 10.0
    moved = (encoder(changed).map - features.map).norm(dim=1)[0, 0]
    assert divmod(int(moved.argmax()), 6) == (5, 2)


def test_the_memory_of_an_image_encoder_is_estimated():
    recipe = recipe_of("cropmae", batch=4)
    method = recipe.build()
    found = estimate_memory(method, recipe)
    # At the least what goes into the blocks: 17 tokens of 24 values, for 4 pictures, at 4 bytes.
    assert found.weights > 4 * sum(p.numel() for p in method.parameters()) and found.activations > 4 * 4 * 17 * 24


def test_pictures_show_what_is_asked_and_what_is_answered(tiny_videos):
    for name in ("cropmae", "siammae"):
        recipe = recipe_of(name, **{"options.target": "patch"})
        method = recipe.build().eval()
        batch = read_batch(method, method.index(tiny_videos), prepare=False)
        asked, answered = method.pictures(batch), method.answers(batch)
        assert len(asked) == len(answered) == min(4, len(batch["frames"]))
        question, answer = asked[0].frames[0].astype(int), answered[0].frames[0].astype(int)
        assert question.shape == (32, 3 * 36 - 4, 3) and answer.shape == (32, 4 * 36 - 4, 3)
        reference, masked, completed, whole = (answer[:, 36 * k : 36 * k + 32] for k in range(4))
        np.testing.assert_array_equal(np.concatenate([reference, masked, whole], 1).shape, (32, 96, 3))
        for k, panel in enumerate((reference, masked, whole)):
            np.testing.assert_array_equal(panel, question[:, 36 * k : 36 * k + 32])
        hidden = (masked == 127).all(-1)
        assert hidden.mean() == pytest.approx(0.75, abs=0.03)
        np.testing.assert_array_equal(masked[~hidden], whole[~hidden])
        np.testing.assert_array_equal(completed[~hidden], whole[~hidden])
        # Each completed patch has the true one's mean: an untrained network is close in brightness already.
        blocks = [panel.reshape(4, 8, 4, 8, 3).mean((1, 3, 4)) for panel in (completed, whole)]
        assert np.abs(blocks[0] - blocks[1]).mean() < 12 and np.abs(completed - whole).mean() > 1
        assert "mean and the contrast" in answered[0].caption


def test_a_perfect_answer_is_shown_as_the_target(tiny_videos):
    for targets in ("patch", "none"):
        recipe = recipe_of("cropmae", **{"options.target": targets})
        method = recipe.build().eval()
        batch = read_batch(method, method.index(tiny_videos), prepare=False)
        target = method.patches(method.prepare(batch, torch.Generator())["target"])
        pixels = method._as_pixels(standardise(target, targets), target)
        expected = method.patches(method.views(batch).target)
        assert (pixels.int() - expected.int()).abs().max() <= 1


# Learning


def coloured(count, generator):
    """4 x 4 patches of one colour each, every channel N(0, 1)."""
    colours = torch.randn(count, 3, 1, 4, 4, generator=generator)
    return colours.repeat_interleave(8, -1).repeat_interleave(8, -2)


@pytest.mark.parametrize("told", [True, False])
def test_colours_are_learned_from_the_reference_alone(told):
    """With the same picture as reference the loss falls far; with noise it stays at the colours' variance."""
    torch.manual_seed(0)
    options = {"width": 48, "depth": 1, "decoder_width": 48, "decoder_depth": 1, "decoder_hidden": 96, "dropout": 0.0}
    method = tiny(**options, target="none")
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(method.parameters(), lr=2e-3)
    losses = []
    for _ in range(250 if told else 60):
        target = coloured(32, generator)
        reference = target if told else coloured(32, generator)
        loss = loss_of(
            method, {"reference": reference, "target": target, "noise": torch.rand(32, 16, generator=generator)}
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.2
    assert np.mean(losses[-10:]) < 0.2 if told else 0.9 < np.mean(losses[-10:]) < 1.1


@pytest.mark.parametrize("name", ["cropmae", "siammae"])
def test_a_run_learns_and_yields_its_encoder(name, tiny_videos, tmp_path):
    overrides = {"epochs": 24, "batch": 6, "optimiser.name": "adamw", "optimiser.lr": 5e-3, "options.dropout": 0.0}
    overrides |= {"options.mask": 0.5, "options.scale": [0.8, 1.0], "options.flip": 0.0, "options.window": None}
    if name == "siammae":
        overrides |= {"options.gap": [1, 3], "options.repeats": 4}
    run = pretrain(recipe_of(name, **overrides), tiny_videos, tmp_path / "run", quiet=True)
    losses = [record["loss"] for record in journal(tmp_path / "run", "step")]
    # 191 / 192 is the error of predicting nothing.
    assert losses[0] > 1.0 and np.mean(losses[-5:]) < 0.975
    assert journal(tmp_path / "run", "health")[-1]["dimension"] == 24
    assert run.encoder() is run.encoder("image") or run.encoder().input == run.encoder("image").input
    assert run.encoder()(torch.randn(1, 3, 32, 32)).pooled.shape == (1, 24)
    assert (tmp_path / "run" / "answers.json").is_file()
    assert isinstance(run.manifest, Manifest)


def test_a_plain_folder_of_images_is_scanned_and_trained_on(tmp_path):
    """Every image has its own size; what cannot be read is set aside."""
    from PIL import Image

    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        picture = rng.integers(0, 256, (40 + 7 * number, 60, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "photos" / f"photo{number}.{'jpg' if number % 2 else 'png'}")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"nothing")
    report = scan(tmp_path / "photos", workers=1)
    assert report.layout == "images" and [path for path, _ in report.quarantined] == ["broken.jpg"]
    assert not report.duplicates and not report.near_duplicates
    run = pretrain(recipe_of("cropmae", epochs=2, batch=4), report.manifest, tmp_path / "run", quiet=True)
    assert run.step == 2 and journal(tmp_path / "run", "start")[0]["samples"] == 4
    with pytest.raises(DataError, match="no video has the 2 frames"):
        tiny(SiamMAE).index(report.manifest)
