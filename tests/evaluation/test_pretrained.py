"""Models of other people: a stand-in with the interface of transformers; the real thing where it is installed."""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from kinema.errors import MissingExtra, RecipeError
from kinema.evaluation.extract import Extraction, extract
from kinema.evaluation.pretrained import adapt, load_pretrained

PROCESSOR = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}


class Patches(nn.Module):
    """Tokens [B, N, 3]: the colour of each quarter of each frame."""

    def __init__(self, **config):
        super().__init__()
        self.config = SimpleNamespace(hidden_size=3, **config)

    def forward(self, pixel_values=None):
        x = pixel_values if pixel_values.ndim == 5 else pixel_values[:, None]
        height, width = (size // 2 for size in x.shape[-2:])
        quarters = [x[..., a : a + height, b : b + width].mean((-2, -1)) for a in (0, height) for b in (0, width)]
        return SimpleNamespace(last_hidden_state=torch.cat(quarters, 1))


class VideoPatches(Patches):
    def forward(self, pixel_values_videos=None):
        return super().forward(pixel_values_videos)


@pytest.mark.parametrize("kind", [Patches, VideoPatches])
def test_a_video_model_sees_clips_with_time_first(kind, colours):
    encoder = adapt(kind(image_size=16, num_frames=4), PROCESSOR)
    network = encoder.input
    assert (network.modality, network.frames, network.stride, network.size) == ("video", 4, 4, (16, 16))
    assert (network.mean, network.std) == ((0.5,) * 3, (0.25,) * 3)
    clip = torch.rand(2, 3, 4, 16, 16)
    found = encoder(clip)
    assert found.map.shape == (2, 16, 3)
    torch.testing.assert_close(found.pooled, clip.mean((2, 3, 4)))
    table = extract({"e": encoder}, colours, Extraction("single_center"))["e"]
    seen = (table.pooled[:, 0] * 0.25 + 0.5).argmax(1)
    names = np.array([["red", "green", "blue"].index(label) for label in colours.column("label")])
    assert seen.tolist() == names.tolist()


def test_an_image_model_sees_single_frames():
    encoder = adapt(Patches(image_size=[12, 16]), {})
    assert (encoder.input.modality, encoder.input.size, encoder.input.resize) == ("image", (12, 16), (14, 24))
    assert encoder.input.mean == (0.485, 0.456, 0.406)
    assert encoder(torch.rand(2, 3, 12, 16)).pooled.shape == (2, 3)


def test_maps_of_convnets_stay_maps_and_of_two_towers_one_is_taken():
    class Tower(Patches):
        def forward(self, pixel_values=None):
            return SimpleNamespace(last_hidden_state=pixel_values[..., ::4, ::4])

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.vision_model = Tower(image_size=16)
            self.config = SimpleNamespace(vision_config=self.vision_model.config)

    pixels = torch.rand(2, 3, 16, 16)
    found = adapt(Both(), PROCESSOR)(pixels)
    assert found.map.shape == (2, 3, 1, 4, 4)
    torch.testing.assert_close(found.map[0, :, 0, 1, 1], pixels[0, :, 4, 4])
    torch.testing.assert_close(found.pooled, pixels[..., ::4, ::4].mean((2, 3)))


def test_models_without_pictures_are_refused():
    with pytest.raises(RecipeError, match="Patches is no image or video model"):
        adapt(Patches(), PROCESSOR)


@pytest.fixture
def transformers(monkeypatch, tmp_path):
    """A module with the two classes that are used; it records how they are asked."""
    asked = []

    def load(path, **options):
        asked.append(options)
        if "absent" in path:
            raise OSError(f"{path} is not a local folder\nand much more")
        return Patches(image_size=16, num_frames=8), {"missing_keys": [], "mismatched_keys": []}

    module = ModuleType("transformers")
    module.AutoModel = SimpleNamespace(from_pretrained=load)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    module.utils = SimpleNamespace(
        cached_file=lambda path, name, **options: asked.append(options) or str(tmp_path / name)
    )
    module.asked = asked
    monkeypatch.setitem(sys.modules, "transformers", module)
    return module


def test_nothing_is_downloaded_or_executed(transformers):
    encoder = load_pretrained("hf:somewhere/model@stride=2,rate=12.5")
    assert (encoder.input.frames, encoder.input.stride, encoder.input.rate) == (8, 2, 12.5)
    assert not encoder.training
    assert [options["local_files_only"] for options in transformers.asked] == [True, True]
    assert transformers.asked[1]["use_safetensors"] is True
    assert not any("trust_remote_code" in options for options in transformers.asked)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("hf:absent", "hf:absent: no image .* is not a local folder$"),
        ("hf:x@strid=2", "'strid'"),
        ("hf:x@stride=a", "a is"),
    ],
)
def test_what_cannot_be_had_is_named(transformers, named, message):
    with pytest.raises(RecipeError, match=message):
        load_pretrained(named)


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"kinema\[hf\]"):
        load_pretrained("hf:anything")
