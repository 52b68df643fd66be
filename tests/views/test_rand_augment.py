"""RandAugment: every operation against PIL, the strengths against timm's published scale, both ways equal."""

import numpy as np
import pytest
import torch

from kinema.data.sample import collate
from kinema.errors import RecipeError
from kinema.randomness import numpy_generator
from kinema.views import RandAugment, tables
from kinema.views.rand_augment import OPERATIONS
from tests.views.pictures import picture_clips

FILL = (124, 116, 104)
STRENGTHS = {
    "autocontrast": 0.0,
    "equalise": 0.0,
    "invert": 0.0,
    "rotate": -17.0,
    "posterise": 2.0,
    "solarise": 77.0,
    "solarise-add": 60.0,
    "colour": 1.6,
    "contrast": 0.35,
    "brightness": 1.7,
    "sharpness": 1.8,
    "shear-x": 0.2,
    "shear-y": -0.2,
    "translate-x": 0.25,
    "translate-y": -0.125,
}


def by_pil(name, image, strength):
    """The operation on one PIL image."""
    from PIL import Image, ImageEnhance, ImageOps

    width, height = image.size
    maps = {
        "shear-x": (1, strength, 0, 0, 1, 0),
        "shear-y": (1, 0, 0, strength, 1, 0),
        "translate-x": (1, 0, strength * width, 0, 1, 0),
        "translate-y": (1, 0, 0, 0, 1, strength * height),
    }
    if name in maps:
        return image.transform(
            image.size, Image.Transform.AFFINE, maps[name], Image.Resampling.BILINEAR, fillcolor=FILL
        )
    if name == "rotate":
        return image.rotate(strength, Image.Resampling.BILINEAR, fillcolor=FILL)
    if name in ("colour", "contrast", "brightness", "sharpness"):
        return getattr(ImageEnhance, {"colour": "Color"}.get(name, name.title()))(image).enhance(strength)
    if name == "solarise-add":
        return image.point([min(255, i + int(strength)) if i < 128 else i for i in range(256)] * 3)
    return {
        "autocontrast": ImageOps.autocontrast,
        "equalise": ImageOps.equalize,
        "invert": ImageOps.invert,
        "posterise": lambda i: ImageOps.posterize(i, int(strength)),
        "solarise": lambda i: ImageOps.solarize(i, int(strength)),
    }[name](image)


def one(name, clips, strength=None, **options):
    """The same operation for all clips."""
    augment = RandAugment(mode="bilinear", **options)
    operation = torch.full((len(clips),), OPERATIONS.index(name))
    strength = STRENGTHS[name] if strength is None else strength
    return augment.step(clips, operation, torch.full((len(clips),), strength))


@pytest.mark.parametrize("ways", ["drawn", "masks"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_equals_pil_frame_by_frame(name, ways, masked):
    from PIL import Image

    clips = picture_clips(2, height=25, width=33)
    clips[1] = 60 + clips[1] // 3
    if ways == "masks":
        masked()
    out = one(name, clips)
    assert out.dtype == torch.uint8
    warps = name == "rotate" or name[:5] in ("shear", "trans")
    for i, t in np.ndindex(2, 2):
        image = Image.fromarray(clips[i, :, t].permute(1, 2, 0).numpy())
        wanted = np.asarray(by_pil(name, image, STRENGTHS[name])).astype(int)
        difference = np.abs(wanted - out[i, :, t].permute(1, 2, 0).numpy())
        if warps:  # PIL decides in fixed point which pixels lie on the border; whole numbers may fall short
            assert (difference > 0).mean() < 0.05 and (difference > 1).mean() < 0.01
        else:
            assert difference.max() == 0
    if name != "autocontrast":
        assert not torch.equal(out, clips)


@pytest.mark.parametrize("strength", [0.1, 0.9, 1.9])
@pytest.mark.parametrize("name", ["colour", "contrast", "brightness", "sharpness"])
def test_blends_equal_pil_on_both_sides_of_one(clips, name, strength):
    from PIL import Image

    out = one(name, clips, strength)
    wanted = by_pil(name, Image.fromarray(clips[0, :, 0].permute(1, 2, 0).numpy()), strength)
    assert np.array_equal(np.asarray(wanted), out[0, :, 0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", ["autocontrast", "equalise"])
def test_flat_frames_stay(name):
    flat = torch.full((1, 3, 2, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(one(name, flat), flat)


@pytest.mark.parametrize("bits", range(9))
def test_posterise_keeps_the_high_bits(bits):
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16)
    out = tables.look_up(values, tables.posterise_table(torch.tensor([bits])))
    assert out.flatten().tolist() == [value >> (8 - bits) << (8 - bits) for value in range(256)]


def test_statistics_of_the_clip_do_not_flicker(clips):
    fading = torch.stack([clips[:, :, 0], clips[:, :, 0] // 2], 2)
    for name in ("autocontrast", "contrast", "equalise"):
        of_clip = one(name, fading, statistics="clip").float().mean((0, 1, 3, 4))
        of_frame = one(name, fading).float().mean((0, 1, 3, 4))
        assert of_clip[0] / of_clip[1] > 1.25 * of_frame[0] / of_frame[1] or name == "contrast"
        assert not torch.equal(of_clip, of_frame)


def test_masking_equals_leaving_out(masked):
    clips = picture_clips(6, height=25, width=33)
    augment = RandAugment(p=0.8, operations=3)
    draws = collate([augment.draw(numpy_generator("ways", i)) for i in range(6)])
    first = augment.apply(clips, draws)
    masked()
    second = augment.apply(clips, draws)
    assert (first.int() - second.int()).abs().float().mean() < 0.01


def test_every_device_agrees(clips, device):
    augment = RandAugment(p=1.0)
    draws = collate([augment.draw(numpy_generator(i)) for i in range(3)])
    there = augment.apply(clips.to(device), draws).cpu()
    assert (there.int() - augment.apply(clips, draws).int()).abs().float().mean() < 0.1


def test_static_clips_stay_static_and_the_input_stays(clips):
    still = clips[:, :, :1].expand(-1, -1, 3, -1, -1).contiguous()
    before = still.clone()
    augment = RandAugment(p=1.0)
    out = augment.apply(still, collate([augment.draw(numpy_generator(i)) for i in range(3)]))
    assert torch.equal(out, out[:, :, :1].expand_as(out)) and torch.equal(still, before)


def test_operations_follow_each_other(clips):
    augment = RandAugment()
    invert, brighten = OPERATIONS.index("invert"), OPERATIONS.index("brightness")
    draws = {
        "operations": torch.tensor([[invert, brighten], [brighten, invert], [-1, invert]]),
        "strengths": torch.tensor([[0.0, 0.5], [0.5, 0.0], [0.0, 0.0]]),
    }
    out = augment.apply(clips, draws)
    assert torch.equal(out[0], ((255 - clips[0]).float() * 0.5).to(torch.uint8))
    assert torch.equal(out[1], 255 - (clips[1].float() * 0.5).to(torch.uint8))
    assert torch.equal(out[2], 255 - clips[2])


@pytest.mark.parametrize(
    ("name", "increasing", "seven", "plain"),
    [
        ("rotate", True, 21.0, 21.0),
        ("shear-x", True, 0.21, 0.21),
        ("translate-y", True, 0.315, 0.315),
        ("posterise", True, 2, 2),
        ("solarise", True, 77, 179),
        ("solarise-add", True, 77, 77),
        ("contrast", True, 1.63, 1.36),
        ("sharpness", True, 1.63, 1.36),
    ],
)
def test_strengths_at_magnitude_seven(name, increasing, seven, plain):
    number = OPERATIONS.index(name)
    assert RandAugment(increasing=True).strength(number, 0.7, 1.0) == pytest.approx(seven)
    assert RandAugment(increasing=False).strength(number, 0.7, 1.0) == pytest.approx(plain)


def test_signs_and_the_weakest_blend():
    assert RandAugment().strength(OPERATIONS.index("rotate"), 0.7, -1.0) == pytest.approx(-21)
    assert RandAugment().strength(OPERATIONS.index("brightness"), 1.0, -1.0) == pytest.approx(0.1)
    assert RandAugment().strength(OPERATIONS.index("posterise"), 0.9, 1.0) == 1
    assert RandAugment(increasing=False).strength(OPERATIONS.index("posterise"), 0.9, 1.0) == 3


def test_timms_notation():
    assert RandAugment.parse("rand-m7-n4-mstd0.5-inc1") == RandAugment(7, 4, 0.5, True)
    assert RandAugment.parse("rand-m9-p0.3") == RandAugment(9, 2, 0.0, False, 0.3)
    assert RandAugment.parse("rand-mstd101").deviation == float("inf")
    assert RandAugment.parse("rand-m5", mode="bilinear").mode == "bilinear"
    for wrong in ("rand-m7-w0", "augmix-m7", "rand-m7-x3"):
        with pytest.raises(RecipeError, match="RandAugment"):
            RandAugment.parse(wrong)


def test_draws_have_the_asked_probability_and_spread():
    augment = RandAugment(7, 4, 0.5)
    draws = collate([augment.draw(numpy_generator("spread", i)) for i in range(3000)])
    operations, strengths = draws["operations"], draws["strengths"]
    assert operations.shape == strengths.shape == (3000, 4)
    assert (operations == -1).float().mean() == pytest.approx(0.5, abs=0.02)
    counts = torch.bincount(operations[operations >= 0], minlength=15) / (operations >= 0).sum()
    assert counts.min() > 0.05 and counts.max() < 0.085
    turns = strengths[operations == OPERATIONS.index("rotate")]
    assert turns.abs().mean() == pytest.approx(21, abs=0.5) and turns.abs().std() == pytest.approx(1.5, abs=0.3)
    assert (turns > 0).float().mean() == pytest.approx(0.5, abs=0.1) and turns.abs().max() <= 30
    uniform = RandAugment(10, 200, float("inf"), p=1.0).draw(numpy_generator(0))
    turns = np.abs(uniform["strengths"][uniform["operations"] == OPERATIONS.index("translate-x")])
    assert turns.min() < 0.15 and turns.max() > 0.3


def test_only_bytes_are_taken(clips):
    with pytest.raises(RecipeError, match="uint8"):
        RandAugment().apply(clips.float(), {})
