import pickle

import numpy as np
import pytest

from kinema.errors import RecipeError
from kinema.evaluation import views
from kinema.evaluation.views import (
    PRESETS,
    Crop,
    clip_indices,
    five_crops,
    geometry,
    ten_crops,
    three_crops,
    three_even_crops,
    three_uniform_crops,
    uniform_center_crop,
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


def test_ssv2_takes_every_second_of_32_interleaved_frames():
    # tick = 40 / 16 = 2.5: int(2.5 x) and int(1.25 + 2.5 x), sorted together, dealt to two clips in turn.
    merged = sorted([int(2.5 * x) for x in range(16)] + [int(1.25 + 2.5 * x) for x in range(16)])
    found = clip_indices(PRESETS["ssv2_2x3"], 40, frames=16, stride=4)
    assert found.tolist() == [merged[0::2], merged[1::2]]
    assert clip_indices(PRESETS["ssv2_2x3"], 3, frames=4).tolist() == [[0, 0, 1, 2], [0, 1, 1, 2]]


def test_cvrl_starts_leave_room_for_whole_strides():
    # L = 300, 32 frames at stride 2: int(linspace(0, 236, 10)).
    assert starts("10x3", 300, frames=32, stride=2) == [0, 26, 52, 78, 104, 131, 157, 183, 209, 236]


def test_vjepa_spreads_a_clip_over_a_window_in_each_segment():
    # 800 frames in 8 parts of 100; a window of 64 in the middle of each: int(linspace(0, 64, 16)), at most 63.
    found = clip_indices(PRESETS["vjepa_8x3"], 800, frames=16, stride=4)
    assert found[0].tolist() == [18 + min(63, int(64 / 15 * k)) for k in range(16)]
    assert (np.diff(found, axis=0) == 100).all()
    # 100 frames: windows of 64 overlap, (100 - 64) // 7 = 5 apart; 15 frames over 0 … 63, the last one repeated at 62.
    tight = clip_indices(PRESETS["vjepa_8x3"], 100, frames=16, stride=4)
    assert tight[0].tolist() == [min(62, int(4.5 * k)) for k in range(15)] + [62]
    assert (np.diff(tight, axis=0) == 5).all()
    # 20 frames: not even one window fits, every clip is the same.
    short = clip_indices(PRESETS["vjepa_2x3"], 20, frames=16, stride=4)
    assert short.tolist() == [[0, 6, 12, 18] + [18] * 12] * 2


def test_sliding_windows_share_half_their_frames():
    assert starts("sliding", 50) == [0, 8, 16, 24, 32]
    assert starts("sliding", 31) == [0, 8] and starts("sliding", 9) == [0]
    assert starts("sliding", 64, frames=8, stride=2) == [0, 8, 16, 24, 32, 40, 48]
    assert clip_indices(PRESETS["sliding"], 9, frames=16)[0].tolist() == [*range(9)] + [8] * 7


def test_coclr_windows_are_one_frame_denser_and_pad_at_the_front():
    assert starts("coclr", 100, frames=32) == [0, 15, 30, 45, 60]
    assert clip_indices(PRESETS["coclr"], 5, frames=8).tolist() == [[0, 0, 0, 0, 1, 2, 3, 4]]
    assert clip_indices(PRESETS["coclr_ten"], 32, frames=32).tolist() == [[*range(32)]]


def test_windows_of_a_long_video_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(views, "MOST", 5)
    assert starts("sliding", 1000) == [0, 240, 488, 736, 984]


def test_presets_cross_process_borders():
    for preset in PRESETS.values():
        assert pickle.loads(pickle.dumps(preset)) is preset


def test_ten_by_three_and_single_center():
    assert starts("10x3", 100, frames=10) == [int(10 * i) for i in range(10)]
    assert starts("single_center", 101, frames=16, stride=2) == [35]
    assert starts("single_center", 5, frames=16, stride=2) == [0]


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("length", [1, 7, 16, 33, 500])
def test_every_clip_lies_inside_the_video_and_keeps_its_stride(name, length):
    indices = clip_indices(PRESETS[name], length, frames=8, stride=3)
    assert indices.shape == (PRESETS[name].clips or len(indices), 8)
    assert indices.min() >= 0 and indices.max() < length
    steps = set(np.diff(indices, axis=1).ravel().tolist())
    if name == "ssv2_2x3" or any(part in name for part in ("vjepa", "mae_st", "child")):  # spread over a window instead
        assert min(steps) >= 0 and (length < 500 or max(steps) - min(steps) <= 1)
    else:
        assert steps <= ({3} if length > 40 else {0, 1, 2, 3})


def test_short_videos_repeat_their_last_frame():
    assert clip_indices(PRESETS["uniform10"], 3, frames=6)[4].tolist() == [0, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(("long", "expected"), [(298, [0, 37, 74]), (224, [0, 0, 0]), (301, [0, 38, 77])])
def test_three_crops_run_along_the_longer_side(long, expected):
    assert [crop.left for crop in three_crops(224, long, 224, 224)] == expected
    assert [crop.top for crop in three_crops(long, 224, 224, 224)] == expected
    assert {crop.top for crop in three_crops(226, long + 9, 224, 224)} == {1}


def test_mae_st_spreads_a_clip_over_all_of_its_span():
    # 300 frames, 16 of 128: starts i (172 // 9); the last frame of a clip is its 128th.
    found = clip_indices(PRESETS["mae_st_10x3"], 300, frames=16, stride=8)
    assert found[[0, 4, 9], 0].tolist() == [0, 76, 171]
    assert (found[:, -1] - found[:, 0] == 127).all()
    assert clip_indices(PRESETS["mae_st_center"], 300, frames=16, stride=8)[0, [0, 1, 15]].tolist() == [86, 94, 213]
    assert clip_indices(PRESETS["mae_st_center"], 100, frames=16, stride=8)[0, [0, 15]].tolist() == [0, 99]
    assert [crop.left for crop in three_uniform_crops(224, 301, 224, 224)] == [0, 39, 77]
    assert [crop.top for crop in three_uniform_crops(301, 224, 224, 224)] == [0, 39, 77]
    assert uniform_center_crop(224, 301, 224, 224) == [Crop(0, 39)]


def test_a_random_view_is_the_same_each_time_and_another_for_each_video():
    preset, network = PRESETS["child_view_random"], EncoderInput(resize=(256, 340), size=(224, 224))
    assert PRESETS["single_center"].of("a") is PRESETS["single_center"]
    first, again = (geometry(preset.of("a", "0"), network, height=240, width=320) for _ in range(2))
    assert first == again
    seen = [preset.of(f"{number}") for number in range(400)]
    shapes = [geometry(one, network, height=240, width=320) for one in seen]
    sides = [shape.resize[0] for shape in shapes]
    assert (min(sides), max(sides)) == (256, 320)
    corners = [
        (shape.crops[0].top / (side - 224), shape.crops[0].left) for shape, side in zip(shapes, sides, strict=True)
    ]
    assert min(top for top, _ in corners) < 0.05 and max(top for top, _ in corners) > 0.95
    assert all(0 <= shape.crops[0].left <= shape.resize[1] - 224 for shape in shapes)
    assert np.mean([shape.crops[0].flip for shape in shapes]) == pytest.approx(0.5, abs=0.08)
    firsts = [int(clip_indices(one, 300, frames=16, stride=8)[0, 0]) for one in seen]
    assert min(firsts) < 5 and max(firsts) in range(165, 173) and np.mean(firsts) == pytest.approx(86, abs=8)


def test_vjepa_cuts_the_step_between_crops_to_whole_pixels():
    for crops, expected in ((three_crops, [0, 42, 85]), (three_even_crops, [0, 42, 84])):
        assert [crop.left for crop in crops(256, 341, 256, 256)] == expected
        assert [crop.top for crop in crops(341, 256, 256, 256)] == expected


def test_uniform_views_of_any_number_and_crops():
    preset = view_preset("uniform4x5")
    assert (preset.views, preset.name) == (20, "uniform4x5")
    assert clip_indices(preset, 40, frames=8)[:, 0].tolist() == [0, 10, 21, 32]
    assert preset.crops(10, 20, 4, 8) == five_crops(10, 20, 4, 8)


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
    # V-JEPA with one view, CoCLR: the short side int(s 256 / 224), the crop s.
    closer = geometry(PRESETS["vjepa_center"], network, height=240, width=320)
    assert closer == ((128, 170), (112, 112), (Crop(8, 29),))
    # CVRL: 240 x 320 becomes 256 x 341, 480 x 360 becomes 341 x 256.
    full = EncoderInput(resize=(256, 256), size=(224, 224))
    assert geometry(PRESETS["10x3"], full, height=240, width=320).resize == (256, 341)
    assert geometry(PRESETS["10x3"], full, height=480, width=360).resize == (341, 256)
    # 112 * 90 / 80 = 126 exactly; 90 * (112 / 80) is a little less in floating point.
    assert geometry(PRESETS["dense5x3"], network, height=80, width=90).resize == (112, 126)


def test_the_number_of_views_is_known_beforehand():
    assert {name: preset.views for name, preset in PRESETS.items()} == {
        "uniform10": 10,
        "tsn_uniform": 10,
        "dense5x3": 15,
        "10x3": 30,
        "ssv2_2x3": 6,
        "10x10": 100,
        "vjepa_8x3": 24,
        "vjepa_2x3": 6,
        "vjepa_center": 1,
        "mae_st_center": 1,
        "mae_st_10x3": 30,
        "child_view_random": 1,
        "single_center": 1,
        "sliding": None,
        "coclr": None,
        "coclr_ten": None,
    }


def test_unknown_views_are_named_with_a_proposal():
    with pytest.raises(RecipeError, match=r"'unifrom10'.*Did you mean 'uniform10'"):
        view_preset("unifrom10")
