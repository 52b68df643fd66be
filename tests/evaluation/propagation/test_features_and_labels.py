"""Frames to maps, masks to the grid and back, sizes: shapes and hand cases."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from kinema.backbones.r3d import R3D
from kinema.errors import DataError, RecipeError
from kinema.evaluation.propagation import (
    PRESETS,
    FrameFeatures,
    PixelFeatures,
    PropagationPreset,
    Rule,
    carry_masks,
)
from kinema.evaluation.propagation.labels import resized_ids, to_grid, to_picture
from kinema.methods.encoders import ConvEncoder
from kinema.modules.encoder import Encoder, EncoderInput, Features


class Patches(Encoder):
    """A linear map of patches; tokens, with a class token before them where asked."""

    taps = ("half",)

    def __init__(self, *, modality="image", frames=1, side=8, special=1, dim=6):
        super().__init__()
        self.input = EncoderInput(modality, frames=frames)
        self.feature_dim, self.side, self.special = dim, side, special
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(dim, 3, side, side))
        self.seen = []

    def forward(self, x, valid=None, taps=()):
        self.seen.append(len(x))
        clips = x[:, :, None] if x.ndim == 4 else x
        frames = clips.transpose(1, 2).flatten(0, 1)
        maps = conv2d(frames, self.weight, stride=self.side).unflatten(0, (len(x), -1))
        tokens = maps.flatten(3).transpose(2, 3).flatten(1, 2)
        first = tokens.new_full((len(x), self.special, self.feature_dim), 99.0)
        return Features(tokens.mean(1), torch.cat([first, tokens], 1), extra=dict.fromkeys(taps, maps[:, 0]))


def frames(count=3, height=24, width=40):
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("special", [0, 1])
def test_tokens_become_a_map_without_the_class_token(special):
    encoder = Patches(special=special)
    maps = FrameFeatures(encoder)(frames())
    assert maps.shape == (3, 6, 3, 5)
    expected = conv2d(encoder.input.normalise(frames()), encoder.weight, stride=8)
    torch.testing.assert_close(maps, expected)
    torch.testing.assert_close(FrameFeatures(encoder, tap="half")(frames()), expected)


def test_a_video_encoder_sees_a_still_clip_whose_map_is_averaged():
    encoder = Patches(modality="video", frames=4, special=1)
    maps = FrameFeatures(encoder, batch=8)(frames(5))
    torch.testing.assert_close(maps, FrameFeatures(Patches())(frames(5)), atol=1e-5, rtol=1e-5)
    assert encoder.seen == [2, 2, 1]  # clips of four frames, eight frames at once


def test_a_convnet_gives_its_map_or_a_stage_in_evaluation_mode():
    encoder = ConvEncoder(R3D(width=4), EncoderInput(frames=2)).train()
    seer = FrameFeatures(encoder, tap="p3")
    first, again = seer(frames(1, 32, 48)), seer(frames(1, 32, 48))
    assert first.shape == (1, 8, 8, 12) and torch.equal(first, again)
    assert FrameFeatures(encoder)(frames(1, 32, 48)).shape == (1, 32, 2, 3)
    assert encoder.training and not first.requires_grad


def test_encoders_that_have_no_map_of_a_frame_are_refused():
    with pytest.raises(RecipeError, match="no tap 'p9'; it has: half, map"):
        FrameFeatures(Patches(), tap="p9")
    with pytest.raises(RecipeError, match="of 'text' has no map"):
        FrameFeatures(Patches(modality="text"))
    with pytest.raises(RecipeError, match="no grid of square patches"):
        FrameFeatures(Patches(special=3))(frames())


def test_deviations_can_be_those_of_a_script():
    own, other = FrameFeatures(Patches()), FrameFeatures(Patches(), std=(0.228, 0.224, 0.225))
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    red = torch.zeros(1, 6, 1, 1) + Patches().weight[:, 0].sum((1, 2))[None, :, None, None]
    difference = (1 - 0.485) * (1 / 0.228 - 1 / 0.229)
    torch.testing.assert_close((other(white) - own(white)), red * difference, atol=1e-3, rtol=1e-3)


def test_bare_pixels_are_the_values_of_each_cell():
    picture = frames(1)
    maps = PixelFeatures("rgb")(picture, (3, 5))
    assert maps.shape == (1, 3 * 64, 3, 5)
    cell = EncoderInput().normalise(picture)[0, :, 8:16, 16:24]
    torch.testing.assert_close(maps[0, :, 1, 2], cell.flatten())
    grey = PixelFeatures("grey")(picture, (3, 5))
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(grey[0, :, 1, 2], (cell * weights).sum(0).flatten())
    assert PixelFeatures("grey")(picture, (5, 7)).shape == (1, 16, 5, 7)


def test_ids_are_resized_by_the_nearest_centre():
    ids = torch.arange(6).view(2, 3)
    torch.testing.assert_close(resized_ids(ids, (4, 3)), ids.repeat_interleave(2, 0))
    torch.testing.assert_close(resized_ids(torch.arange(6)[None], (1, 2)), torch.tensor([[1, 4]]))
    torch.testing.assert_close(resized_ids(torch.arange(5)[None], (1, 3)), torch.tensor([[0, 2, 4]]))


def test_masks_on_the_grid_are_bilinear_samples_or_the_nearest_id():
    ids = torch.zeros(8, 16, dtype=torch.uint8)
    ids[:, 6:] = 5
    soft = to_grid(ids, (0, 5), (8, 16), (2, 4))
    # Cell k's centre is 4 k + 1.5: between the pixels 4 k + 1 and 4 k + 2.
    torch.testing.assert_close(soft[1], torch.tensor([[0.0, 0.5, 1.0, 1.0]] * 2))
    torch.testing.assert_close(soft.sum(0), torch.ones(2, 4))
    hard = to_grid(ids, (0, 5), (8, 16), (2, 4), how="nearest")
    torch.testing.assert_close(hard[1], torch.tensor([[0.0, 1.0, 1.0, 1.0]] * 2))
    assert to_grid(ids, (0, 5), (16, 32), (2, 4))[1, 0, 1] == 0.5  # by way of the encoded size


def test_soft_labels_become_the_largest_one_at_the_size_of_the_mask():
    labels = torch.zeros(2, 2, 2)
    labels[0], labels[1, :, 1] = 0.4, 0.9
    found = to_picture(labels, (8, 8), (4, 16))
    assert found.dtype == torch.uint8 and found.shape == (4, 16)
    np.testing.assert_array_equal(found[0], [0] * 8 + [1] * 8)
    tie = to_picture(torch.full((2, 2, 2), 0.5), (4, 4), (4, 4))
    assert not tie.any()


def test_stretching_brings_each_label_or_each_place_to_the_whole_range():
    labels = torch.tensor([[[0.8, 0.9]], [[0.05, 0.1]]])
    assert not to_picture(labels, (1, 2), (1, 2)).any()
    np.testing.assert_array_equal(to_picture(labels, (1, 2), (1, 2), stretch="label"), [[0, 0]])
    opposite = torch.tensor([[[0.9, 0.8]], [[0.05, 0.1]]])
    np.testing.assert_array_equal(to_picture(opposite, (1, 2), (1, 2), stretch="label"), [[0, 1]])
    # Not by the largest alone: the second label's smallest value counts as nothing.
    high = torch.tensor([[[0.9, 0.8, 0.7]], [[0.0, 0.8, 1.0]]])  # 1, 1/2, 0 against 0, 0.8, 1
    np.testing.assert_array_equal(to_picture(high, (1, 3), (1, 3), stretch="label"), [[0, 1, 1]])
    # By place: where the first is larger it is 1, so that in between the first place's margin counts as the second's.
    uneven = torch.tensor([[[0.9, 0.0]], [[0.0, 0.2]]])
    plain = to_picture(uneven, (1, 8), (1, 8)).sum()
    assert to_picture(uneven, (1, 8), (1, 8), stretch="place").sum() == 4 > plain


def test_masks_are_carried_through_frames_of_any_source():
    """Noise that moves by a patch a frame, and a square of it with an id of its own."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (32, 64, 3), np.uint8)
    mask = np.zeros((64, 128), np.uint8)
    mask[16:48, 32:64] = 7  # twice the size of the frames
    preset = PropagationPreset(rule=Rule(top=1), resize="32x64")
    moving = (np.roll(scene, 8 * t, 1) for t in range(4))
    masks = list(carry_masks(FrameFeatures(Patches(dim=32)), moving, mask, preset))
    assert len(masks) == 4 and np.array_equal(masks[0], mask)
    for t, found in enumerate(masks):
        assert set(np.unique(found)) == {0, 7}
        assert (found == np.roll(mask, 16 * t, 1)).mean() > 0.97
    half = replace(preset, resize="16x32")
    assert next(iter(carry_masks(FrameFeatures(Patches()), [scene], mask, half))).shape == (64, 128)
    with pytest.raises(DataError, match="shows no object"):
        next(carry_masks(FrameFeatures(Patches()), [scene], mask * 0, preset))


@pytest.mark.parametrize(
    ("resize", "multiple", "size"),
    [
        ("480x880", 64, (480, 880)),
        ("short480", 64, (480, 832)),
        ("short480", 8, (480, 848)),
        ("long880", 64, (448, 880)),
        ("long20", 64, (64, 20)),
    ],
)
def test_sizes_of_480_x_854(resize, multiple, size):
    assert PropagationPreset(resize=resize, multiple=multiple).frame_size(480, 854) == size
    if resize[0] in "sl":
        assert PropagationPreset(resize=resize, multiple=multiple).frame_size(854, 480) == size[::-1]


def test_a_square_frame_has_equal_sides_up_to_the_multiple():
    assert PropagationPreset(resize="short100", multiple=10).frame_size(50, 50) == (100, 100)
    with pytest.raises(RecipeError, match="HEIGHTxWIDTH"):
        PropagationPreset(resize="large")
    with pytest.raises(RecipeError, match=r"propagation\.batch=0"):
        PropagationPreset(batch=0)


@pytest.mark.parametrize(
    ("name", "memory", "top", "temperature", "radius", "resize", "best"),
    [
        ("davis", 20, 7, 0.7, 20, "480x880", 5),
        ("jhmdb", 20, 7, 0.7, 20, "320x320", 5),
        ("vip", 20, 10, 0.7, 20, "long880", 5),
        ("davis-dino", 7, 5, 0.1, 12, "short480", 5),
        ("davis-crw", 20, 10, 0.05, 12, "short480", 5),
        ("jhmdb-crw", 20, 10, 0.05, 12, "320x320", 3),
        ("vip-crw", 20, 10, 0.05, 12, "560x560", 5),
    ],
)
def test_presets_have_the_published_values(name, memory, top, temperature, radius, resize, best):
    preset, rule = PRESETS[name], PRESETS[name].rule
    assert (rule.memory, rule.top, rule.temperature, rule.radius) == (memory, top, temperature, radius)
    assert (preset.resize, preset.best, preset.sigma) == (resize, best, 0.5)
    is_dino = name == "davis-dino"
    assert (rule.pads, rule.everywhere, rule.ties, rule.window) == (
        (False, False, "all", "square") if is_dino else (True, True, "first", "disc")
    )
    assert (preset.grid_labels, preset.stretch) == (("nearest", "label") if is_dino else ("bilinear", "none"))
