"""A run becomes a folder that others load: transformers where it has a class for the network, else plain weights."""

import json

import numpy as np
import pytest
import torch

from kinema.app.exporting import export_run
from kinema.cli import main
from kinema.errors import RecipeError
from kinema.evaluation.pretrained import load_pretrained
from kinema.methods.masked import MaskedAutoencoder
from kinema.modules.transformer import patchify
from kinema.targets.masking import tube_masking
from kinema.training.checkpoint import load_run, save_checkpoint
from kinema.training.files import write_atomic
from kinema.training.recipe import load_recipe

SMALL = {"frames": 4, "size": 32, "resize": [36, 40]}
VIDEOMAE = {**SMALL, "model": "tiny", "patch": 16, "tubelet": 2, "mask": 0.5, "width": 24, "depth": 2, "heads": 3}
DECODER = {"decoder_width": 12, "decoder_depth": 1, "decoder_heads": 2}


def run_of(folder, method, **options):
    """A run folder as training leaves it, with weights that are not those of the start."""
    recipe = load_recipe(method, overrides=options)
    built = recipe.build()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    write_atomic(folder / "recipe.yaml", recipe.to_yaml())
    save_checkpoint(folder, 7, model=built.state_dict(), training={}, state={})
    return load_run(folder)


def clips(seed=0):
    return torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_a_videomae_is_read_by_from_pretrained(tmp_path, capsys):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    run = run_of(tmp_path / "run", "videomae", **VIDEOMAE, **DECODER)
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "hf")]) == 0
    shown = capsys.readouterr().out
    assert "README.md, config.json, model.safetensors, preprocessor_config.json" in shown
    model, report = transformers.VideoMAEModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    tokens = model.eval()(clips().transpose(1, 2)).last_hidden_state
    features = run.encoder()(clips())
    torch.testing.assert_close(features.map.flatten(2).transpose(1, 2), tokens, rtol=1e-5, atol=1e-5)
    whole, report = transformers.VideoMAEForPreTraining.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    masking = tube_masking(torch.rand(2, 4, generator=torch.Generator().manual_seed(1)), 2, 0.5)
    theirs = whole.eval()(clips().transpose(1, 2), bool_masked_pos=masking.mask).logits
    pair = next(part for part in run.method.modules() if isinstance(part, MaskedAutoencoder))
    ours = pair(patchify(clips(), (2, 16, 16)), masking).predicted
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


IMPORTED = {
    "backbone": "vit",
    "network": {"size": [4, 32, 32], "patch": [2, 16, 16], "width": 24, "depth": 1, "heads": 3},
    **SMALL,
}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("videomae", {**VIDEOMAE, **DECODER}),
        ("imported", {**IMPORTED, "scale": 255.0, "mean": [100.0, 110.0, 120.0], "std": [50.0, 60.0, 70.0]}),
    ],
)
def test_the_processor_shows_what_kinema_shows(tmp_path, method, options):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    run = run_of(tmp_path / "run", method, **options)
    export_run(run, tmp_path / "hf")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "hf")
    frames = np.random.default_rng(0).integers(0, 256, (4, 36, 40, 3), np.uint8)
    shown = processor(list(frames), return_tensors="pt").pixel_values
    cut = torch.from_numpy(frames[:, 2:34, 4:36]).permute(3, 0, 1, 2)[None]
    torch.testing.assert_close(shown.transpose(1, 2), run.encoder().input.normalise(cut), rtol=1e-4, atol=1e-5)


def test_what_was_exported_is_an_encoder_again(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    run = run_of(tmp_path / "run", "videomae", **VIDEOMAE, **DECODER)
    export_run(run, tmp_path / "hf")
    found = load_pretrained(f"hf:{tmp_path / 'hf'}")(clips())
    torch.testing.assert_close(found.pooled, run.encoder()(clips()).pooled, rtol=1e-4, atol=1e-5)
    assert main(["import", str(tmp_path / "hf"), "-o", str(tmp_path / "again")]) == 0
    again = load_run(tmp_path / "again").encoder()
    torch.testing.assert_close(again(clips()).pooled, run.encoder()(clips()).pooled)
    assert again.input.mean == run.encoder().input.mean


def test_the_card_tells_method_data_input_and_how_to_load(tmp_path):
    run = run_of(tmp_path / "run", "videomae", **VIDEOMAE, **DECODER)
    (tmp_path / "run" / "data.json").write_text(json.dumps({"rows": 12, "digest": "abcdef"}))
    export_run(run, tmp_path / "hf")
    card = (tmp_path / "hf" / "README.md").read_text()
    for told in ("library_name: transformers", "`videomae`, 7 steps", "12 videos", "4 frames", "32 x 32", "0.485"):
        assert told in card
    assert "VideoMAEForPreTraining.from_pretrained" in card and "method: videomae" in card


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        (
            "imported",
            {"backbone": "vjepa2", "network": {"size": [4, 32, 32], "width": 24, "depth": 1, "heads": 2}, **SMALL},
            "VJEPA2Model comes with a predictor",
        ),
        ("imported", {**IMPORTED, "channels": "bgr"}, "channels=bgr"),
        ("vcop", {"width": 8}, "R3D is no vision transformer"),
        (
            "child-view",
            {**SMALL, "model": "tiny", "width": 24, "depth": 2, "heads": 3, "patch": 16, "mask": 0.5, **DECODER},
            "positions are 'separable'.* class token; its keys have a bias",
        ),
    ],
)
def test_networks_without_a_class_are_refused_and_exported_plainly(tmp_path, method, options, reason):
    run = run_of(tmp_path / "run", method, **options)
    with pytest.raises(RecipeError, match=f"{reason}.*--format safetensors"):
        export_run(run, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    (tmp_path / "plain").mkdir()
    files = export_run(run, tmp_path / "plain", format="safetensors")
    assert files == ["README.md", "input.json", "model.safetensors", "recipe.yaml"]
    from safetensors.torch import load_file

    encoder = load_recipe(None, tmp_path / "plain" / "recipe.yaml").build().products().encoders["video"].eval()
    encoder.load_state_dict(load_file(tmp_path / "plain" / "model.safetensors"))
    clip = torch.randn(1, 3, encoder.input.frames, *encoder.input.size)
    torch.testing.assert_close(encoder(clip).pooled, run.encoder()(clip).pooled)
    with pytest.raises(RecipeError, match="is not empty"):
        export_run(run, tmp_path / "plain", format="safetensors")


def test_stretched_positions_are_no_videomae(tmp_path):
    run = run_of(
        tmp_path / "run",
        "imported",
        backbone="vit",
        network={"size": [4, 32, 32], "width": 24, "depth": 1, "heads": 3},
        frames=8,
        size=32,
        resize=[36, 40],
    )
    with pytest.raises(RecipeError, match=r"fed \(8, 32, 32\), with positions made for \(4, 32, 32\)"):
        export_run(run, tmp_path / "hf")
