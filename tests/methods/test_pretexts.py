"""What rotation, clip order and playback rate share: looks, and that nothing is read on the host of a device."""

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.methods.pretext import Look, side_by_side
from kinema.methods.prp import PRP
from kinema.methods.rotnet import RotNet
from kinema.methods.vcop import VCOP
from tests.helpers import CLIP, SIZE, read_batch

TINY = {"frames": CLIP, "size": SIZE, "resize": (32, 40), "backbone": "r3d", "width": 4}
COLOUR = {"colour": (0.1, 0.2, 0.1, 0.05), "colour_p": 1.0}


def a_clip(count=1):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 4, 32, 40), generator=generator, dtype=torch.uint8)


def drawn(look, seed=0):
    draws = look.draw(np.random.default_rng(seed))
    return {name: torch.from_numpy(np.asarray(value))[None] for name, value in draws.items()}


def test_a_plain_look_moves_pixels_and_changes_none():
    clip = a_clip()
    for crop in ("centre", "random"):
        look = Look((32, 40), 24, crop)
        draws = drawn(look)
        top, left, *_ = (int(value) for value in draws["box"][0])
        found = look.colours(look.geometry(clip, draws), draws)
        assert torch.equal(found, clip[..., top : top + 24, left : left + 24])
        assert crop == "random" or (top, left) == (4, 8)
    mirrored = Look((32, 40), 24, "centre", flip=1.0)
    assert torch.equal(mirrored.geometry(clip, drawn(mirrored)), clip[..., 4:28, 8:32].flip(-1))


def test_brightness_is_added_within_its_range():
    grey = torch.full((1, 3, 2, 32, 40), 128, dtype=torch.uint8)
    look = Look((32, 40), 32, colour=(32 / 255, 0.0, 0.0, 0.0), colour_p=1.0)
    levels = []
    for seed in range(60):
        draws = drawn(look, seed)
        found = look.colours(look.geometry(grey, draws), draws)
        assert found.dtype == torch.uint8 and len(found.unique()) == 1
        levels.append(int(found[0, 0, 0, 0, 0]) - 128)
    assert -32 <= min(levels) < -20 and 20 < max(levels) <= 32
    never = Look((32, 40), 32, colour=(0.5, 0.5, 0.5, 0.2), colour_p=0.0)
    draws = drawn(never)
    assert torch.equal(never.colours(grey[..., :32], draws), grey[..., :32])


def test_frames_are_scaled_before_the_crop():
    ramp = torch.arange(40, dtype=torch.uint8).mul(6).expand(1, 3, 2, 32, 40).contiguous()
    slopes = set()
    look = Look((32, 40), 32, resizes=((32, 40), (64, 80)))
    for seed in range(30):
        draws = drawn(look, seed)
        found = look.geometry(ramp, draws)[0, 0, 0, 0].float()
        slopes.add(round(float(found[4:28].diff().mean()), 1))
    assert len(slopes) == 2 and min(slopes) == pytest.approx(3, abs=0.2) and max(slopes) == pytest.approx(6, abs=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 33}, r"does not fit into frames of \(32, 40\)"),
        ({"size": 32, "border": 0.1}, r"does not fit into frames of \(26, 32\)"),
        ({"size": 32, "border": -0.1}, "border=-0.1"),
        ({"size": 32, "resizes": ((30, 40),)}, r"does not fit into frames of \(30, 40\)"),
        ({"size": 16, "resizes": ((32, 40),), "crop": "centre"}, "resizes are drawn for random crops"),
    ],
)
def test_looks_that_cannot_be_are_refused_at_once(options, message):
    with pytest.raises(RecipeError, match=message):
        Look((32, 40), **options)


def test_clips_stand_side_by_side_on_white():
    clips = a_clip(3)
    page = side_by_side(clips)
    assert page.shape == (4, 32, 3 * 40 + 8, 3)
    for number in range(3):
        part = page[:, :, 44 * number : 44 * number + 40]
        assert np.array_equal(part, clips[number].permute(1, 2, 3, 0).numpy())
    assert (page[:, :, 40:44] == 255).all()


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (RotNet, {"rotations": "sample", "rotation": 5.0, "border": 0.0, **COLOUR}),
        (RotNet, {"rotations": "all"}),
        (VCOP, {"interval": 4, "flip": 0.5, **COLOUR}),
        (VCOP, {"interval": 4, "head": "gru"}),
        (PRP, {"dilations": (1, 2, 4), **COLOUR}),
        (PRP, {"dilations": (1, 2, 4), "mask": "gauss"}),
        (PRP, {"dilations": (1, 2, 4), "mask": "constant", "crop": "random"}),
    ],
)
def test_nothing_of_a_step_is_read_on_the_host(tiny_videos, cls, options):
    """The meta device has shapes and no values: whatever looked at one would fail."""
    method = cls(**{**TINY, **options})
    read = read_batch(method, method.index(tiny_videos), prepare=False)
    method.to("meta")
    batch = method.prepare({name: value.to("meta") for name, value in read.items()}, torch.Generator())
    assert len(next(iter(batch.values()))) == 4
    found = method.losses(batch, method.phases[0])
    found["loss"].backward()
    assert found["loss"].device.type == "meta" and all(p.grad is not None for p in method.parameters())
