"""Colour as one matrix, and one operation after another: against colorsys, PIL, plain formulas and kornia."""

import colorsys

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.randomness import numpy_generator
from kinema.views import colour_exact as exact
from kinema.views.colour import (
    BRIGHTNESS,
    CONTRAST,
    SATURATION,
    Affine,
    ColourJitter,
    apply_affine,
    channel_means,
    grey_matrix,
    hue_matrix,
    jitter_matrix,
    normalise,
    to_uint8,
)

FACTORS = torch.tensor([0.7, 1.0, 1.6])
WEIGHTS = (0.2989, 0.587, 0.114)


@pytest.fixture
def floats(clips):
    """The clips in [0, 1]."""
    return clips.float() / 255


def batch(draws):
    """Stacked factors [B, 4] and order [B, 4]."""
    return torch.tensor(np.stack([d.factors for d in draws])), torch.tensor(np.stack([d.order for d in draws]))


def as_matrix(jitter, clips, factors, order):
    """The jitter as one matrix, not cut to [0, 1]."""
    start = Affine(torch.eye(3).expand(len(clips), 3, 3), torch.zeros(len(clips), 3, 1))
    found = jitter_matrix(jitter, factors, order, means=channel_means(clips, jitter.pivot), start=start)
    pixels = (found.matrix @ clips.flatten(2)).view(clips.shape)
    return pixels + found.offset.view(len(clips), 3, -1, 1, 1)


def slowly(jitter, clip, factors, order):
    """One clip [3, T, H, W], one operation after another, never cut, from the definitions; hue by a matrix."""
    weights = torch.tensor(jitter.grey).view(3, 1, 1, 1)
    for number in order.tolist():
        factor = float(factors[number])
        grey = (weights * clip).sum(0, keepdim=True)
        if number == BRIGHTNESS:
            clip = clip + factor if jitter.additive else clip * factor
        elif number == CONTRAST:
            mean = {
                "clip": grey.mean(),
                "frame": grey.mean((2, 3), keepdim=True),
                "channel": clip.mean((1, 2, 3), keepdim=True),
                "frame-channel": clip.mean((2, 3), keepdim=True),
                "zero": torch.tensor(0.0),
            }[jitter.pivot]
            clip = mean + factor * (clip - mean)
        elif number == SATURATION:
            clip = grey + factor * (clip - grey)
        else:
            clip = torch.einsum("ij,jthw->ithw", hue_matrix(torch.tensor(factor).view(1, 1, 1))[0], clip)
    return clip


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("pivot", ["clip", "frame", "channel", "frame-channel", "zero"])
def test_one_matrix_equals_one_operation_after_another(floats, pivot, additive):
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.1, pivot=pivot, additive=additive)
    for seed in range(4):
        rng = numpy_generator(seed)
        factors, order = batch([jitter.draw(rng) for _ in floats])
        found = as_matrix(jitter, floats, factors, order)
        for i, clip in enumerate(floats):
            torch.testing.assert_close(found[i], slowly(jitter, clip, factors[i], order[i]), atol=1e-5, rtol=0)


def test_the_matrix_cuts_at_the_end(floats):
    affine = Affine(3 * torch.eye(3).expand(3, 3, 3), torch.full((3, 3, 1), -0.5))
    assert torch.equal(apply_affine(floats, affine), (3 * floats - 0.5).clamp(0, 1))


def test_each_operation_alone_equals_its_exact_form_where_nothing_is_cut(floats):
    calm = 0.3 + 0.3 * floats
    for place in (BRIGHTNESS, CONTRAST, SATURATION):
        factors = torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 3)
        factors[:, place] = FACTORS
        order = torch.arange(4).expand(3, 4)
        jitter = ColourJitter(1.0, 1.0, 1.0)
        wanted = exact.jitter_exactly(jitter, calm, factors, order)
        assert not torch.allclose(wanted, calm)
        torch.testing.assert_close(as_matrix(jitter, calm, factors, order), wanted, atol=1e-5, rtol=0)


def test_hue_equals_colorsys(floats):
    turns = torch.tensor([-0.5, 0.1, 0.37])
    out = exact.shift_hue(floats, turns)
    for i, shift in enumerate(turns.tolist()):
        for y, x in np.ndindex(6, 8):
            hue, saturation, value = colorsys.rgb_to_hsv(*floats[i, :, 1, 4 * y, 4 * x].tolist())
            wanted = torch.tensor(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value))
            torch.testing.assert_close(out[i, :, 1, 4 * y, 4 * x], wanted, atol=2e-6, rtol=0)


def test_hsv_saturation_equals_colorsys(floats):
    out = exact.scale_hsv_saturation(floats, FACTORS)
    for i, factor in enumerate(FACTORS.tolist()):
        for y, x in np.ndindex(6, 8):
            hue, saturation, value = colorsys.rgb_to_hsv(*floats[i, :, 0, 4 * y, 4 * x].tolist())
            wanted = torch.tensor(colorsys.hsv_to_rgb(hue, min(1, saturation * factor), value))
            torch.testing.assert_close(out[i, :, 0, 4 * y, 4 * x], wanted, atol=2e-6, rtol=0)


def test_greys_and_extremes_have_no_hue_to_shift():
    greys = torch.tensor([0.0, 0.3, 1.0]).view(3, 1, 1, 1, 1).expand(3, 3, 1, 2, 2)
    assert torch.equal(exact.shift_hue(greys, torch.tensor([0.1, 0.2, 0.3])), greys)


@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Color"])
def test_blends_equal_pil(clips, name):
    from PIL import Image, ImageEnhance

    operation = {
        "Brightness": exact.adjust_brightness,
        "Contrast": lambda x, f: exact.adjust_contrast(x, f, "frame"),
        "Color": exact.adjust_saturation,
    }[name]
    out = operation(clips.float() / 255, FACTORS)
    for i, factor in enumerate(FACTORS.tolist()):
        image = Image.fromarray(clips[i, :, 1].permute(1, 2, 0).numpy())
        wanted = torch.from_numpy(np.array(getattr(ImageEnhance, name)(image).enhance(factor)))
        # PIL rounds its greys and cuts its results.
        assert (255 * out[i, :, 1].permute(1, 2, 0) - wanted).abs().max() < 2


def test_contrast_of_a_clip_keeps_the_differences_between_frames(floats):
    factor = torch.full((3,), 0.5)
    per_clip, per_frame = (exact.adjust_contrast(floats, factor, pivot) for pivot in ("clip", "frame"))
    means = exact.to_grey(floats).mean((1, 3, 4))
    torch.testing.assert_close(exact.to_grey(per_frame).mean((1, 3, 4)), means, atol=1e-3, rtol=0)
    halved = exact.to_grey(per_clip).mean((1, 3, 4)).diff()
    torch.testing.assert_close(halved, means.diff() / 2, atol=1e-3, rtol=0)


def test_operations_run_in_the_drawn_order_and_are_cut_after_each():
    clips = torch.full((1, 3, 1, 2, 2), 0.8)
    clips[:, :, :, 0] = 0.4
    factors = torch.tensor([[2.0, 0.5, 1.0, 0.0]])
    jitter = ColourJitter(1.0, 1.0)
    first = exact.jitter_exactly(jitter, clips, factors, torch.tensor([[0, 1, 2, 3]]))
    second = exact.jitter_exactly(jitter, clips, factors, torch.tensor([[1, 0, 3, 2]]))
    # (0.8, 0.4) -> (1, 0.8) -> about its mean grey; and about the mean first -> doubled, cut.
    grey = 0.9 * sum(WEIGHTS)
    torch.testing.assert_close(first[0, 0, 0, :, 0], torch.tensor([0.8 + grey, 1.0 + grey]) / 2)
    torch.testing.assert_close(second[0, 0, 0, :, 0], torch.tensor([0.4 + 0.6 * sum(WEIGHTS), 1.0]))


def test_masking_equals_leaving_out(floats, masked):
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.4, each=0.6, exact=True)
    rng = numpy_generator(3)
    factors, order = batch([jitter.draw(rng) for _ in floats])
    first = exact.jitter_exactly(jitter, floats, factors, order)
    masked()
    torch.testing.assert_close(exact.jitter_exactly(jitter, floats, factors, order), first, atol=1e-6, rtol=0)


def test_a_linear_hue_rotation_keeps_luma_and_comes_back_after_a_turn(floats):
    turns = torch.tensor([0.1, -0.3, 0.5]).view(3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114])
    matrix = hue_matrix(turns)
    torch.testing.assert_close(luma @ matrix, luma.expand(3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(hue_matrix(-turns) @ matrix, torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)
    green = hue_matrix(torch.full((1, 1, 1), 1 / 3)) @ torch.tensor([1.0, 0.0, 0.0])
    assert green.argmax() == 1


def test_greyscale_is_the_weighted_mean_in_all_channels(floats):
    drawn = torch.tensor([True, False, True])
    out = apply_affine(floats, Affine(grey_matrix(drawn), torch.zeros(3, 3, 1)))
    wanted = (torch.tensor(WEIGHTS).view(3, 1, 1, 1) * floats).sum(1, keepdim=True).expand_as(floats)
    torch.testing.assert_close(out[drawn], wanted[drawn])
    torch.testing.assert_close(out[1], floats[1])


def test_draws_keep_to_their_ranges_probabilities_and_orders():
    jitter = ColourJitter((0.5, 0.6), 0.4, 2.0, 0.25, p=0.5, each=0.8)
    rng = numpy_generator(0)
    factors, order = batch([jitter.draw(rng) for _ in range(4000)])
    changed = factors != torch.tensor([1.0, 1.0, 1.0, 0.0])
    torch.testing.assert_close(changed.float().mean(0), torch.full((4,), 0.4), atol=0.03, rtol=0)
    assert changed.any(1).float().mean() < 0.53
    low, high = zip(*((f[c].min(), f[c].max()) for f, c in zip(factors.T, changed.T, strict=True)), strict=True)
    assert low == pytest.approx([0.5, 0.6, 0, -0.25], abs=0.02) and high == pytest.approx([0.6, 1.4, 3, 0.25], abs=0.02)
    assert len(order.unique(dim=0)) == 24 and (order.sort(1).values == torch.arange(4)).all()
    assert ColourJitter(0.1, shuffled=False).draw(rng).order.tolist() == [0, 1, 2, 3]


def test_added_brightness_is_drawn_around_zero():
    jitter = ColourJitter(brightness=32 / 255, additive=True)
    rng = numpy_generator(0)
    drawn = [jitter.draw(rng).factors[BRIGHTNESS] for _ in range(500)]
    assert -32 / 255 <= min(drawn) < -0.12 and 0.12 < max(drawn) <= 32 / 255


def test_options_that_contradict_are_refused():
    with pytest.raises(RecipeError, match="exact=true"):
        ColourJitter(hsv_saturation=True)
    with pytest.raises(RecipeError, match="turns"):
        ColourJitter(hue=36)


def test_normalise_takes_bytes_and_floats(clips, floats):
    mean, std = (0.45, 0.4, 0.5), (0.225, 0.2, 0.25)
    out = normalise(floats, mean, std)
    torch.testing.assert_close(out[:, 1], (floats[:, 1] - 0.4) / 0.2)
    torch.testing.assert_close(normalise(clips, mean, std), out, atol=1e-5, rtol=0)
    known = normalise(torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1, 1), (0.45,), (0.225,))
    assert known.flatten().tolist() == pytest.approx([-2.0, 0.23094, 2.44444], abs=1e-5)


def test_bytes_come_back(clips, floats):
    assert torch.equal(to_uint8(floats), clips)


def test_exact_operations_equal_kornia(floats):
    enhance = pytest.importorskip("kornia.enhance", reason="kornia is not installed")
    frames = floats.transpose(1, 2).flatten(0, 1)
    weights = (0.299, 0.587, 0.114)
    factor = FACTORS.repeat_interleave(2)

    def clips_of(images):
        return images.view(3, 2, 3, 24, 32).transpose(1, 2)

    pairs = [
        (exact.adjust_brightness(floats, FACTORS), enhance.adjust_brightness_accumulative(frames, factor)),
        (
            exact.adjust_contrast(floats, FACTORS, "frame", weights),
            enhance.adjust_contrast_with_mean_subtraction(frames, factor),
        ),
        (
            exact.adjust_saturation(floats, FACTORS, weights),
            enhance.adjust_saturation_with_gray_subtraction(frames, factor),
        ),
        (exact.shift_hue(floats, FACTORS - 1), enhance.adjust_hue(frames, 2 * torch.pi * (factor - 1))),
    ]
    for ours, stock in pairs:
        torch.testing.assert_close(ours, clips_of(stock), atol=1e-4, rtol=0)
