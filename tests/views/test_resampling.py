"""Crop, resize and mirror in one: against PyTorch's and PIL's own resampling, and followed by flow, masks and boxes."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from kinema.errors import RecipeError
from kinema.views import resampling
from kinema.views.resampling import (
    BILINEAR,
    NEAREST,
    Kernel,
    resample,
    resample_boxes,
    resample_flow,
    resample_masks,
)

BOX = torch.tensor([[0, 0, 24, 32], [3, 5, 10, 13], [7, 2, 17, 29]])
FLIP = torch.tensor([False, True, True])
SIZE = (12, 14)
KERNELS = [
    Kernel(mode, antialias, corners)
    for mode in ("bilinear", "bicubic")
    for antialias in (False, True)
    for corners in (False, True)
]


def stock(clip, box, flip, kernel, size=SIZE):
    """One clip [C, T, H, W] through PyTorch: crop, resize, mirror."""
    top, left, height, width = box.tolist()
    window = clip[..., top : top + height, left : left + width].float()
    out = interpolate(window, size, mode=kernel.mode, antialias=kernel.antialias, align_corners=kernel.align_corners)
    return out.flip(-1) if flip else out


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("ways", ["windows", "matrices"])
def test_floating_clips_equal_crop_then_interpolate(clips, kernel, ways, masked):
    if ways == "matrices":
        masked()
    clips = clips.float()
    out = resample(clips, BOX, FLIP, SIZE, kernel)
    assert out.shape == (3, 3, 2, *SIZE) and out.is_contiguous()
    for i in range(3):
        torch.testing.assert_close(out[i], stock(clips[i], BOX[i], FLIP[i], kernel), atol=2e-3, rtol=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_bytes_stay_bytes_and_both_ways_differ_by_one_level_at_most(clips, kernel, masked):
    first = resample(clips, BOX, FLIP, SIZE, kernel)
    masked()
    second = resample(clips, BOX, FLIP, SIZE, kernel)
    assert first.dtype == second.dtype == torch.uint8
    assert (first.int() - second.int()).abs().max() <= 1


@pytest.mark.parametrize("kernel", KERNELS[:2])
def test_bytes_are_close_to_the_unrounded_result(clips, kernel):
    exact = resample(clips.float(), BOX, FLIP, SIZE, kernel)
    assert (resample(clips, BOX, FLIP, SIZE, kernel) - exact).abs().max() < 1.01


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialiased_bytes_equal_pil(clips, mode):
    from PIL import Image

    out = resample(clips, BOX, None, SIZE, Kernel(mode, antialias=True))
    how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[mode]
    for i, (top, left, height, width) in enumerate(BOX.tolist()):
        image = Image.fromarray(clips[i, :, 1].permute(1, 2, 0).numpy())
        image = image.crop((left, top, left + width, top + height)).resize(SIZE[::-1], how)
        assert np.abs(np.asarray(image).astype(int) - out[i, :, 1].permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize("kernel", [Kernel(), Kernel("bicubic"), Kernel("bilinear", True)])
def test_floating_boxes_mean_resize_then_crop(clips, kernel):
    resized, corner = (18, 20), (3, 4)
    whole = interpolate(clips[0].float(), resized, mode=kernel.mode, antialias=kernel.antialias)
    wanted = whole[..., 3:15, 4:18]
    scale = torch.tensor([24 / 18, 32 / 20]).repeat(2)
    box = torch.tensor([[*corner, *SIZE]]) * scale
    out = resample(clips[:1].float(), box, None, SIZE, kernel)[0]
    torch.testing.assert_close(out, wanted, atol=2e-3, rtol=0)


def test_a_box_of_the_views_size_moves_pixels_only(clips):
    box = torch.tensor([[2, 3, *SIZE]] * 3)
    out = resample(clips, box, FLIP, SIZE)
    assert torch.equal(out[0], clips[0, :, :, 2:14, 3:17])
    assert torch.equal(out[1], clips[1, :, :, 2:14, 3:17].flip(-1))


def test_memory_order_of_the_clips_does_not_matter(clips):
    other = clips.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    assert other.stride() != clips.stride()
    assert torch.equal(resample(other, BOX, FLIP, SIZE), resample(clips, BOX, FLIP, SIZE))


def test_a_static_clip_stays_static(clips):
    still = clips[:, :, :1].expand(-1, -1, 4, -1, -1)
    out = resample(still, BOX, FLIP, SIZE)
    assert torch.equal(out, out[:, :, :1].expand_as(out))


def test_every_device_agrees(clips, device):
    out = resample(clips.to(device), BOX, FLIP, SIZE)
    assert (out.cpu().int() - resample(clips, BOX, FLIP, SIZE).int()).abs().max() <= 1


@pytest.mark.parametrize("change", [(0, -1), (0, 1), (1, -1), (1, 1), (2, 1), (3, 1)])
def test_a_box_outside_the_frame_is_refused(clips, change):
    box = BOX.clone()
    box[0, change[0]] += change[1]
    with pytest.raises(RecipeError, match="leaves the frame"):
        resample(clips, box, FLIP, SIZE)


def test_masks_take_the_pixel_that_holds_the_centre():
    masks = torch.arange(24 * 32).view(1, 1, 1, 24, 32)
    out = resample_masks(masks, BOX[2:], FLIP[2:], SIZE)[0, 0, 0]
    top, left, height, width = BOX[2].tolist()
    for y, x in np.ndindex(SIZE):
        row = int(top + (y + 0.5) * height / SIZE[0])
        column = int(left + (SIZE[1] - 1 - x + 0.5) * width / SIZE[1])
        assert out[y, x] == row * 32 + column
    assert resample(masks.bool(), BOX[2:], FLIP[2:], SIZE, NEAREST).dtype == torch.bool


def seen(points, box, flip):
    """Where points (x, y) of the frame lie in the view."""
    top, left, height, width = box.tolist()
    x = (points[:, 0] - left) * SIZE[1] / width
    y = (points[:, 1] - top) * SIZE[0] / height
    return torch.stack([SIZE[1] - x if flip else x, y], 1)


@pytest.mark.parametrize("coded", [False, True])
def test_flow_is_the_motion_of_points_in_the_view(coded):
    motion = torch.tensor([3.0, -2.0])
    flow = motion.view(1, 2, 1, 1, 1).expand(3, 2, 2, 24, 32)
    given = ((flow + 20) * 255 / 40).round().to(torch.uint8) if coded else flow
    out = resample_flow(given, BOX, FLIP, SIZE)
    if coded:
        out = out.float() * 40 / 255 - 20
    points = torch.tensor([[9.0, 8.0]])
    for i in range(3):
        moved = seen(points + motion, BOX[i], FLIP[i]) - seen(points, BOX[i], FLIP[i])
        torch.testing.assert_close(
            out[i], moved.view(2, 1, 1, 1).expand_as(out[i]), atol=0.25 if coded else 1e-4, rtol=0
        )


def test_flow_keeps_published_values_on_demand():
    flow = torch.full((3, 2, 1, 24, 32), 4.0)
    assert (resample_flow(flow, BOX, FLIP, SIZE, negate_u=False, rescale=False) == 4).all()
    negated = resample_flow(flow, BOX, FLIP, SIZE, rescale=False)
    assert negated[:, 0, 0, 0, 0].tolist() == [4, -4, -4] and (negated[:, 1] == 4).all()


def test_boxes_of_objects_follow_their_pixels():
    masks = torch.zeros(3, 1, 1, 24, 32)
    masks[:, :, :, 9:13, 8:20] = 1
    big = (240, 280)
    shown = resample_masks(masks, BOX, FLIP, big)
    boxes = resample_boxes(torch.tensor([[[8.0, 9.0, 20.0, 13.0]]] * 3), BOX, FLIP, big)
    for i in range(3):
        rows, columns = (shown[i, 0, 0].amax(axis).nonzero()[:, 0] for axis in (1, 0))
        found = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert (found - boxes[i, 0]).abs().max() <= 1


def test_boxes_are_cut_at_the_border_and_vanish_outside():
    far = torch.tensor([[[0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 9.0, 8.0]]])
    cut = resample_boxes(far, BOX[1:2], FLIP[:1], SIZE)
    assert cut[0, 0, 0] == cut[0, 0, 2] and cut[0, 1, :2].tolist() == [0, 0]
    torch.testing.assert_close(cut[0, 1, 2:], torch.tensor([4 * 14 / 13, 5 * 12 / 10]))
    assert resample_boxes(far, BOX[1:2], FLIP[:1], SIZE, clamp=False)[0, 0, 0] < 0


def test_weights_sum_to_one():
    for kernel in (BILINEAR, *KERNELS):
        weights = resampling._weights(torch.tensor([2]), torch.tensor([9]), 20, 5, kernel)
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 5))
        assert weights[..., :2].eq(0).all() and weights[..., 11:].eq(0).all()
