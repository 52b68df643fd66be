"""Fine-tuning of transformers as VideoMAE does it: a LayerNorm behind the mean, repeated augmentation, dense clips."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.backbones.vit import VisionTransformer
from kinema.data.index import per_row
from kinema.data.sample import Clock, collate
from kinema.errors import RecipeError
from kinema.evaluation.attentive import AttentiveHead, heads_of
from kinema.evaluation.classifier import Classifier
from kinema.evaluation.finetune_clips import LabelledClips, dense_window
from kinema.evaluation.finetune_presets import FINETUNE_PRESETS
from kinema.methods.base import parameter_names
from kinema.methods.encoders import ViTEncoder
from kinema.modules.encoder import EncoderInput, as_tokens
from kinema.randomness import numpy_generator

INPUT = EncoderInput(frames=4, stride=2, resize=(24, 32), size=(16, 16))
VIDEOMAE = FINETUNE_PRESETS["videomae"]
PRESET = replace(VIDEOMAE, native=True)


def encoder(depth=2):
    torch.manual_seed(0)
    trunk = VisionTransformer((4, 16, 16), (2, 8, 8), width=12, depth=depth, heads=3)
    with torch.no_grad():
        trunk.norm.weight.fill_(3.0)
    return ViTEncoder(trunk, INPUT)


def test_a_new_layer_norm_stands_behind_the_mean_of_tokens_that_are_not_normed():
    net, clips = encoder(), torch.randn(2, 3, 4, 16, 16)
    classifier = Classifier(net, 5, PRESET).eval()
    tokens = net.trunk.forward_blocks(clips)[-1]
    pooled = torch.nn.functional.layer_norm(tokens.mean(1), (12,), eps=1e-6)
    torch.testing.assert_close(classifier(clips), classifier.head(pooled))
    # The encoder that was given keeps what it has learned.
    assert net.pool == "mean" and net.trunk.norm.weight.unique().tolist() == [3.0]


def test_a_network_that_had_its_norm_there_keeps_it():
    net = encoder()
    net.pool = "late"
    assert Classifier(net, 5, PRESET).encoder.trunk.norm.weight.unique().tolist() == [3.0]


def test_the_head_starts_small_and_branches_are_left_out_deeper_in_the_network():
    classifier = Classifier(encoder(depth=3), 400, PRESET)
    linear = classifier.head[-1]
    assert linear.weight.std().item() == pytest.approx(0.02 * 0.001, rel=0.1) and not linear.bias.any()
    rates = [block.drop_path.probability for block in classifier.encoder.trunk.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])
    clips = torch.randn(1, 3, 4, 16, 16)
    pooled = {classifier.train().encoder(clips).pooled[0, 0].item() for _ in range(30)}
    assert len(pooled) > 2 and len({classifier.eval().encoder(clips).pooled[0, 0].item() for _ in range(3)}) == 1


def test_layers_learn_the_slower_the_deeper_they_lie():
    """Layer 0 is the patch embedding, i + 1 block i, 13 everything else: 0.75^(13 - layer)."""
    classifier = Classifier(encoder(depth=12), 5, replace(PRESET, layer_decay=0.75))
    named = dict(classifier.named_parameters())
    groups = {
        name: classifier.param_group(name, named[name]) for name in parameter_names(classifier, classifier.phases[0])
    }
    trunk = "encoder.trunk."
    wanted = {
        "patch_embed.proj.weight": 13,
        "blocks.0.attn.qkv.weight": 12,
        "blocks.11.mlp.fc2.weight": 1,
        "norm.weight": 0,
    }
    for name, depth in wanted.items():
        assert groups[trunk + name].lr == pytest.approx(0.75**depth)
    assert round(0.75**13, 4) == 0.0238 and round(0.75**12, 4) == 0.0317
    assert groups["head.2.weight"].lr == groups["head.2.bias"].lr == 1
    free = {name for name, group in groups.items() if not group.weight_decay}
    assert free == {name for name in groups if named[name].ndim == 1}
    assert f"{trunk}blocks.3.attn.q_bias" in free


def test_the_published_settings():
    assert (VIDEOMAE.repeats, VIDEOMAE.drop_path, VIDEOMAE.dropout, VIDEOMAE.layer_decay) == (2, 0.2, 0.5, 0.7)
    assert (VIDEOMAE.pool, VIDEOMAE.spread, VIDEOMAE.schedule.rise) == ("late", "videomae", "zero")
    with pytest.raises(RecipeError, match="repeats=0"):
        replace(VIDEOMAE, repeats=0)


def test_repeated_augmentation_reads_once_and_shows_every_copy_in_its_own_way(colours):
    preset = replace(PRESET, repeats=3, rand_augment="", mixup=0.0, cutmix=0.0, erasing=0.0)
    planner = LabelledClips(INPUT, np.arange(21) % 3, preset)
    plans = [planner.plan(row, per_row(colours), Clock(0, 0, 0.0), numpy_generator(row)) for row in (4, 5)]
    assert all(list(plan.reads) == ["clip"] for plan in plans)
    clip = torch.randint(0, 256, (2, 3, 4, 24, 32), dtype=torch.uint8)
    batch = {"clip": clip, **collate([plan.draws for plan in plans]), "sample": torch.tensor([4, 5])}
    ready = planner.prepare(batch, torch.Generator())
    assert ready["clip"].shape == (6, 3, 4, 16, 16)
    assert ready["label"].tolist() == [1, 1, 1, 2, 2, 2] and ready["sample"].tolist() == [4, 5]
    # Each copy is what a single one with the same numbers would be.
    once = LabelledClips(INPUT, planner.labels, replace(preset, repeats=1))
    for copy in range(3):
        single = {"clip": clip, "label": batch["label"], **{name: batch[name][:, copy] for name in ("box", "flip")}}
        assert torch.equal(once.prepare(single, torch.Generator())["clip"], ready["clip"][copy::3])
    assert len({tuple(box) for box in ready["box"].tolist()}) == 6


def test_a_batch_counts_every_copy(colours):
    planner = LabelledClips(INPUT, np.arange(21) % 3, PRESET)
    plan = planner.plan(0, per_row(colours), Clock(0, 0, 0.0), numpy_generator(0))
    clip = torch.randint(0, 256, (1, 3, 4, 24, 32), dtype=torch.uint8)
    ready = planner.prepare({"clip": clip, **collate([plan.draws])}, torch.Generator())
    classifier = Classifier(encoder(), 3, PRESET)
    loss = classifier.losses(ready, classifier.phases[0])["loss"]
    assert len(ready["clip"]) == PRESET.repeats == 2 and loss.isfinite()
    loss.backward()
    assert all(p.grad is not None for p in classifier.parameters())


def test_dense_windows():
    """Sixteen frames out of 64, the last step cut by one; short videos are stretched, and their last frame repeated."""
    rng = numpy_generator("dense")
    starts = set()
    for _ in range(400):
        found = dense_window(rng, 16, 4, 68)
        assert found[-1] - found[0] == 63 and found[0] + 63 <= 67 - 1
        assert np.array_equal(found - found[0], np.minimum(np.linspace(0, 64, 16), 63).astype(int))
        starts.add(int(found[0]))
    assert starts == {0, 1, 2, 3}
    short = dense_window(rng, 16, 4, 40)
    assert short.tolist() == [0, 4, 8, 13, 17, 22, 26, 31, 35, 39] + [39] * 6
    assert dense_window(rng, 16, 4, 3).tolist() == [2] * 16
    planner = LabelledClips(replace(INPUT, frames=16, stride=4), np.arange(21) % 3, PRESET)
    assert planner._positions(rng, 40).tolist() == short.tolist()


def test_the_attentive_probe_asks_the_tokens_of_a_transformer_with_its_own_heads():
    net = encoder()
    features = net(torch.randn(2, 3, 4, 16, 16))
    tokens = as_tokens(features.map)
    assert heads_of(net) == 3 and tokens.shape == (2, 8, 12)
    torch.testing.assert_close(tokens.mean(1), features.pooled)
    assert AttentiveHead(12, 5, heads=heads_of(net))(tokens).shape == (2, 5)
