"""Published weights become a run folder that can be evaluated like any other."""

import pytest
import torch
import yaml

from kinema.backbones.converters import LAYOUTS, Converted
from kinema.cli import main
from kinema.errors import RecipeError
from kinema.evaluation.runs import evaluate_run
from kinema.evaluation.settings import EvaluationSettings
from kinema.methods.imported import INPUTS, published_input
from kinema.training.checkpoint import load_run
from kinema.training.loop import pretrain
from tests.backbones import cases
from tests.backbones.public import Named

SMALL = ["frames=4", "resize=[36,40]", "size=32"]


@pytest.fixture
def published(tmp_path):
    """A weight file in torchvision's layout, the clip it was run on, and the pooled feature."""
    net = Named()
    clip = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    stages = cases.CASES["r3d_18"][2](net, clip.double(), 8)
    tensors = {key: value.float() for key, value in net.tensors.items()}
    torch.save(tensors | {"fc.weight": torch.zeros(400, 64)}, tmp_path / "r3d.pth")
    return tmp_path / "r3d.pth", clip, stages[-1].mean((2, 3, 4)).float()


def test_imported_weights_compute_what_they_did_and_can_be_evaluated(published, tiny_videos, tmp_path, capsys):
    file, clip, expected = published
    out = tmp_path / "run"
    assert main(["import", str(file), "-o", str(out), *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "layout      torchvision-r3d" in shown and "left out    fc.weight" in shown
    assert "mean=(0.43216, 0.394666, 0.37645)" in shown and "no source" not in shown
    run = load_run(out)
    assert run.step == 0 and run.encoder().input.frames == 4
    torch.testing.assert_close(run.encoder()(clip).pooled, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(run.untrained().products().encoders["video"](clip).pooled, expected, rtol=0.1)
    results = evaluate_run(run, tiny_videos, EvaluationSettings(protocols=("knn",)))
    arms = {row.arm: row for row in results.rows}
    assert {"trained", "untrained"} <= set(arms)
    assert arms["trained"].exposure == "unknown"


def test_a_guessed_input_is_said_to_be_one(tmp_path, capsys):
    net = Named()
    cases.CASES["squeezenet"][2](net, torch.zeros(1, 3, 4, 32, 32, dtype=torch.float64), 8)
    torch.save(net.tensors, tmp_path / "squeeze.pth")
    assert (
        main(["import", str(tmp_path / "squeeze.pth"), "-o", str(tmp_path / "run"), "scale=1.0", "mean=[0,0,0]"]) == 0
    )
    assert "no source confirms this input" in capsys.readouterr().out
    options = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["options"]
    assert options["network"] == {"width": 8}
    assert (options["scale"], options["mean"], options["std"]) == (1.0, [0, 0, 0], [1.0, 1.0, 1.0])


def test_every_layout_has_an_input_and_systems_that_share_one_are_told_apart():
    assert set(INPUTS) == set(LAYOUTS)

    def options(layout, *dropped):
        return published_input(Converted("r3d", {}, {}, layout, dropped))[0]

    assert options("vcop-r3d", "linear.weight")["mean"] == (0.0, 0.0, 0.0)
    assert options("vcop-r3d", "module.motion_linear.weight")["channels"] == "bgr"
    assert options("vcop-c3d", "encoder_k.encoder.conv1.weight") == {}
    assert options("rspnet-s3dg", "encoder_k.encoder.x")["size"] == 224


def test_what_cannot_be_imported_is_explained(published, tiny_videos, tmp_path, capsys):
    file = published[0]
    out = tmp_path / "run"
    assert main(["import", str(file), "-o", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main(["import", str(file), "-o", str(out), "--layout", "harra"]) == 1
    assert "Did you mean 'hara'" in capsys.readouterr().err
    assert main(["import", str(file), "-o", str(out), "frame=4"]) == 1
    assert "Did you mean 'frames'" in capsys.readouterr().err
    assert main(["import", str(file), "-o", str(out), "heads=4"]) == 1
    assert "holds a r3d_18" in capsys.readouterr().err
    assert not out.exists()
    assert main(["import", str(file), "-o", str(out), *SMALL]) == 0
    with pytest.raises(RecipeError, match="cannot be trained"):
        pretrain(load_run(out).recipe, tiny_videos, tmp_path / "trained")


def pretrained(folder, kind, **options):
    """A model folder of `transformers` with random weights, and the model."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    config = getattr(transformers, f"{kind}Config")(
        **sizes, image_size=32, patch_size=16, layer_norm_eps=1e-6, **options
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    model.save_pretrained(folder)
    return model


def test_a_folder_of_transformers_becomes_a_run(tiny_videos, tmp_path, capsys):
    model = pretrained(tmp_path / "model", "VideoMAE", num_frames=4, use_mean_pooling=False)
    (tmp_path / "model" / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    assert main(["import", str(tmp_path / "model"), "-o", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "layout      videomae-hf" in shown and "tensors, none missing" in shown
    encoder = load_run(tmp_path / "run").encoder()
    assert (encoder.input.frames, encoder.input.stride, encoder.input.size) == (4, 4, (32, 32))
    assert (encoder.input.mean, encoder.input.std) == ((0.5,) * 3, (0.229, 0.224, 0.225))
    clip = torch.randn(2, 3, 4, 32, 32)
    expected = model(clip.transpose(1, 2)).last_hidden_state.mean(1)
    torch.testing.assert_close(encoder(clip).pooled, expected, rtol=1e-4, atol=1e-5)
    results = evaluate_run(tmp_path / "run", tiny_videos, EvaluationSettings(protocols=("knn",)))
    assert {"trained", "untrained"} <= {row.arm for row in results.rows}


def test_positions_of_imported_weights_follow_the_clips(tmp_path, capsys):
    model = pretrained(tmp_path / "model", "VideoMAE", num_frames=4, use_mean_pooling=False)
    file = tmp_path / "model" / "model.safetensors"
    (tmp_path / "model" / "config.json").unlink()
    told = ["heads=2", "trained=[4,32,32]", "frames=8", "size=48"]
    assert main(["import", str(file), "-o", str(tmp_path / "run"), *told]) == 0
    encoder = load_run(tmp_path / "run").encoder()
    assert encoder(torch.randn(1, 3, 8, 48, 48)).map.shape == (1, 24, 4, 3, 3)
    clip = torch.randn(1, 3, 4, 32, 32)
    expected = model(clip.transpose(1, 2)).last_hidden_state.mean(1)
    torch.testing.assert_close(encoder(clip).pooled, expected, rtol=1e-4, atol=1e-5)


def test_an_image_network_is_one_of_images_or_of_frames_one_by_one(tiny_videos, tmp_path):
    model = pretrained(tmp_path / "model", "ViTMAE", mask_ratio=0.0)
    assert main(["import", str(tmp_path / "model"), "-o", str(tmp_path / "still")]) == 0
    assert main(["import", str(tmp_path / "model"), "-o", str(tmp_path / "clips"), "frames=3"]) == 0
    still, clips = (load_run(tmp_path / name).encoder() for name in ("still", "clips"))
    assert (still.input.modality, clips.input.modality, clips.input.frames) == ("image", "video", 3)
    clip = torch.randn(2, 3, 3, 32, 32)
    found = clips(clip, taps=("b1",))
    each = [still(frame) for frame in clip.unbind(2)]
    torch.testing.assert_close(found.pooled, torch.stack([one.pooled for one in each]).mean(0))
    torch.testing.assert_close(found.map, torch.cat([one.map for one in each], 2))
    assert found.extra["b1"].shape == (2, 24, 3, 2, 2)
    places = torch.arange(4.0).expand(2, -1)
    expected = model(clip[:, :, 0], noise=places).last_hidden_state[:, 1:].mean(1)
    torch.testing.assert_close(each[0].pooled, expected, rtol=1e-4, atol=1e-5)
    results = evaluate_run(tmp_path / "still", tiny_videos, EvaluationSettings(protocols=("knn",)))
    assert {"trained", "untrained"} <= {row.arm for row in results.rows}


def test_folders_and_settings_that_tell_too_little_are_explained(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["import", str(tmp_path / "empty"), "-o", str(tmp_path / "run")]) == 1
    assert "holds no model.safetensors" in capsys.readouterr().err
    pretrained(tmp_path / "model", "VideoMAE", num_frames=4, use_mean_pooling=False)
    assert main(["import", str(tmp_path / "model"), "-o", str(tmp_path / "run"), "heads=5"]) == 1
    assert "heads=5: must divide the width, 24" in capsys.readouterr().err
    (tmp_path / "model" / "config.json").write_text("{")
    assert main(["import", str(tmp_path / "model"), "-o", str(tmp_path / "run")]) == 1
    assert "config.json is no JSON" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
