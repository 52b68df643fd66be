"""What the crop rules draw: inside the frame, in the asked ranges, by the published formulas."""

import math
from itertools import pairwise

import numpy as np
import pytest

from kinema.errors import RecipeError
from kinema.randomness import numpy_generator
from kinema.views.crops import CentreCrop, MultiScaleCrop, RandomCrop, ResizedCrop, WholeFrame, scale_box

FRAME, SIZE = (128, 171), (112, 112)


def boxes(rule, count=2000, *, frame=FRAME, size=SIZE):
    """`count` boxes [count, 4]."""
    rng = numpy_generator("crops")
    return np.stack([rule.draw(rng, frame, size) for _ in range(count)])


def inside(found, frame):
    """Whether every box lies in the frame."""
    top, left, height, width = found.T
    return (
        (found >= -1e-9).all() and (top + height <= frame[0] + 1e-9).all() and (left + width <= frame[1] + 1e-9).all()
    )


@pytest.mark.parametrize("rule", ["rejection", "single", "tensorflow"])
def test_resized_crops_keep_to_their_ranges(rule):
    found = boxes(ResizedCrop((0.3, 0.5), (0.5, 2.0), rule=rule), frame=(200, 300))
    assert found.dtype == np.int64 and inside(found, (200, 300))
    area, shape = found[:, 2] * found[:, 3] / 60000, found[:, 3] / found[:, 2]
    if rule == "single":  # cut to the frame afterwards
        area, shape = (values[(found[:, 2] < 200) & (found[:, 3] < 300)] for values in (area, shape))
    assert area.min() > 0.295 and area.max() < 0.505 and shape.min() > 0.49 and shape.max() < 2.03
    assert area.min() < 0.31 and area.max() > 0.49 and shape.min() < 0.6 and shape.max() > 1.8


def test_shapes_of_rejection_are_log_uniform_and_those_of_tensorflow_uniform():
    frame = (1000, 1000)
    stock = boxes(ResizedCrop((0.1, 0.2), (0.5, 2.0)), frame=frame)
    other = boxes(ResizedCrop((0.1, 0.2), (0.5, 2.0), rule="tensorflow"), frame=frame)
    assert np.median(stock[:, 3] / stock[:, 2]) == pytest.approx(1.0, abs=0.06)
    assert np.median(other[:, 3] / other[:, 2]) == pytest.approx(1.25, abs=0.06)


def test_areas_are_uniform():
    found = boxes(ResizedCrop((0.1, 0.3)), frame=(1000, 1000))
    quarters = np.quantile(found[:, 2] * found[:, 3] / 1e6, [0.25, 0.5, 0.75])
    assert quarters == pytest.approx([0.15, 0.2, 0.25], abs=0.01)


def test_rejection_takes_the_first_pair_that_fits_and_places_it_afterwards():
    rule, frame = ResizedCrop((0.5, 1.0)), (100, 140)
    for sample in range(50):
        found = rule.draw(numpy_generator(sample), frame, SIZE)
        rng = numpy_generator(sample)
        for _ in range(10):
            area, shape = 14000 * rng.uniform(0.5, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            height, width = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
            if height <= 100 and width <= 140:
                break
        else:
            continue
        assert found.tolist() == [rng.integers(101 - height), rng.integers(141 - width), height, width]


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [((100, 300), [0, 83, 100, 133]), ((300, 100), [83, 0, 133, 100]), ((100, 110), [0, 0, 100, 110])],
)
def test_after_ten_misses_the_largest_centred_box_of_an_allowed_shape(frame, wanted):
    never = ResizedCrop((5.0, 5.0))
    assert never.draw(numpy_generator(0), frame, SIZE).tolist() == wanted


def test_the_other_rules_when_nothing_fits():
    assert ResizedCrop((5.0, 5.0), rule="tensorflow").draw(numpy_generator(0), FRAME, SIZE).tolist() == [0, 0, *FRAME]
    assert ResizedCrop((5.0, 5.0), rule="single").draw(numpy_generator(0), FRAME, SIZE).tolist() == [0, 0, *FRAME]


def test_the_rules_agree_where_the_first_try_fits():
    for sample in range(20):
        stock, single = (
            ResizedCrop((0.1, 0.2), rule=rule).draw(numpy_generator(sample), FRAME, SIZE)
            for rule in ("rejection", "single")
        )
        assert stock.tolist() == single.tolist()


def test_a_random_crop_without_resizing_has_the_views_size():
    found = boxes(RandomCrop())
    assert (found[:, 2:] == SIZE).all() and found[:, 0].max() == 16 and found[:, 1].max() == 59


def test_a_random_crop_of_a_resized_frame_covers_what_that_crop_shows():
    sizes = [(112, 149), (128, 171), (144, 192)]
    found = boxes(RandomCrop(sizes))
    assert found.dtype == np.float64 and inside(found, FRAME)
    covered = {tuple(np.round(box[2:], 6)) for box in found}
    assert covered == {tuple(np.round((112 * 128 / h, 112 * 171 / w), 6)) for h, w in sizes}


def test_the_short_side_is_uniform_and_the_shape_kept():
    found = boxes(RandomCrop(short_side=(256, 320)), frame=(240, 426), size=(224, 224))
    short = 240 * 224 / found[:, 2]
    assert inside(found, (240, 426)) and short.min() < 257 and short.max() > 319
    assert np.median(short) == pytest.approx(288, abs=3)
    assert found[:, 3] / found[:, 2] == pytest.approx(1.0, abs=0.01)


def test_a_random_crop_takes_one_kind_of_resizing():
    with pytest.raises(RecipeError, match="not both"):
        RandomCrop(((1, 2),), (3, 4))


def test_multi_scale_crops_have_ten_shapes_at_thirteen_places():
    found = boxes(MultiScaleCrop(), frame=(256, 340), size=(224, 224))
    shapes = {tuple(box[2:].tolist()) for box in found}
    sides = [256, 224, 192, 168]
    assert shapes == {(side, side) for side in sides} | {p for a, b in pairwise(sides) for p in ((a, b), (b, a))}
    square = found[(found[:, 2:] == 168).all(1)]
    places = {(top, left) for top, left in square[:, :2].tolist()}
    rows, columns = [0, 22, 44, 66, 88], [0, 43, 86, 129, 172]
    even = {(rows[i], columns[j]) for i in (0, 2, 4) for j in (0, 2, 4)}
    assert places == even | {(rows[i], columns[j]) for i in (1, 3) for j in (1, 3)}


def test_a_side_close_to_the_views_own_is_taken_to_be_that():
    found = boxes(MultiScaleCrop((1.0,)), frame=(226, 300), size=(224, 224))
    assert (found[:, 2:] == 224).all()


@pytest.mark.parametrize(
    ("frame", "size", "wanted"),
    [
        ((20, 50), (12, 18), [0, 10, 20, 30]),
        ((50, 20), (12, 18), [18, 0, 13, 20]),
        ((24, 36), (12, 18), [0, 0, 24, 36]),
        ((240, 320), (112, 112), [0, 40, 240, 240]),
    ],
)
def test_the_centre_crop_keeps_as_much_as_the_shape_allows(frame, size, wanted):
    assert CentreCrop().draw(numpy_generator(0), frame, size).tolist() == wanted
    assert WholeFrame().draw(numpy_generator(0), frame, size).tolist() == [0, 0, *frame]


def test_a_box_is_scaled_with_its_frame():
    assert scale_box(np.array([120, 80, 60, 160]), (240, 320), (120, 80)).tolist() == [60, 20, 30, 40]


@pytest.mark.parametrize("ranges", [{"scale": (0.0, 1.0)}, {"scale": (1.0, 0.5)}, {"ratio": (2.0, 1.0)}])
def test_ranges_must_make_sense(ranges):
    with pytest.raises(RecipeError, match="positive"):
        ResizedCrop(**ranges)
