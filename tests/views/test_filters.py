"""Blur, solarisation and gamma: against SciPy, kornia and closed forms, on either way through the code."""

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.randomness import numpy_generator
from kinema.views.filters import Blur, Gamma, gamma, gaussian_blur, gaussian_kernel, solarise

SIGMA = torch.tensor([0.4, 0.0, 1.9])
SCIPY = {"reflect": "mirror", "zero": "constant", "replicate": "nearest"}


@pytest.fixture
def floats(clips):
    """The clips in [0, 1]."""
    return clips.float() / 255


@pytest.mark.parametrize("ways", ["drawn", "matrices"])
@pytest.mark.parametrize("padding", SCIPY)
def test_blur_equals_scipy_where_drawn_and_leaves_the_rest(floats, padding, ways, masked):
    from scipy.ndimage import gaussian_filter

    if ways == "matrices":
        masked()
    out = gaussian_blur(floats, SIGMA, taps=15, padding=padding)
    for i in (0, 2):
        wanted = gaussian_filter(floats[i].numpy(), (0, 0, *[float(SIGMA[i])] * 2), mode=SCIPY[padding], radius=7)
        np.testing.assert_allclose(out[i], wanted, atol=3e-6)
    torch.testing.assert_close(out[1], floats[1], atol=1e-6, rtol=0)


def test_a_short_kernel_is_cut_off_and_sums_to_one():
    kernel = gaussian_kernel(torch.tensor([1.5]), 3)[0]
    side = np.exp(-1 / 4.5)
    assert kernel.tolist() == pytest.approx([side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)])
    assert gaussian_kernel(torch.tensor([0.0]), 5).tolist() == [[0, 0, 1, 0, 0]]


def test_zero_padding_darkens_borders_only(floats):
    flat = torch.full_like(floats, 0.5)
    out = gaussian_blur(flat, torch.full((3,), 2.0), taps=9, padding="zero")
    torch.testing.assert_close(out[..., 4:-4, 4:-4], flat[..., 4:-4, 4:-4])
    assert out[..., 0, 0].max() < 0.25


def test_blur_does_not_change_its_input_and_keeps_static_clips_static(floats):
    still = floats[:, :, :1].expand(-1, -1, 3, -1, -1).contiguous()
    before = still.clone()
    out = gaussian_blur(still, SIGMA)
    assert torch.equal(still, before) and torch.equal(out, out[:, :, :1].expand_as(out))


def test_blur_equals_kornia(floats):
    filters = pytest.importorskip("kornia.filters", reason="kornia is not installed")
    sigma = torch.tensor([0.4, 1.1, 1.9])
    each = sigma.repeat_interleave(2)[:, None].expand(6, 2)
    stock = filters.gaussian_blur2d(floats.transpose(1, 2).flatten(0, 1), (11, 11), each, "reflect")
    wanted = stock.view(3, 2, 3, 24, 32).transpose(1, 2)
    torch.testing.assert_close(gaussian_blur(floats, sigma, taps=11), wanted, atol=5e-6, rtol=0)


def test_blur_is_drawn_with_its_probability_and_range():
    rng = numpy_generator(0)
    drawn = np.array([Blur(0.3, (0.5, 1.5)).draw(rng) for _ in range(3000)])
    assert 0.27 < (drawn > 0).mean() < 0.33
    assert drawn[drawn > 0].min() == pytest.approx(0.5, abs=0.02) and drawn.max() == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("wrong", [{"taps": 12}, {"sigma": (0.0, 1.0)}, {"sigma": (2.0, 1.0)}])
def test_a_blur_that_cannot_be_is_refused(wrong):
    with pytest.raises(RecipeError):
        Blur(**wrong)


def test_a_kernel_longer_than_the_frame_is_refused(floats):
    with pytest.raises(RecipeError, match="too long"):
        gaussian_blur(floats, SIGMA, taps=49)


@pytest.mark.parametrize("ways", ["drawn", "masks"])
def test_solarise_turns_what_is_bright(ways, masked):
    if ways == "masks":
        masked()
    clips = torch.tensor([0.0, 0.49, 0.5, 0.8, 1.0]).expand(2, 3, 1, 1, 5)
    out = solarise(clips, torch.tensor([True, False]))
    torch.testing.assert_close(out[0, 0, 0, 0], torch.tensor([0, 0.49, 0.5, 0.2, 0]))
    assert torch.equal(out[1], clips[1])
    again = solarise(out, torch.tensor([True, True]))
    torch.testing.assert_close(again[0], out[0])
    assert solarise(clips, torch.tensor([True, True]), 0.9)[0, 0, 0, 0].tolist() == pytest.approx(
        [0, 0.49, 0.5, 0.8, 0]
    )


@pytest.mark.parametrize("ways", ["drawn", "masks"])
def test_gamma_is_a_power(floats, ways, masked):
    if ways == "masks":
        masked()
    out = gamma(floats, torch.tensor([1.0, 2.0, 0.5]))
    assert torch.equal(out[0], floats[0])
    torch.testing.assert_close(out[1], floats[1] ** 2)
    torch.testing.assert_close(out[2], floats[2].sqrt())


def test_gamma_is_drawn_with_its_probability():
    rng = numpy_generator(0)
    drawn = np.array([Gamma((0.5, 0.9), p=0.5).draw(rng) for _ in range(1000)])
    assert 0.45 < (drawn == 1).mean() < 0.55 and drawn.min() >= 0.5 and (drawn[drawn < 1] < 0.9).all()
