"""Crops and mirrors: what is drawn, and that all frames, samples and devices get exactly that."""

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.randomness import numpy_generator
from kinema.views import centre_crop, crop_flip, crop_flip_flow, draw_crop, draw_flip
from kinema.views.geometry import _gather

SIZE = (4, 6)


def _batch(dtype=torch.uint8):
    """Four clips [4, 3, 5, 7, 9] with a different window and mirror each, touching all borders."""
    clip = torch.randint(0, 256, (4, 3, 5, 7, 9), generator=torch.Generator().manual_seed(0)).to(dtype)
    return clip, torch.tensor([0, 3, 1, 2]), torch.tensor([3, 0, 2, 1]), torch.tensor([False, True, True, False])


def test_draw_crop_reaches_every_offset_equally_often():
    rng = numpy_generator(0)
    draws = np.array([draw_crop(rng, (6, 7), (4, 6)) for _ in range(6000)])
    counts = np.histogram2d(draws[:, 0], draws[:, 1], bins=[np.arange(4), np.arange(3)])[0]
    assert draws.min(0).tolist() == [0, 0] and draws.max(0).tolist() == [2, 1]
    assert counts.min() > 850 and counts.max() < 1150


def test_draws_are_pure_functions_of_the_key():
    first, again = ([draw_crop(numpy_generator(7, i), (128, 171), (112, 112)) for i in range(9)] for _ in range(2))
    assert first == again and len(set(first)) > 1


def test_draw_flip_has_the_asked_probability():
    rng = numpy_generator(1)
    assert 0.22 < np.mean([draw_flip(rng, 0.25) for _ in range(4000)]) < 0.28
    assert not any(draw_flip(rng, 0.0) for _ in range(50)) and all(draw_flip(rng, 1.0) for _ in range(50))


def test_centre_crop_leaves_equal_borders():
    assert centre_crop((128, 171), (112, 112)) == (8, 29)
    assert centre_crop((112, 112), (112, 112)) == (0, 0)


@pytest.mark.parametrize("draw", [centre_crop, lambda source, size: draw_crop(numpy_generator(0), source, size)])
def test_a_window_larger_than_the_frame_is_refused(draw):
    with pytest.raises(RecipeError, match="does not fit"):
        draw((100, 171), (112, 112))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_flip_equals_pixelwise_definition(dtype):
    clip, top, left, flip = _batch(dtype)
    out = crop_flip(clip, top, left, flip, SIZE)
    assert out.shape == (4, 3, 5, *SIZE) and out.dtype == dtype and out.is_contiguous()
    for b in range(4):
        for y, x in np.ndindex(SIZE):
            column = left[b] + (SIZE[1] - 1 - x if flip[b] else x)
            assert torch.equal(out[b, :, :, y, x], clip[b, :, :, top[b] + y, column])


def test_gathering_equals_slicing():
    batch = _batch()
    assert torch.equal(_gather(*batch, SIZE), crop_flip(*batch, SIZE))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_bits():
    clip, *draws = _batch()
    assert torch.equal(crop_flip(clip.cuda(), *draws, SIZE).cpu(), crop_flip(clip, *draws, SIZE))


def test_all_frames_of_a_clip_share_one_draw_and_clips_differ():
    clip, top, left, flip = _batch()
    still = clip[:, :, :1].expand_as(clip)
    out = crop_flip(still, top, left, flip, SIZE)
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    same = crop_flip(clip[:1].expand_as(clip), top, left, flip, SIZE)
    assert not any(torch.equal(same[0], other) for other in same[1:])


def test_a_window_outside_the_frame_is_refused():
    clip, top, left, flip = _batch()
    for wrong_top, wrong_left in ((top + 1, left), (top, left + 1), (top - 1, left), (top, left - 1)):
        with pytest.raises(RecipeError, match="leaves the frame"):
            crop_flip(clip, wrong_top, wrong_left, flip, SIZE)


def test_flow_is_mirrored_with_the_clip_and_u_negated_only_on_demand():
    flow, top, left, flip = _batch(torch.float32)
    flow = flow[:, :2] - 128
    mirrored = crop_flip(flow, top, left, flip, SIZE)
    assert torch.equal(crop_flip_flow(flow, top, left, flip, SIZE), mirrored)
    negated = crop_flip_flow(flow, top, left, flip, SIZE, negate_u=True)
    assert torch.equal(negated[:, 1], mirrored[:, 1])
    for b in range(4):
        assert torch.equal(negated[b, 0], -mirrored[b, 0] if flip[b] else mirrored[b, 0])


def test_negating_coded_flow_commutes_with_decoding():
    code, *draws = _batch()
    code = code[:, :2]
    flow = code.double() * 40 / 255 - 20
    before = crop_flip_flow(flow, *draws, SIZE, negate_u=True)
    after = crop_flip_flow(code, *draws, SIZE, negate_u=True)
    assert after.dtype == torch.uint8
    torch.testing.assert_close(after.double() * 40 / 255 - 20, before)
