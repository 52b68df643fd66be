import pytest
import torch

from kinema.errors import RecipeError
from kinema.targets.statistics import COLOURS, appearance_labels, colour_stability, partition
from tests.targets.statistics_oracle import appearance, pixels_of, region_overlap

OCTANT_COLOURS = {  # red, green, blue of each number, well inside and at the threshold
    1: [(0, 0, 255), (127, 127, 128)],
    2: [(0, 255, 255), (127, 128, 128)],
    3: [(255, 0, 255), (128, 127, 128)],
    4: [(255, 255, 255), (128, 128, 128)],
    5: [(0, 0, 0), (127, 127, 127)],
    6: [(0, 255, 0), (127, 128, 127)],
    7: [(255, 0, 0), (128, 127, 127)],
    8: [(255, 255, 0), (128, 128, 127)],
}


def labels(clip, colour="vote"):
    return appearance_labels(clip, colour)[0].tolist()


def random_clip(seed, batch, frames, size, levels=256):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, levels, (batch, 3, frames, size, size), generator=generator)
    return (values * (255 // (levels - 1))).to(torch.uint8)


@pytest.mark.parametrize("colour", ["vote", "exact"])
def test_known_clip_has_the_published_labels(colour):
    clip = torch.zeros(1, 3, 16, 112, 112, dtype=torch.uint8)
    clip[:, 1] = 200
    clip[0, :, :10, 56:84, 28:56] = torch.tensor([220, 10, 10])[:, None, None, None]
    clip[0, :, 10:, 56:84, 28:56] = torch.tensor([10, 10, 220])[:, None, None, None]
    clip[:, :, :, :10] = 250
    assert labels(clip, colour) == [10, 7, 1, 6, 1, 6, 3, 6, 5, 6, 1, 6, 6]


@pytest.mark.parametrize("colour", ["vote", "exact"])
@pytest.mark.parametrize("number", range(1, 9))
def test_solid_colours_have_their_numbers(number, colour):
    for channels in OCTANT_COLOURS[number]:
        clip = torch.tensor(channels, dtype=torch.uint8).view(1, 3, 1, 1, 1).repeat(1, 1, 4, 32, 32)
        assert labels(clip, colour) == [1, number, 1, number] * 3 + [number]


def test_names_of_the_colours():
    assert COLOURS == ("blue", "cyan", "magenta", "white", "black", "green", "red", "yellow")


def test_a_still_clip_is_stable_everywhere():
    clip = random_clip(0, 1, 1, 64).repeat(1, 1, 16, 1, 1)
    assert torch.equal(colour_stability(clip), torch.ones(1, 28))
    found = labels(clip)
    assert [found[i] for i in (0, 2, 4, 6, 8, 10)] == [1] * 6


def test_a_blinking_block_is_the_least_stable():
    clip = random_clip(0, 1, 1, 112).repeat(1, 1, 16, 1, 1)
    clip[:, :, ::2, 28:56, 56:84] = 0
    clip[:, :, 1::2, 28:56, 56:84] = 255
    stability = colour_stability(clip)[0]
    assert stability[:16].tolist() == [1.0] * 6 + [0.0] + [1.0] * 9
    assert labels(clip)[0] == 7


@pytest.mark.parametrize("colour", ["vote", "exact"])
@pytest.mark.parametrize("levels", [3, 256])
def test_labels_equal_the_slow_calculation(colour, levels):
    clip = random_clip(levels, 2, 3, 16, levels)
    found = appearance_labels(clip, colour)
    assert found.tolist() == [appearance(one.numpy(), colour) for one in clip]


@pytest.mark.parametrize("size", [32, 64])
def test_labels_of_a_moving_picture_equal_the_slow_calculation(size):
    picture = random_clip(size, 1, 1, 2 * size, 52)
    frames = [picture[:, :, 0, 3 * t : 3 * t + size, 2 * t : 2 * t + size] for t in range(3)]
    clip = torch.stack(frames, 2)
    clip[..., : size // 3] //= 2
    for colour in ("vote", "exact"):
        assert labels(clip, colour) == appearance(clip[0].numpy(), colour)


def test_stability_equals_the_slow_calculation():
    clip = random_clip(3, 2, 4, 32, 9)
    for one, found in zip(clip, colour_stability(clip), strict=True):
        slow = [region_overlap(one.numpy(), pixels) for pattern in pixels_of(32) for pixels in pattern]
        assert found.tolist() == [float(value) for value in slow]


def test_equally_frequent_colours_smallest_blue_then_green_then_red_wins():
    clip = torch.zeros(1, 3, 2, 32, 32, dtype=torch.uint8)
    clip[:, 0, 0] = 255  # red in the first frame, code 255
    clip[:, 1, 1] = 255  # green in the second, code 65280
    assert labels(clip, "exact") == [1, 7, 1, 7] * 3 + [7]
    assert labels(clip, "vote") == [1, 6, 1, 6] * 3 + [6]


def test_vote_and_exact_differ_where_the_commonest_colour_is_a_minority():
    clip = random_clip(1, 1, 4, 64) // 4 + 190  # many different bright colours
    clip[..., ::4] = 0  # one exact black
    assert labels(clip, "vote")[12] == 4
    assert labels(clip, "exact")[12] == 5


@pytest.mark.parametrize("colour", ["vote", "exact"])
@pytest.mark.parametrize("size", [32, 112])
def test_a_clip_has_the_same_labels_in_any_batch_and_memory_order(size, colour):
    clip = random_clip(size, 3, 4, size)
    together = appearance_labels(clip, colour)
    assert torch.equal(together, torch.cat([appearance_labels(one[None], colour) for one in clip]))
    channels_last = clip.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    assert torch.equal(appearance_labels(channels_last, colour), together)
    assert together.dtype == torch.int64
    assert colour_stability(clip).dtype == torch.float32


def test_pixels_outside_a_region_do_not_count():
    clip = torch.full((1, 3, 2, 32, 32), 255, dtype=torch.uint8)
    outside = ~partition(2, 32)[0]
    clip[:, :, 0, outside] = 0
    stability = colour_stability(clip)[0]
    assert stability[16:20].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match="uint8"):
        appearance_labels(torch.zeros(1, 3, 4, 32, 32))
    with pytest.raises(ValueError, match=r"\[B, 3, T, S, S\]"):
        appearance_labels(torch.zeros(1, 3, 4, 32, 40, dtype=torch.uint8))
    with pytest.raises(RecipeError, match="crop size 36"):
        appearance_labels(torch.zeros(1, 3, 4, 36, 36, dtype=torch.uint8))
    with pytest.raises(RecipeError, match="Did you mean 'vote'"):
        appearance_labels(torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8), "votes")
