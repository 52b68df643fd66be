"""J, F, their course over time and mIoU: hand cases, slow independent calculations, published numbers."""

import math

import numpy as np
import pytest

from kinema.metrics import (
    agreement,
    boundary_accuracy,
    boundary_map,
    class_confusion,
    course,
    frame_agreement,
    mean_iou,
    region_similarity,
)
from kinema.metrics.segmentation import boundary_radius


def square(right=0, *, top=100, left=100, side=100):
    mask = np.zeros((480, 854), bool)
    mask[top : top + side, left + right : left + right + side] = True
    return mask


def blobs(seed, height=23, width=31):
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 4 + 1, width // 4 + 1)) > 0.5
    return np.kron(coarse, np.ones((4, 4), bool))[:height, :width] ^ (rng.random((height, width)) > 0.97)


def slow_boundary(mask):
    """Pixel by pixel, as the convention is worded."""
    height, width = mask.shape
    found = np.zeros(mask.shape, bool)
    for y in range(height):
        for x in range(width):
            right, below = x + 1 < width, y + 1 < height
            others = []
            if right:
                others.append(mask[y, x + 1])
            if below:
                others.append(mask[y + 1, x])
            if right and below:
                others.append(mask[y + 1, x + 1])
            found[y, x] = any(other != mask[y, x] for other in others)
    return found


def slow_f(predicted, truth, radius):
    """Every boundary pixel looks for a partner."""
    own, other = (np.argwhere(slow_boundary(mask)) for mask in (predicted, truth))
    if not len(own) or not len(other):
        return float(len(own) == len(other))
    near = ((own[:, None] - other[None]) ** 2).sum(-1) <= radius**2
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def test_shifted_squares_have_the_known_values():
    assert float(region_similarity(square(10), square())) == pytest.approx(0.8182, abs=5e-5)
    assert boundary_radius(480, 854) == 8
    assert boundary_accuracy(square(8), square()) == 1.0
    assert boundary_accuracy(square(10), square()) == pytest.approx(0.535, abs=5e-4)


def test_the_tolerance_is_rounded_upwards():
    assert [boundary_radius(*size) for size in ((480, 854), (100, 100), (30, 40))] == [8, 2, 1]


def test_same_disjoint_and_empty_masks():
    empty = np.zeros((480, 854), bool)
    assert (region_similarity(square(), square()), boundary_accuracy(square(), square())) == (1.0, 1.0)
    assert (region_similarity(empty, empty), boundary_accuracy(empty, empty)) == (1.0, 1.0)
    for one, other in ((square(), empty), (empty, square()), (square(), square(300))):
        assert (region_similarity(one, other), boundary_accuracy(one, other)) == (0.0, 0.0)
    full = ~empty  # without a boundary, though not without pixels
    assert boundary_accuracy(full, full) == 1.0 and boundary_accuracy(full, square()) == 0.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_f_is_that_of_a_slow_search(seed, radius):
    one, other = blobs(seed), blobs(seed + 1)
    np.testing.assert_array_equal(boundary_map(one), slow_boundary(one))
    assert boundary_accuracy(one, other, radius=radius) == pytest.approx(slow_f(one, other, radius), abs=1e-12)


def test_precision_and_recall_differ():
    """A predicted extra square halves precision alone; swapping the sides gives the same F."""
    truth, predicted = square(), square() | square(300)
    assert boundary_accuracy(predicted, truth) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_accuracy(truth, predicted) == pytest.approx(2 * 0.5 / 1.5)


def test_course_has_the_official_quarters():
    """T = 10: linspace(1, 10, 5) = 1, 3.25, 5.5, 7.75, 10; rounded with halves upwards 1, 3, 6, 8, 10."""
    values = np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    found = course(values)
    assert found.mean == pytest.approx(0.55)
    assert found.recall == pytest.approx(0.5)  # 0.5 itself does not count
    assert found.decay == pytest.approx(np.mean([1.0, 0.9, 0.8]) - np.mean([0.3, 0.2, 0.1]))
    halves = np.zeros(7)  # edges 1, 2.5, 4, 5.5, 7 become 1, 3, 4, 6, 7
    halves[2], halves[4] = 1.0, 10.0
    assert course(halves).decay == pytest.approx(1 / 3)
    assert course([0.4]) == (0.4, 0.0, 0.0)


def test_decay_of_more_than_255_frames():
    values = np.linspace(1, 0, 1000)
    assert course(values).decay == pytest.approx(0.75, abs=2e-3)


def test_objects_are_those_of_the_first_frame_and_ends_are_left_out():
    truth = np.zeros((4, 12, 12), np.uint8)
    truth[:, 2:6, 2:6], truth[:, 7:10, 7:10], truth[2, 0, 0] = 1, 4, 9
    predicted = truth.copy()
    predicted[0], predicted[3] = 0, 0  # frames that do not count
    predicted[2][predicted[2] == 4] = 0
    predicted[truth == 9] = 0
    found = agreement(predicted, truth)
    assert found.objects == (1, 4)
    np.testing.assert_array_equal(found.region, [[1, 1], [1, 0]])
    np.testing.assert_array_equal(found.boundary, [[1, 1], [1, 0]])
    predicted[1, 11, 11] = 5
    with pytest.raises(ValueError, match="object 5 was predicted, but there are only 1, 4"):
        agreement(predicted, truth)
    with pytest.raises(ValueError, match="T >= 3"):
        agreement(truth[:2], truth[:2])


def test_a_missing_object_is_an_empty_mask():
    truth = np.zeros((12, 12), np.uint8)
    truth[2:6, 2:6] = 1
    assert frame_agreement(truth, truth, (1, 2)) == ([1.0, 1.0], [1.0, 1.0])
    assert frame_agreement(np.zeros_like(truth), truth, (1, 2)) == ([0.0, 1.0], [0.0, 1.0])


def read_masks(folder):
    from PIL import Image

    return np.stack([np.asarray(Image.open(file)) > 0 for file in sorted(folder.glob("*.png"))]).astype(np.uint8)


@pytest.mark.parametrize(("sequence", "region", "boundary"), [("dog", 0.7108, 0.6911), ("blackswan", 0.9430, 0.9741)])
def test_published_predictions_have_the_known_answers(shared_data, sequence, region, boundary):
    place = shared_data / "davis2016_subset"
    truth = read_masks(place / "Annotations" / "480p" / sequence)
    found = agreement(read_masks(place / "osvos_predictions" / sequence), truth)
    assert course(found.region[0]).mean == pytest.approx(region, abs=5e-5)
    assert course(found.boundary[0]).mean == pytest.approx(boundary, abs=5e-5)


def test_mean_iou_counts_all_pixels_together_and_leaves_absent_classes_out():
    truth, predicted = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    truth[:2], predicted[:1] = 3, 3
    perfect = class_confusion([(truth, truth)], classes=20)
    assert mean_iou(perfect) == 100.0
    counts = class_confusion([(predicted, truth), (truth, truth)], classes=20)
    assert counts[3, 0] == 4 and counts[0, 3] == 0  # rows are the truth
    # class 0: 16 common of 20; class 3: 12 of 16
    assert mean_iou(counts) == pytest.approx(100 * (16 / 20 + 12 / 16) / 2)
    wrong = class_confusion([(np.ones_like(truth), truth)], classes=20)
    assert mean_iou(wrong) == 0.0  # a class that is only predicted counts
    with pytest.raises(ValueError, match="ids 0 to 19"):
        class_confusion([(truth + 17, truth)], classes=20)


def test_iou_of_random_masks_is_that_of_sets():
    one, other = blobs(1), blobs(2)
    first, second = (set(map(tuple, np.argwhere(mask))) for mask in (one, other))
    assert math.isclose(region_similarity(one, other), len(first & second) / len(first | second))
