import math

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.targets.statistics import motion_boundaries, motion_labels, motion_statistics, partition, summed_boundaries
from kinema.video.flow import decode_flow
from tests.targets.statistics_oracle import boundaries, motion_sums

REGIONS = (16, 4, 8)
KNOWN = [11, 5, 4, 7, 2, 5, 3, 3, 8, 1, 4, 3, 1, 10]


def labels(flow, **options):
    return motion_labels(flow, **options).labels[0].tolist()


def random_flow(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth_flow(seed, batch, fields, size):
    """Blurred noise, so that regions and directions differ clearly."""
    coarse = random_flow(seed, batch * 2, fields, 5, 5)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return 4 * fine.view(batch, 2, fields, size, size)


def known_flow(fields):
    flow = torch.zeros(1, 2, fields, 112, 112)
    flow[0, 0, :, 56:84, 56:84] = 0.1 * (torch.arange(56, 84) - 55.0)
    flow[0, 1, :, 0:28, 84:112] = 0.2 * (torch.arange(28) + 1.0)[:, None]
    flow[0, 1, 9] *= 2
    return flow


@pytest.mark.parametrize(("fields", "frames"), [(15, None), (16, 16), (15, 16)])
def test_known_clip_has_the_published_labels(fields, frames):
    assert labels(known_flow(fields), rgb_frames=frames) == KNOWN


@pytest.mark.parametrize("value", [0.0, 0.0784313725, -7.3])
@pytest.mark.parametrize("size", [32, 64, 112])
def test_constant_flow_has_no_boundaries_and_the_zero_labels(value, size):
    flow = torch.full((2, 2, 7, size, size), value)
    assert not any(part.any() for part in motion_boundaries(flow))
    assert not any(part.any() for part in summed_boundaries(flow))
    found = motion_labels(flow)
    assert found.labels.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]] * 2
    assert found.valid.all()


def test_ignored_zero_motion_is_masked_per_component():
    flow = known_flow(15)
    flow[:, 1] = 3.0
    found = motion_labels(flow, zero="ignore")
    still = [False, False, True, True] * 3 + [False, True]
    assert found.valid[0].tolist() == [not s for s in still]
    assert found.labels[0].tolist() == [0 if s else label for s, label in zip(still, KNOWN, strict=True)]
    assert motion_labels(known_flow(15), zero="ignore").labels[0].tolist() == KNOWN


def test_motion_that_cancels_keeps_its_moment():
    flow = smooth_flow(1, 1, 2, 32)
    flow[:, :, 1] = -flow[:, :, 0]
    found = motion_labels(flow, zero="ignore")
    assert found.valid[0].tolist() == [False] * 12 + [True] * 2
    assert found.labels[0].tolist() == [0] * 12 + [1, 1]


@pytest.mark.parametrize(("sign", "direction"), [(-1, 5), (1, 1)])
def test_horizontal_ramp(sign, direction):
    slope = 0.25
    flow = torch.zeros(1, 2, 5, 32, 32)
    flow[:, 0] = slope * torch.arange(32.0)
    x, y = motion_boundaries(flow[:, 0], sign)
    assert torch.equal(x[..., 1:-1], torch.full((1, 5, 32, 30), sign * 6 * slope))
    assert torch.equal(x[..., [0, -1]], torch.full((1, 5, 32, 2), sign * 3 * slope))
    assert not y.any()
    total = summed_boundaries(flow, sign)
    assert torch.equal(total.x[:, 0], 5 * x[:, 0])
    for orientation in ("soft", "hard"):
        found = labels(flow, sign=sign, orientation=orientation)
        assert [found[1], found[5], found[9]] == [direction] * 3


def test_default_sign_is_a_true_convolution():
    w = random_flow(0, 1, 1, 16, 16)
    kernel = torch.tensor([[-1.0, 0.0, 1.0]] * 3)
    edge = torch.nn.functional.pad(w, (1, 1, 1, 1), mode="replicate")
    for part, k in zip(motion_boundaries(w), (kernel, kernel.T), strict=True):
        expected = torch.nn.functional.conv2d(edge, k.flip(0, 1)[None, None])
        torch.testing.assert_close(part, expected)


def test_bright_patch():
    flow = torch.zeros(1, 2, 15, 112, 112)
    flow[:, 0, :, 34:45, 90:106] = 5.0
    found = labels(flow)
    x, y = summed_boundaries(flow)
    magnitude = torch.hypot(x, y)[0, 0]
    rings = [float(magnitude[mask].mean()) for mask in partition(2, 112)]
    assert (found[0], found[8]) == (8, 4)
    assert found[4] == rings.index(max(rings)) + 1


def test_rings_compare_averages_not_sums():
    flow = torch.zeros(1, 2, 1, 32, 32)
    flow[0, 0, 0, 15, 15] = 1.0  # in ring 1 only
    flow[0, 0, 0, 3, 4:28:4] = 1.0  # six times as much in the large ring 4
    assert labels(flow)[4] == 1


def test_moment_of_largest_motion():
    flow = torch.zeros(1, 2, 15, 32, 32)
    flow[:, :, 3] = random_flow(1, 2, 32, 32)
    assert labels(flow)[12:] == [4, 4]


def test_moment_looks_only_at_the_first_fields():
    flow = smooth_flow(3, 1, 8, 32)
    flow[:, :, 7] *= 50
    found = labels(flow, rgb_frames=8)
    assert found[12:] == labels(flow[:, :, :7])[12:]
    assert found[:12] == labels(flow)[:12] != labels(flow[:, :, :7])[:12]
    assert labels(flow)[12:] == [8, 8]


@pytest.mark.parametrize("seed", range(6))
def test_horizontal_flip(seed):
    flow = smooth_flow(seed, 1, 7, 64)
    before, after = labels(flow), labels(flow.flip(-1))
    for w in (0, 2):
        place = before[w] - 1
        assert after[w] == 4 * (place // 4) + 3 - place % 4 + 1
        assert after[4 + w] == before[4 + w]
        assert after[8 + w] == {1: 4, 2: 3, 3: 2, 4: 1, 5: 8, 6: 7, 7: 6, 8: 5}[before[8 + w]]
        for o in (1 + w, 5 + w, 9 + w):
            assert after[o] == (5 - before[o]) % 8 + 1  # angle -> 180 - angle
    assert after[12:] == before[12:]


def test_scale_changes_nothing_and_negation_turns_by_four():
    flow = smooth_flow(11, 1, 7, 64)
    before = labels(flow)
    assert labels(4 * flow) == before
    turned = [(o + 3) % 8 + 1 if i in (1, 3, 5, 7, 9, 11) else o for i, o in enumerate(before)]
    assert labels(-flow) == turned == labels(flow, sign=1)


@pytest.mark.parametrize(("degrees", "orientation", "label"), [(22.5, "soft", 1), (44.0, "hard", 1), (44.0, "soft", 2)])
def test_direction_between_two_bins(degrees, orientation, label):
    radians = math.radians(degrees)
    along = torch.arange(64.0)
    field = torch.zeros(1, 2, 1, 64, 64)
    field[0, 0] = math.cos(radians) * along + math.sin(radians) * along[:, None]
    found = labels(field, sign=1, orientation=orientation)
    assert found[1] == label


@pytest.mark.parametrize("turn", range(8))
def test_hard_bins_start_at_multiples_of_45_degrees(turn):
    y, x = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)][turn]
    along = torch.arange(32.0)
    flow = torch.zeros(1, 2, 1, 32, 32)
    flow[0, 0, 0] = 0.1 * x * along + 0.1 * y * along[:, None]
    inner = motion_statistics(flow, sign=1, orientation="hard").orientation[0, 0, 5]  # a block without borders
    assert inner.argmax() == turn and (inner > 0).sum() == 1


@pytest.mark.parametrize("orientation", ["soft", "hard"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_and_labels_equal_the_slow_calculation(orientation, sign):
    flow = smooth_flow(5, 2, 5, 32) + 0.2 * random_flow(6, 2, 2, 5, 32, 32)
    found = motion_statistics(flow, rgb_frames=5, sign=sign, orientation=orientation)
    given = motion_labels(flow, rgb_frames=5, sign=sign, orientation=orientation).labels
    for clip in range(2):
        slow = motion_sums(flow[clip].numpy(), sign, orientation, fields=4)
        for w, (means, histograms, energy) in enumerate(slow):
            np.testing.assert_allclose(found.magnitude[clip, w].numpy(), means, rtol=1e-5)
            np.testing.assert_allclose(found.orientation[clip, w].numpy(), histograms, atol=1e-4 * histograms.max())
            np.testing.assert_allclose(found.energy[clip, w].numpy(), energy, rtol=1e-5)
            check_labels(given[clip].tolist(), w, means, histograms, energy)


def check_labels(given, w, means, histograms, energy):
    """Each label is the first maximum of the slow sums, or within 1e-3 of it."""
    start = 0
    for pattern, count in enumerate(REGIONS):
        place, direction = given[4 * pattern + 2 * w] - 1, given[4 * pattern + 2 * w + 1] - 1
        inside = means[start : start + count]
        assert inside[place] >= inside.max() * (1 - 1e-3)
        chosen = histograms[start + place]
        assert chosen[direction] >= chosen.max() * (1 - 1e-3)
        start += count
    assert energy[given[12 + w] - 1] >= energy.max() * (1 - 1e-3)


def test_boundaries_equal_the_slow_calculation():
    w = random_flow(9, 16, 16)
    for sign in (-1, 1):
        for part, slow in zip(motion_boundaries(w, sign), boundaries(w.numpy(), sign), strict=True):
            np.testing.assert_allclose(part.numpy(), slow, atol=1e-5)


@pytest.mark.parametrize("size", [32, 64, 112])
def test_a_clip_has_the_same_labels_in_any_batch(size):
    flow = random_flow(size, 5, 2, 4, size, size)
    together = motion_labels(flow).labels
    apart = torch.cat([motion_labels(clip[None]).labels for clip in flow])
    assert torch.equal(together, apart)
    assert torch.equal(motion_labels(flow.permute(2, 3, 4, 0, 1).contiguous().permute(3, 4, 0, 1, 2)).labels, together)
    assert len({tuple(row) for row in together.tolist()}) == 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_single_precision_whatever_comes_in(dtype):
    flow = smooth_flow(2, 1, 3, 32).half().to(dtype)
    found = motion_statistics(flow)
    assert {part.dtype for part in found} == {torch.float32}
    assert motion_boundaries(flow).x.dtype == torch.float32
    given = motion_labels(flow)
    assert (given.labels.dtype, given.valid.dtype) == (torch.int64, torch.bool)
    assert torch.equal(given.labels, motion_labels(flow.float()).labels)


def test_no_gradient_is_recorded():
    flow = smooth_flow(2, 1, 3, 32).requires_grad_()
    assert not motion_statistics(flow).magnitude.requires_grad


def test_decoded_grey_images_have_no_boundaries_and_the_coded_values():
    codes = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    flow = decode_flow(codes)
    torch.testing.assert_close(flow, torch.tensor([-20.0, -0.0784, 0.0784, 20.0]), atol=1e-4, rtol=0)
    still = decode_flow(codes.view(4, 1, 1, 1, 1).expand(4, 2, 5, 32, 32))
    assert not motion_labels(still, zero="ignore").valid.any()


def test_wrong_inputs_are_named():
    with pytest.raises(RecipeError, match="crop size 100"):
        motion_labels(torch.zeros(1, 2, 3, 100, 100))
    with pytest.raises(RecipeError, match=r"orientation 'sof' is unknown\. Did you mean 'soft'"):
        motion_labels(torch.zeros(1, 2, 3, 32, 32), orientation="sof")
    with pytest.raises(RecipeError, match="zero 'mask' is unknown"):
        motion_labels(torch.zeros(1, 2, 3, 32, 32), zero="mask")
    with pytest.raises(ValueError, match=r"\[B, 2, F, S, S\]"):
        motion_labels(torch.zeros(1, 3, 2, 32, 32))
    with pytest.raises(ValueError, match="16 frames needs 15 flow fields, but 14"):
        motion_labels(torch.zeros(1, 2, 14, 32, 32), rgb_frames=16)
