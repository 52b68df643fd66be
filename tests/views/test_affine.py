"""Rotation and other affine maps of clips: against index turns and PIL."""

import numpy as np
import pytest
import torch

from kinema.views.affine import chain, rotation_matrix, view_matrix, warp
from kinema.views.resampling import resample


def test_a_quarter_turn_counter_clockwise_moves_pixels_exactly(clips):
    square = clips[..., :24]
    matrix = rotation_matrix(torch.tensor([90.0, -90.0, 180.0]), (24, 24))
    out = warp(square, matrix, (24, 24))
    for i, quarters in enumerate((1, -1, 2)):
        assert torch.equal(out[i], torch.rot90(square[i], quarters, (-2, -1)))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_small_turn_equals_pil(clips, mode):
    from PIL import Image

    out = warp(
        clips,
        rotation_matrix(torch.tensor([10.0, -10.0, 3.0]), (24, 32)),
        (24, 32),
        mode=mode,
        fill=(9, 8, 7),
        truncate=True,
    )
    how = getattr(Image.Resampling, mode.upper())
    for i, angle in enumerate((10, -10, 3)):
        image = Image.fromarray(clips[i, :, 0].permute(1, 2, 0).numpy())
        wanted = np.asarray(image.rotate(angle, how, fillcolor=(9, 8, 7))).astype(int)
        difference = np.abs(wanted - out[i, :, 0].permute(1, 2, 0).numpy()).max(-1)
        # PIL decides in fixed point which pixels lie on the border.
        assert (difference > 0).mean() < 0.01


def test_bicubic_has_pytorchs_kernel_and_bytes_stay_bytes(clips):
    line = torch.zeros(1, 3, 1, 24, 32)
    line[..., 10] = 1
    shift = torch.tensor([[[1.0, 0, 0.5], [0, 1.0, 0]]])
    out = warp(line, shift, (24, 32), mode="bicubic")[0, 0, 0, 5]
    torch.testing.assert_close(out[7:13], torch.tensor([0, -0.09375, 0.59375, 0.59375, -0.09375, 0]))
    assert warp(clips, shift.expand(3, 2, 3), (24, 32), mode="bicubic").dtype == torch.uint8


def test_a_view_without_rotation_equals_resampling(clips):
    box = torch.tensor([[0, 0, 24, 32], [3, 5, 10, 13], [7.5, 2.25, 16, 29]])
    flip = torch.tensor([False, True, True])
    size = (11, 17)
    warped = warp(clips.float(), view_matrix(box, flip, size), size)
    torch.testing.assert_close(warped, resample(clips.float(), box, flip, size), atol=2e-2, rtol=0)


def test_maps_are_chained_in_order():
    double = torch.tensor([[[2.0, 0, 0], [0, 2.0, 0]]])
    shift = torch.tensor([[[1.0, 0, 3], [0, 1.0, 5]]])
    assert chain(double, shift).tolist() == [[[2, 0, 3], [0, 2, 5]]]
    assert chain(shift, double).tolist() == [[[2, 0, 6], [0, 2, 10]]]


def test_what_lies_outside_is_filled_or_repeats_the_border(clips):
    away = torch.tensor([[[1.0, 0, 30.0], [0, 1.0, 0]]]).expand(3, 2, 3)
    filled = warp(clips, away, (24, 32), fill=(1, 2, 3))
    assert (
        filled[:, :, :, :, 3:].amax((0, 2, 3, 4)).tolist() == filled[..., 3:].amin((0, 2, 3, 4)).tolist() == [1, 2, 3]
    )
    repeated = warp(clips, away, (24, 32))
    assert torch.equal(repeated[..., 5], clips[..., 31])
