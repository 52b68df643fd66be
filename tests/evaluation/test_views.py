import numpy as np
import pytest

from kinema.errors import RecipeError
from kinema.evaluation.views import (
    PRESETS,
    Crop,
    clip_indices,
    five_crops,
    geometry,
    ten_crops,
    three_crops,
    view_preset,
)
from kinema.modules.encoder import EncoderInput


def starts(name, length, frames=16, stride=1):
    return clip_indices(PRESETS[name], length, frames=frames, stride=stride)[:, 0].tolist()


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (300, [0, 31, 63, 94, 126, 157, 189, 220, 252, 284]),
        (100, [0, 9, 18, 28, 37, 46, 56, 65, 74, 84]),
        (40, [0, 2, 5, 8, 10, 13, 16, 18, 21, 24]),
        (16, [0] * 10),
        (9, [0] * 10),
    ],
)
def test_uniform10_starts(length, expected):
    assert starts("uniform10", length) == expected


def test_tsn_uniform_starts():
    # tick = (300 - 16 + 1) / 10 = 28.5
    assert starts("tsn_uniform", 300) == [int(14.25 + 28.5 * i) for i in range(10)]
    assert starts("tsn_uniform", 10) == [0] * 10


def test_dense5x3_cuts_clips_from_the_thinned_video():
    # 300 frames at stride 4 are 75; starts int(k * 59 / 4) of those.
    assert starts("dense5x3", 300, stride=4) == [4 * s for s in (0, 14, 29, 44, 59)]
    short = clip_indices(PRESETS["dense5x3"], 30, frames=16, stride=4)
    assert short.tolist() == [[0, 4, 8, 12, 16, 20, 24] + [28] * 9] * 5


def test_ten_by_three_and_single_center():
    assert starts("10x3", 100, frames=10) == [int(10 * i) for i in range(10)]
    assert starts("single_center", 101, frames=16, stride=2) == [35]
    assert starts("single_center", 5, frames=16, stride=2) == [0]


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("length", [1, 7, 16, 33, 500])
def test_every_clip_lies_inside_the_video_and_keeps_its_stride(name, length):
    indices = clip_indices(PRESETS[name], length, frames=8, stride=3)
    assert indices.shape == (PRESETS[name].clips, 8)
    assert indices.min() >= 0 and indices.max() < length
    assert set(np.diff(indices[:, :], axis=1).ravel().tolist()) <= ({3} if length > 40 else {0, 1, 2, 3})


def test_short_videos_repeat_their_last_frame():
    assert clip_indices(PRESETS["uniform10"], 3, frames=6)[4].tolist() == [0, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(("long", "expected"), [(298, [0, 37, 74]), (224, [0, 0, 0]), (301, [0, 38, 77])])
def test_three_crops_run_along_the_longer_side(long, expected):
    assert [crop.left for crop in three_crops(224, long, 224, 224)] == expected
    assert [crop.top for crop in three_crops(long, 224, 224, 224)] == expected
    assert {crop.top for crop in three_crops(226, long + 9, 224, 224)} == {1}


def test_five_and_ten_crops_are_corners_middle_and_mirrors():
    five = five_crops(10, 20, 4, 8)
    assert five == [Crop(0, 0), Crop(0, 12), Crop(6, 0), Crop(6, 12), Crop(3, 6)]
    assert ten_crops(10, 20, 4, 8) == five + [Crop(c.top, c.left, True) for c in five]


def test_geometry_scales_whole_frames_or_the_short_side():
    network = EncoderInput(resize=(128, 171), size=(112, 112))
    whole = geometry(PRESETS["uniform10"], network, height=240, width=320)
    assert whole == ((128, 171), (112, 112), (Crop(8, 30),))
    kept = geometry(PRESETS["dense5x3"], network, height=240, width=320)
    assert (kept.resize, kept.size) == ((112, 149), (112, 112))
    assert geometry(PRESETS["dense5x3"], network, height=320, width=240).resize == (149, 112)
    larger = geometry(PRESETS["10x3"], network, height=240, width=320)
    assert (larger.resize, larger.size, len(larger.crops)) == ((128, 170), (128, 128), 3)


def test_the_number_of_views_is_known_beforehand():
    assert {name: preset.views for name, preset in PRESETS.items()} == {
        "uniform10": 10,
        "tsn_uniform": 10,
        "dense5x3": 15,
        "10x3": 30,
        "10x10": 100,
        "single_center": 1,
    }


def test_unknown_views_are_named_with_a_proposal():
    with pytest.raises(RecipeError, match=r"'unifrom10'.*Did you mean 'uniform10'"):
        view_preset("unifrom10")
