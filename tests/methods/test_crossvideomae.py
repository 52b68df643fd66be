"""CrossVideoMAE: contrast in closed form, masks, who gets which gradient, and that clips find their own frames."""

import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kinema.backbones import VisionTransformer
from kinema.data.sample import Clock
from kinema.errors import RecipeError
from kinema.losses import nt_xent as contrast
from kinema.losses.reconstruction import masked_error
from kinema.methods.base import Phase
from kinema.methods.crossvideomae import CrossVideoMAE
from kinema.methods.masked import Reconstruction, reconstruction_loss
from kinema.modules.transformer import patchify, take
from kinema.randomness import numpy_generator
from kinema.targets import random_masking, standardise
from kinema.views.colour import normalise
from tests.helpers import read_batch

TINY = {"width": 32, "depth": 2, "heads": 4, "decoder_width": 16, "decoder_heads": 2, "decoder_depth": 1}
TINY |= {"image_decoder_depth": 1, "dim": 16, "patch": 8, "mask": 0.75, "image_mask": 0.5}
TINY |= {"frames": 4, "stride": 1, "size": 32, "resize": (32, 40)}
TOKENS, PATCHES = 32, 16


def tiny(**options):
    torch.manual_seed(0)
    return CrossVideoMAE(**{**TINY, **options})


def formula_batch(count=4, sampled=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.rand(count, 2, 3, 4, 32, 32, generator=generator)
    return {
        "clips": clips,
        "frames": clips[:, :, :, :1].transpose(2, 3).expand(-1, -1, sampled, -1, -1, -1),
        "noise": torch.rand(count, 2, TOKENS, generator=generator),
        "frame_noise": torch.rand(count, 2, sampled, PATCHES, generator=generator),
        "group": torch.arange(count),
    }


def losses(method, batch):
    return method.losses(batch, Phase())


def embedded(method, batch):
    return method._clips(batch).embedded, method._frames(batch).embedded


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


# Contrast


def nt_xent(first, second, **options):
    return contrast(first, second, **options).loss


def test_contrast_in_closed_form():
    same = torch.eye(4, dtype=torch.float64)
    assert nt_xent(same, same).item() == pytest.approx(math.log(1 + 6 * math.exp(-10)), rel=1e-4)
    assert nt_xent(torch.ones(8, 5), torch.ones(8, 5)) == pytest.approx(math.log(15), abs=1e-5)
    assert nt_xent(torch.randn(1, 5), torch.randn(1, 5)) == 0


def test_contrast_is_symmetric_and_sees_directions_only():
    first, second = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    loss, order = nt_xent(first, second), torch.tensor([3, 1, 5, 0, 2, 4])
    scales = torch.rand(6, 1) + 0.1
    for same in (nt_xent(second, first), nt_xent(first * scales, second), nt_xent(first[order], second[order])):
        torch.testing.assert_close(same, loss)
    assert nt_xent(first, first[order]) > nt_xent(first, first) + 1


def test_clips_of_one_video_are_no_negatives_of_each_other():
    first, second = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([0, 1, 0, 2])
    found = nt_xent(first, second, groups=groups)
    rows = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    scores, video = rows @ rows.T / 0.1, torch.cat([groups, groups])
    terms = []
    for i in range(8):
        positive = (i + 4) % 8
        others = [j for j in range(8) if j == positive or video[j] != video[i]]
        terms.append(scores[i, others].logsumexp(0) - scores[i, positive])
    torch.testing.assert_close(found, torch.stack(terms).mean())
    # Positives instead: the mean over all that show the same video.
    terms = []
    for i in range(8):
        others = [j for j in range(8) if j != i]
        right = [j for j in others if video[j] == video[i]]
        terms.append((scores[i, others].logsumexp(0) - scores[i, right]).mean())
    torch.testing.assert_close(nt_xent(first, second, groups=groups, same="positive"), torch.stack(terms).mean())


def test_two_processes_with_gathering_equal_one():
    first, second = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([0, 1, 0, 2, 1, 3])
    halves = [slice(0, 3), slice(3, 6)]
    joined = [nt_xent(first[s], second[s], joined=(first, second), place=s.start, groups=groups) for s in halves]
    whole = nt_xent(first, second, groups=groups)
    torch.testing.assert_close(torch.stack(joined).mean(), whole)
    apart = torch.stack([nt_xent(first[s], second[s]) for s in halves]).mean()
    assert abs(apart - whole) > 0.05


# The step


def test_without_contrast_it_is_two_masked_autoencoders():
    method, batch = tiny(intra=0.0, cross=0.0), formula_batch()
    together = gradients(method, losses(method, batch)["loss"])
    total = 0.0
    for part, pixels, noise, ratio, moments in (
        (method.video, batch["clips"], batch["noise"], 0.75, ((0.45,) * 3, (0.225,) * 3)),
        (
            method.image,
            batch["frames"].transpose(2, 3),
            batch["frame_noise"].flatten(2),
            0.5,
            ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ),
    ):
        for view in (0, 1):
            patches = patchify(normalise(pixels[:, view], *moments), part.trunk.patch)
            masking = random_masking(noise[:, view], ratio)
            total = total + reconstruction_loss(part(patches, masking).predicted, patches, masking) / 2
    apart = gradients(method, total)
    assert together.keys() == apart.keys() and not any("head" in name.split(".")[0] for name in together)
    for name, grad in apart.items():
        torch.testing.assert_close(together[name], grad, atol=1e-6, rtol=1e-4)


def test_the_contrast_across_teaches_the_video_encoder_and_no_decoder():
    method, batch = tiny(), formula_batch()
    for pairing in ("averaged", "pairwise", "raw_frame"):
        method.pairing = pairing
        found = gradients(method, losses(method, batch)["parts"]["cross"])
        assert any(name.startswith("video.trunk.blocks.0") for name in found)
        assert any(name.startswith("image.trunk.blocks.0") for name in found)
        assert not any("decoder" in name for name in found)


def test_a_frozen_image_branch_learns_nothing_but_its_head():
    method, batch = tiny(freeze_image_encoder=True).train(), formula_batch()
    assert not method.image.training and method.video.training
    found = losses(method, batch)
    assert found["parts"]["image"] == 0
    names = gradients(method, found["loss"])
    assert not any(name.startswith("image.") for name in names)
    assert any(name.startswith("image_head.") for name in names)


def test_hidden_pixels_do_not_reach_the_embedding_but_the_loss():
    method, batch = tiny().eval(), formula_batch()
    (before, _), _ = embedded(method, batch)
    loss = losses(method, batch)["parts"]["video"]
    hidden = int(random_masking(batch["noise"][:1, 0], 0.75).hidden[0, 0])
    row, column = divmod(hidden % 16, 4)
    part = batch["clips"][0, 0, :, 2 * (hidden // 16) :][:, :2, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    part.copy_(torch.rand(part.shape))
    (after, _), _ = embedded(method, batch)
    torch.testing.assert_close(after, before)
    assert losses(method, batch)["parts"]["video"] != loss


def test_equal_views_with_equal_masks_have_equal_embeddings():
    method, batch = tiny().eval(), formula_batch()
    batch["clips"] = batch["clips"][:, :1].expand(-1, 2, -1, -1, -1, -1)
    batch["noise"] = batch["noise"][:, :1].expand(-1, 2, -1)
    (first, second), _ = embedded(method, batch)
    torch.testing.assert_close(first, second)
    similarity = torch.nn.functional.cosine_similarity(first, second) / method.temperature
    torch.testing.assert_close(similarity, torch.full((4,), 10.0))


def test_three_equal_frames_with_equal_masks_are_one():
    method, one = tiny().eval(), formula_batch()
    three = {**one, "frames": one["frames"].expand(-1, -1, 3, -1, -1, -1)}
    three["frame_noise"] = one["frame_noise"].expand(-1, -1, 3, -1)
    _, expected = embedded(method, one)
    method.sampled = 3
    _, found = embedded(method, three)
    torch.testing.assert_close(found, expected)


def test_the_three_pairings_and_two_averages_differ():
    batch, values = formula_batch(), {}
    for pairing in ("averaged", "pairwise", "raw_frame"):
        for average in ("raw", "unit"):
            method = tiny(pairing=pairing, average=average).eval()
            values[pairing, average] = float(losses(method, batch)["parts"]["cross"].detach())
    assert values.pop(("pairwise", "unit")) == values["pairwise", "raw"]
    assert len({round(value, 5) for value in values.values()}) == 5


def test_one_clip_has_no_negatives_and_does_not_fail():
    found = losses(tiny(head_norm="layer"), formula_batch(1))
    assert [float(found["parts"][name].detach()) for name in ("clips", "frames", "cross")] == [0, 0, 0]


def test_errors_of_hidden_patches_alone_count():
    predicted, truth = torch.tensor([[[1.0] * 4, [3.0] * 4]]), torch.zeros(1, 2, 4)
    assert masked_error(predicted, truth, torch.tensor([[0, 1]])) == 9


# Samples


def test_keep_counts_are_the_published_ones():
    for tokens, ratio, kept in ((1568, 0.95, 78), (1568, 0.9, 156), (196, 0.9, 19), (196, 0.75, 49)):
        assert random_masking(torch.rand(1, tokens), ratio).kept.shape == (1, kept)


def test_frames_are_those_of_the_clip_and_views_keep_still_clips_still(tiny_videos):
    method = tiny(sampled=2)
    index = method.index(tiny_videos)
    raw = read_batch(method, index, prepare=False)
    raw["video"] = raw["video"][:, :, :1].expand_as(raw["video"]).contiguous()
    still = method.prepare(dict(raw), torch.Generator())["clips"]
    torch.testing.assert_close(still, still[:, :, :, :1].expand_as(still), rtol=0, atol=1e-5)
    batch = read_batch(method, index)
    times = read_batch(method, index, prepare=False)["times"]
    assert (times[:, 0] < times[:, 1]).all()
    for sample in range(len(times)):
        for view in (0, 1):
            expected = batch["clips"][sample, view][:, times[sample]].transpose(0, 1)
            assert torch.equal(batch["frames"][sample, view], expected)
    assert (batch["clips"][:, 0] - batch["clips"][:, 1]).abs().mean() > 0.02


def test_masks_are_drawn_apart(tiny_videos):
    method = tiny(sampled=2)
    index = method.index(tiny_videos)
    draws = method.plan(0, index, Clock(0, 0, 0.0), numpy_generator(3)).draws
    again = method.plan(0, index, Clock(0, 0, 0.0), numpy_generator(3)).draws
    noise = [*draws["noise"], *draws["frame_noise"].reshape(4, -1)]
    assert len({row.tobytes() for row in noise}) == len(noise)
    assert np.array_equal(draws["noise"], again["noise"])
    other = method.plan(1, index, Clock(0, 0, 0.0), numpy_generator(3)).draws
    assert draws["group"] != other["group"] and draws["group"] == again["group"]


def test_windows_of_one_video_share_its_group(tiny_videos):
    method = tiny(window=20)
    index = method.index(tiny_videos)
    assert len(index) == 2 * len(tiny_videos)
    groups = [int(method.plan(i, index, Clock(0, 0, 0.0), numpy_generator(i)).draws["group"]) for i in range(4)]
    assert groups[0] == groups[1] != groups[2] == groups[3]


def test_fewer_frames_may_be_predicted():
    method = CrossVideoMAE(**{**TINY, "frames": 16, "target_frames": 8})
    assert method.shown == (0, 2, 4, 6, 8, 10, 12, 15)
    assert method.video.decoder.head.out_features == 8 * 8 * 3
    batch = formula_batch(2)
    batch["clips"] = batch["clips"].repeat(1, 1, 1, 4, 1, 1)
    batch["noise"] = batch["noise"].repeat(1, 1, 4)
    assert losses(method, batch)["loss"].isfinite()
    with pytest.raises(RecipeError, match="target_frames=3"):
        tiny(target_frames=3)


def test_masks_that_hide_everything_are_refused_at_once():
    for options in ({"mask": 0.99}, {"image_mask": 0.95}):
        with pytest.raises(RecipeError, match="a mask leaves 0 of"):
            tiny(**options)


# Weights to begin with


def shaken(**options):
    torch.manual_seed(1)
    trunk = VisionTransformer(width=32, depth=2, heads=4, class_token=True, bias="all", **options).eval()
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return trunk


def mae_st_file(path, trunk):
    """As MAE-ST's scripts write it, with a part of its decoder."""
    names = {"positions.spatial": "pos_embed_spatial", "positions.temporal": "pos_embed_temporal"}
    names["cls_position"] = "pos_embed_class"
    state = {names.get(name, name): value for name, value in trunk.state_dict().items()}
    torch.save({"model_state": {**state, "decoder_embed.weight": torch.zeros(4, 32)}}, path)
    return path


def vit_mae_folder(path, trunk):
    """As transformers writes ViTMAEModel."""
    names = {
        "^norm": "layernorm",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
    }
    names |= {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense", "^blocks": "encoder.layer"}
    names |= {"^cls": "embeddings.cls", "patch_embed.proj": "embeddings.patch_embeddings.projection"}
    state = {"embeddings.position_embeddings": torch.randn(1, 1 + len(trunk.positions()), 32)}
    for name, value in trunk.state_dict().items():
        for pattern, other in names.items():
            name = re.sub(pattern, other, name)
        parts = ("query", "key", "value") if "qkv" in name else ("",)
        for part, piece in zip(parts, value.chunk(len(parts)), strict=True):
            state[name.replace("attn.qkv", f"attention.attention.{part}")] = piece.clone()
    kernel = "embeddings.patch_embeddings.projection.weight"
    state[kernel] = state[kernel].squeeze(2).contiguous()
    path.mkdir()
    save_file(state, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"num_attention_heads": trunk.heads, "image_size": 32}))
    return path


def test_both_branches_may_begin_with_published_weights(tmp_path, capsys):
    clips = shaken(size=(8, 48, 48), patch=(2, 8, 8), positions="separable", fused=False)
    frames = shaken(size=(1, 32, 32), patch=(1, 8, 8), positions="space")
    files = mae_st_file(tmp_path / "mae_st.pth", clips), vit_mae_folder(tmp_path / "vit_mae", frames)
    method = tiny(video_weights=str(files[0]), image_weights=str(files[1])).eval()
    before = method.video.trunk.norm.weight.clone()
    method.setup(None, folder=tmp_path, workers=0)
    assert not torch.equal(before, method.video.trunk.norm.weight)
    # Clips of the own size: tables of the file are stretched to them, as its network would do.
    pixels = torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(method.video.trunk(pixels), clips(pixels))
    torch.testing.assert_close(method.image.trunk(pixels[:, :, :1]), frames(pixels[:, :, :1]))
    record = json.loads((tmp_path / "initial_weights.json").read_text())
    assert record["video"]["missing"] == record["video"]["left_over"] == record["image"]["missing"] == []
    assert (record["video"]["layout"], record["image"]["layout"]) == ("mae-st", "mae-hf")
    assert record["image"]["left_over"] == ["positions.table", "cls_position"]
    assert record["video"]["matched"] == len(clips.state_dict())
    told = capsys.readouterr().err
    assert "left over: positions.table" in told and "missing: none" in told
    method.setup(None, folder=tmp_path, workers=0)  # a second process, or a resumed run
    assert not capsys.readouterr().err


def test_a_network_without_weights_to_begin_with_stays_as_it_is(tmp_path):
    method = tiny()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.setup(None, folder=tmp_path, workers=0)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert not list(tmp_path.iterdir())


def test_weights_of_another_network_are_refused(tmp_path):
    deeper = shaken(size=(4, 32, 32), patch=(2, 8, 8), positions="separable", fused=False)
    deeper.blocks.append(deeper.blocks[1])
    with pytest.raises(RecipeError, match=r"blocks\.2"):
        tiny(video_weights=str(mae_st_file(tmp_path / "deeper.pth", deeper))).setup(None, folder=tmp_path, workers=0)
    still = vit_mae_folder(tmp_path / "still", shaken(size=(1, 32, 32), patch=(1, 8, 8), positions="space"))
    with pytest.raises(RecipeError, match=r"patch=\(1, 8, 8\).* does not fit this encoder \(patch=\(2, 8, 8\)"):
        tiny(video_weights=str(still)).setup(None, folder=tmp_path, workers=0)
    (still / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    with pytest.raises(RecipeError, match="2 heads"):
        tiny(image_weights=str(still)).setup(None, folder=tmp_path, workers=0)


# Pictures


def test_answers_complete_both_views_of_clips_and_frames(tiny_videos, monkeypatch):
    method = tiny(frames=4, target_frames=2, sampled=2).eval()
    batch = read_batch(method, method.index(tiny_videos), prepare=False)
    # Who answers with the truth completes every picture.
    ready = method.prepare({name: value[:2] for name, value in batch.items()}, torch.Generator())
    for part, asked in ((method.video, method._of_clips(ready)), (method.image, method._of_frames(ready))):
        truth = standardise(take(asked.wanted, asked.masking.hidden), "patch")
        monkeypatch.setattr(part, "forward", lambda patches, masking, truth=truth: Reconstruction(patches, truth))
    clips, frames = method.answers(batch)
    assert clips.frames.shape == (2, 96, 4 * 36 - 4, 3) and frames.frames.shape == (1, 96, 8 * 36 - 4, 3)
    for shown, pixels in (
        (clips.frames, ready["clips"][:, :, :, [0, 3]].transpose(0, 1).flatten(0, 1)),
        (frames.frames, ready["frames"].transpose(0, 1).flatten(0, 2).unsqueeze(2)),
    ):
        for number, clip in enumerate(pixels):
            column = shown[:, :, 36 * number : 36 * number + 32].astype(int)
            expected = (255 * clip.permute(1, 2, 3, 0)).round().numpy()
            assert np.abs(column[:, :32] - expected).max() <= 1
            assert np.abs(column[:, 64:] - expected).max() <= 1
            assert np.abs(column[:, 32:64] - expected).max() > 5
    assert len(tiny(freeze_image_encoder=True).eval().answers(batch)) == 1


def test_products_are_both_encoders():
    encoders = tiny().products().encoders
    assert encoders["video"](torch.randn(1, 3, 4, 32, 32)).pooled.shape == (1, 32)
    assert encoders["image"](torch.randn(1, 3, 48, 32)).map.shape == (1, 32, 1, 6, 4)


@pytest.mark.slow
def test_clips_learn_to_find_their_own_frames():
    """Four colours and directions of a square on random ground: after 150 steps a clip knows its frame among 16."""
    method = tiny(intra=0.3, mask=0.5, image_mask=0.25)
    optimiser = torch.optim.AdamW(method.parameters(), 2e-3)
    for step in range(150):
        optimiser.zero_grad()
        losses(method.train(), squares(16, step))["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        found = [losses(method, squares(16, 1000 + n))["parts"]["retrieval"] for n in range(8)]
        assert torch.stack(found).mean() > 0.4
        mixed = []
        for n in range(8):
            batch = squares(16, 1000 + n)
            batch["frames"] = batch["frames"].roll(5, 0)
            mixed.append(losses(method, batch)["parts"]["retrieval"])
    assert torch.stack(mixed).mean() < 0.15


def squares(count, seed):
    generator = torch.Generator().manual_seed(seed)
    ground = torch.rand(count, 1, 3, 1, 1, 1, generator=generator) * 0.6
    clips = ground.expand(-1, 2, -1, 4, 32, 32).clone()
    colours = torch.rand(count, 3, generator=generator)
    places = torch.randint(0, 16, (count, 2), generator=generator)
    steps = torch.randint(-3, 4, (count, 2), generator=generator)
    for i in range(count):
        for t in range(4):
            y, x = ((places[i] + steps[i] * t) % 20).tolist()
            clips[i, :, :, t, y : y + 12, x : x + 12] = colours[i][None, :, None, None]
    times = torch.randint(0, 4, (count,), generator=generator)
    frames = clips[torch.arange(count), :, :, times].unsqueeze(2)
    noise = torch.rand(count, 2, TOKENS, generator=generator)
    frame_noise = torch.rand(count, 2, 1, PATCHES, generator=generator)
    return {"clips": clips, "frames": frames, "noise": noise, "frame_noise": frame_noise, "group": torch.arange(count)}
