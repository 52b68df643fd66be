"""Optical flow of known motions, and the exact 8-bit coding."""

import cv2
import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.video.flow import PRESETS, compute_flow, decode_flow, encode_flow


@pytest.fixture(scope="module")
def texture():
    rng = np.random.default_rng(0)
    blurred = cv2.GaussianBlur(rng.integers(0, 256, (200, 200, 3)).astype(np.float32), (0, 0), 2.5)
    low, high = blurred.min(), blurred.max()
    return ((blurred - low) * (255 / (high - low))).astype(np.uint8)


def moved(texture, path, height=96, width=128):
    """Frames of a picture whose content has moved by (right, down) pixels."""
    return np.stack([texture[40 - down :, 30 - right :][:height, :width] for right, down in path])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shift", [(3, 0), (0, 2), (-4, 1), (2, -3)])
def test_translations_are_found(texture, preset, shift):
    flow = compute_flow(moved(texture, [(0, 0), shift]), preset)
    assert flow.shape == (1, 96, 128, 2)
    assert flow.dtype == np.float32
    inner = flow[0, 12:-12, 12:-12].reshape(-1, 2)
    assert np.median(inner, axis=0) == pytest.approx(np.array(shift, float), abs=0.25)
    assert np.abs(inner - shift).mean() < 0.5


def test_each_field_is_from_a_frame_to_the_next(texture):
    flow = compute_flow(moved(texture, [(0, 0), (2, 0), (2, 3), (1, 3)]))
    medians = np.median(flow[:, 12:-12, 12:-12], axis=(1, 2))
    assert medians == pytest.approx(np.array([[2, 0], [0, 3], [-1, 0]], float), abs=0.1)


def test_a_still_picture_does_not_move(texture):
    for preset in PRESETS:
        assert np.abs(compute_flow(moved(texture, [(0, 0), (0, 0)]), preset)).mean() < 0.01


def test_results_do_not_depend_on_what_came_before(texture):
    """The estimator is kept between calls; a clip must not start from the flow of the last one."""
    clip, other = moved(texture, [(0, 0), (3, 1)]), moved(texture, [(0, 0), (-5, 4)], 64, 80)
    for preset in PRESETS:
        first = compute_flow(clip, preset)
        compute_flow(other, preset)
        assert np.array_equal(compute_flow(clip, preset), first)


def test_grey_comes_from_all_channels(texture):
    """A motion seen in green alone is found, and red and blue are not swapped."""
    frames = moved(texture, [(0, 0), (3, 0)])
    still = moved(texture, [(0, 0), (0, 0)])
    green = np.stack([still[..., 0] * 0, frames[..., 1], still[..., 2] * 0], axis=-1)
    assert np.median(compute_flow(green)[0, 12:-12, 12:-12, 0]) == pytest.approx(3, abs=0.2)
    mixed = np.stack([frames[..., 0], still[..., 1] * 0, still[..., 0]], axis=-1)  # red weighs 0.30, blue 0.11
    assert np.median(compute_flow(mixed)[0, 12:-12, 12:-12, 0]) > 1.5


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_frames_have_no_flow(texture, count):
    assert compute_flow(moved(texture, [(0, 0)])[:count]).shape == (0, 96, 128, 2)


def test_wrong_input_is_told(texture):
    with pytest.raises(RecipeError, match="Did you mean 'dis-fast'"):
        compute_flow(moved(texture, [(0, 0)]), "dis_fast")
    with pytest.raises(ValueError, match=r"float32 \[1, 96, 128, 3\]"):
        compute_flow(moved(texture, [(0, 0)]).astype(np.float32))
    with pytest.raises(ValueError, match=r"\[96, 128, 3\]"):
        compute_flow(texture[:96, :128])
    with pytest.raises(ValueError, match="'dis-fast' refuses frames of 8 x 9"):
        compute_flow(np.zeros((2, 8, 9, 3), np.uint8), "dis-fast")


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_decoding_is_exact(kind):
    code = kind(np.arange(256, dtype=np.uint8).reshape(2, 128))
    flow = decode_flow(code)
    assert type(flow) is type(code)
    assert flow.shape == code.shape
    truth = (np.arange(256).reshape(2, 128) * 40) / 255 - 20
    assert np.asarray(flow).dtype == np.float32
    assert np.abs(np.asarray(flow) - truth).max() < 2e-6
    assert (flow[0, 0], flow[1, 127]) == (-20, 20)
    assert np.asarray(flow)[0, 127] == -np.asarray(flow)[1, 0] == pytest.approx(-0.0784, abs=1e-4)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_what_is_flow_already_is_only_cast(kind):
    flow = decode_flow(kind(np.array([-3.5, 0.0, 0.25], np.float16)))
    assert np.asarray(flow).dtype == np.float32
    assert np.asarray(flow).tolist() == [-3.5, 0.0, 0.25]


def test_ndarray_and_tensor_agree_to_the_bit():
    code = np.arange(256, dtype=np.uint8)
    assert np.array_equal(decode_flow(code), decode_flow(torch.as_tensor(code)).numpy())


def test_encoding_rounds_half_up_and_clips():
    step = 40 / 255
    values = np.array([-99, -20, -20 + 0.499 * step, -20 + 0.501 * step, 0.0, 20 - 0.4 * step, 20, 99])
    assert encode_flow(values).tolist() == [0, 0, 0, 1, 128, 255, 255, 255]
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(encode_flow(decode_flow(codes)), codes)
    assert encode_flow(np.zeros((3, 4, 2), np.float32)).shape == (3, 4, 2)
