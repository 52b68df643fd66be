"""Models of `transformers`, built from configurations with random weights: every token finds its place in the map."""

import json

import pytest
import torch

from kinema.cli import main
from kinema.errors import RecipeError
from kinema.evaluation.evaluate import evaluate
from kinema.evaluation.pretrained import adapt, load_pretrained
from kinema.evaluation.propagation.features import FrameFeatures
from kinema.evaluation.settings import EvaluationSettings

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

# Without blocks a token tells of its own patch alone, so that places can be read off.
NO_BLOCKS = {"hidden_size": 24, "num_hidden_layers": 0, "num_attention_heads": 2, "intermediate_size": 48}
VIT = {**NO_BLOCKS, "image_size": 32, "patch_size": 16}
TEXT = {**NO_BLOCKS, "vocab_size": 50, "max_position_embeddings": 8, "projection_dim": 24}
VISION = {**VIT, "projection_dim": 24}
MIT = {"mit_hidden_size": 24, "mit_intermediate_size": 48, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2}
PREDICTOR = {"pred_hidden_size": 12, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
DINO = {"hidden_size": 24, "num_hidden_layers": 0, "num_attention_heads": 2, "image_size": 42, "patch_size": 14}
JEPA = {"hidden_size": 24, "num_hidden_layers": 0, "num_attention_heads": 2, "crop_size": 32, "frames_per_clip": 4}

VIDEO = {
    "VideoMAE": (VIT | {"num_frames": 4}, (2, 2, 2)),
    "VJEPA2": (JEPA | PREDICTOR, (2, 2, 2)),
    "Timesformer": (VIT | {"num_frames": 4}, (4, 2, 2)),
    "Vivit": (NO_BLOCKS | {"image_size": 32, "num_frames": 4, "tubelet_size": [2, 16, 16]}, (2, 2, 2)),
    "XCLIP": (
        {"vision_config": VISION | MIT | {"num_frames": 4}, "text_config": TEXT, "projection_dim": 24},
        (4, 2, 2),
    ),
}
IMAGE = {
    "CLIP": ({"vision_config": VISION, "text_config": TEXT}, (2, 2)),
    "CLIPVision": (VISION, (2, 2)),
    "Siglip": ({"vision_config": VIT, "text_config": TEXT}, (2, 2)),
    "Dinov2": (DINO, (3, 3)),
    "Dinov2WithRegisters": (DINO, (3, 3)),
    "ViT": (VIT, (2, 2)),
    "ViTMAE": (VIT, (2, 2)),
}
MAPS = {
    "Swin": ({"image_size": 64, "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}, (8, 8)),
    "ResNet": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}, (8, 8)),
    "ConvNext": ({"image_size": 64, "hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, (8, 8)),
}


def built(kind, options):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**options)
    return getattr(transformers, f"{kind}Model")(config).eval()


def place_of(encoder, clip, changed):
    """Where the map changes, as (time, row, column)."""
    with torch.no_grad():
        difference = (encoder(clip).map - encoder(changed).map).abs().amax(1)[0]
    found = (difference > 1e-6).nonzero().tolist()
    assert len(found) == 1
    return tuple(found[0])


@pytest.mark.parametrize("kind", VIDEO)
def test_tokens_of_video_models_lie_where_their_cubes_are(kind):
    options, grid = VIDEO[kind]
    encoder = adapt(built(kind, options), {})
    assert (encoder.input.modality, encoder.input.frames, encoder.input.size) == ("video", 4, (32, 32))
    clip = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    features = encoder(clip)
    assert features.map.shape == (1, 24, *grid)
    torch.testing.assert_close(features.pooled, features.map.mean((2, 3, 4)))
    for frame, row, column in ((0, 0, 17), (3, 20, 1), (2, 20, 17)):
        changed = clip.clone()
        changed[:, :, frame, row, column] += 1
        assert place_of(encoder, clip, changed) == (frame * grid[0] // 4, row // 16, column // 16)


@pytest.mark.parametrize("kind", IMAGE)
def test_tokens_of_image_models_lie_where_their_patches_are(kind):
    options, grid = IMAGE[kind]
    encoder = adapt(built(kind, options), {})
    side = encoder.input.size[0]
    assert encoder.input.modality == "image"
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    features = encoder(image)
    assert features.map.shape == (1, 24, 1, *grid)
    torch.testing.assert_close(features.pooled, features.map.mean((2, 3, 4)))
    torch.testing.assert_close(encoder(image).pooled, features.pooled, rtol=0, atol=0)  # nothing is drawn
    changed = image.clone()
    changed[:, :, 1, side - 1] += 1
    assert place_of(encoder, image, changed) == (0, 0, grid[1] - 1)
    wide = torch.randn(1, 3, side, 2 * side, generator=torch.Generator().manual_seed(1))
    assert encoder(wide).map.shape == (1, 24, 1, grid[0], 2 * grid[1])


@pytest.mark.parametrize("kind", MAPS)
def test_maps_of_convolutional_and_hierarchical_models(kind):
    options, grid = MAPS[kind]
    model = built(kind, options)
    encoder = adapt(model, {"crop_size": {"height": 64, "width": 64}} if kind == "ResNet" else {})
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = encoder(image)
    assert encoder.input.size == (64, 64) and features.map.shape == (2, encoder.feature_dim, 1, *grid)
    last = model(image).last_hidden_state
    expected = last if last.ndim == 4 else last.transpose(1, 2).unflatten(2, grid)
    torch.testing.assert_close(features.map[:, :, 0], expected)


def saved(folder, kind="ViT", options=None, name="preprocessor_config.json", **processor):
    torch.manual_seed(0)
    built(kind, options or {**VIT, "num_hidden_layers": 1}).save_pretrained(folder)
    given = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **processor}
    (folder / name).write_text(json.dumps(given))
    return f"hf:{folder}"


def test_an_image_model_sees_the_frames_of_a_clip_one_by_one(tmp_path):
    named = saved(tmp_path)
    still, clips = load_pretrained(named), load_pretrained(f"{named}@frames=3,stride=2")
    assert (clips.input.modality, clips.input.frames, clips.input.stride) == ("video", 3, 2)
    clip = torch.randn(2, 3, 3, 32, 32)
    features = clips(clip)
    torch.testing.assert_close(features.map, torch.cat([still(frame).map for frame in clip.unbind(2)], 2))
    torch.testing.assert_close(features.pooled, torch.stack([still(frame).pooled for frame in clip.unbind(2)]).mean(0))


def test_the_class_token_can_be_the_vector(tmp_path):
    named = saved(tmp_path / "vit")
    encoder, image = load_pretrained(f"{named}@pool=class"), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(encoder(image).pooled, encoder.model(image).last_hidden_state[:, 0])
    without = load_pretrained(f"{saved(tmp_path / 'mae', 'VideoMAE', VIDEO['VideoMAE'][0])}@pool=class")
    with pytest.raises(RecipeError, match="VideoMAEModel has no class token"):
        without(torch.randn(1, 3, 4, 32, 32))
    with pytest.raises(RecipeError, match="pool=first: there are mean and class"):
        load_pretrained(f"{named}@pool=first")


def test_sizes_come_from_the_model_the_processor_or_the_caller(tmp_path):
    named = saved(tmp_path / "dino", "Dinov2", DINO, crop_size={"height": 28, "width": 28})
    assert load_pretrained(named).input.size == (28, 28)
    assert load_pretrained(f"{named}@size=56").input.size == (56, 56)
    assert load_pretrained(f"{named}@size=56")(torch.randn(1, 3, 56, 56)).map.shape == (1, 24, 1, 4, 4)
    nothing = saved(tmp_path / "resnet", "ResNet", MAPS["ResNet"][0])
    with pytest.raises(RecipeError, match="states a size of pictures; name one with @size=224"):
        load_pretrained(nothing)
    assert load_pretrained(f"{nothing}@size=48").input.size == (48, 48)


def test_processors_of_videos_and_of_both_are_read(tmp_path):
    options = VIDEO["VJEPA2"][0]
    named = saved(tmp_path / "video", "VJEPA2", options, "video_preprocessor_config.json")
    assert load_pretrained(named).input.mean == (0.5,) * 3
    both = tmp_path / "both"
    saved(both, "VJEPA2", options, "processor_config.json", video_processor={"image_mean": [0.1, 0.2, 0.3]})
    assert load_pretrained(f"hf:{both}").input.mean == (0.1, 0.2, 0.3)
    (both / "processor_config.json").unlink()
    with pytest.raises(RecipeError, match=r"it has no preprocessor_config\.json"):
        load_pretrained(f"hf:{both}")


def test_the_untrained_twin_has_other_weights_and_the_same_each_time(tmp_path):
    named, image = saved(tmp_path), torch.randn(1, 3, 32, 32)
    trained, twins = load_pretrained(named)(image), [load_pretrained(named, trained=False, seed=s) for s in (0, 0, 1)]
    first, again, other = (twin(image).pooled for twin in twins)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, trained.pooled)


def test_weights_that_are_not_those_of_the_configuration_are_refused(tmp_path):
    named = saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(RecipeError, match=r"weights lack 16 tensors of ViTModel .*layers\.1\."):
        load_pretrained(named)


def test_a_size_that_a_model_refuses_is_explained(tmp_path):
    encoder = load_pretrained(saved(tmp_path, "VideoMAE", VIDEO["VideoMAE"][0]))
    with pytest.raises(RecipeError, match=r"takes no other size than \(32, 32\).*kinema import"):
        encoder(torch.randn(1, 3, 4, 48, 48))


@pytest.mark.parametrize("kind", ["ViT", "CLIPVision", "ViTMAE"])
def test_another_size_that_is_asked_for_stretches_the_positions(tmp_path, kind):
    encoder = load_pretrained(saved(tmp_path / kind, kind, IMAGE[kind][0]) + "@size=48")
    assert encoder.input.size == (48, 48)
    assert encoder(torch.randn(1, 3, 48, 48)).map.shape == (1, 24, 1, 3, 3)


def test_clips_that_were_asked_for_and_are_refused_are_explained(tmp_path):
    named = saved(tmp_path / "mae", "VideoMAE", VIDEO["VideoMAE"][0])
    for change, shape in (("size=48", (4, 48, 48)), ("frames=2", (2, 32, 32))):
        with pytest.raises(RecipeError, match=r"VideoMAEModel takes no other size than \(32, 32\), .* of 4 frames"):
            load_pretrained(f"{named}@{change}")(torch.randn(1, 3, *shape))
    with pytest.raises(RecipeError, match=r"size=\(0, 0\): height and width must be at least 1"):
        load_pretrained(f"{named}@size=0")


def test_labels_can_be_carried_by_the_maps(tmp_path):
    encoder = load_pretrained(saved(tmp_path))
    frames = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    assert FrameFeatures(encoder)(frames).shape == (2, 24, 4, 6)


def test_a_model_is_evaluated_embedded_and_compared_by_name(tmp_path, monkeypatch, colours, capsys):
    monkeypatch.chdir(tmp_path)
    named = saved(tmp_path / "model")
    colours.write(tmp_path / "colours.parquet")
    data, more = str(tmp_path / "colours.parquet"), ["--protocol", "knn", "--views", "single_center", "--workers", "0"]
    more += ["pixels=false", "calibrated=false"]
    assert main(["evaluate", f"{named}@frames=2", "--data", data, *more, "--name", "x", "--baseline", named]) == 0
    shown = capsys.readouterr().out
    assert "untrained" in shown and "hf:model" in shown
    run = tmp_path / "runs" / "hf-model@frames=2"
    assert (run / "evaluation" / "x" / "results.json").is_file()
    assert main(["embed", named, "--data", data, "-o", str(tmp_path / "vectors"), *more[2:6]]) == 0
    assert main(["evaluate", str(tmp_path / "vectors"), "--protocol", "knn", "--name", "x"]) == 0
    assert main(["compare", str(run), str(tmp_path / "vectors"), "--name", "x"]) == 0
    assert "hf-model@frames=2" in capsys.readouterr().out


def test_an_attentive_probe_looks_at_the_patches_of_any_model(tmp_path, colours):
    encoders = {
        "vit": load_pretrained(f"{saved(tmp_path)}@frames=2"),
        "resnet": load_pretrained(f"{saved(tmp_path / 'resnet', 'ResNet', MAPS['ResNet'][0])}@size=32"),
    }
    results = evaluate(encoders, colours, EvaluationSettings(protocols=("attentive",), pixels=False))
    assert {row.arm for row in results.rows} == set(encoders)
