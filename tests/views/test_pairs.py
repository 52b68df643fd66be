"""Pairs of views: which crop lies in which, what is mirrored together, how far frames are apart."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from kinema.errors import RecipeError
from kinema.views.crops import ResizedCrop
from kinema.views.pairs import CropPair, FramePair, draw_frames, draw_gap, draw_in

SIZE, SOURCE = (32, 32), (48, 64)


def batch_of(rule, count, *, seed=0, source=SOURCE, measured=None):
    draws = [rule.draw(np.random.default_rng([seed, i]), source, measured=measured or source) for i in range(count)]
    return {name: torch.from_numpy(np.stack([draw[name] for draw in draws])) for name in draws[0]}


def noise(count, frames=1, source=SOURCE):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, frames, *source), generator=generator, dtype=torch.uint8)


def ramps(count):
    """Columns in the first channel, rows in the second: 2 levels per pixel."""
    rows, columns = torch.meshgrid(torch.arange(SOURCE[0]), torch.arange(SOURCE[1]), indexing="ij")
    picture = 2 * torch.stack([columns, rows, columns]).to(torch.uint8)
    return picture[None, :, None].expand(count, -1, -1, -1, -1)


def shown(pictures, box, flip):
    """One crop the slow way: cut, antialiased bilinear, rounded to bytes, mirrored."""
    top, left, height, width = box.tolist()
    cut = pictures[:, 0, top : top + height, left : left + width].float()[None]
    out = interpolate(cut, SIZE, mode="bilinear", antialias=True)[0].round().clamp(0, 255)
    return out.flip(-1) if flip else out


def close(view, expected):
    """Within a level: bytes are rounded after each direction."""
    return (view[:, 0].float() - expected).abs().max() <= 1


def test_global_to_local_resamples_twice():
    rule = CropPair(SIZE)
    pictures, draws = noise(8), batch_of(rule, 8)
    reference, target = rule.apply(pictures, draws)
    assert len({tuple(flips) for flips in draws["flips"].tolist()}) > 2
    twice = 0
    for i in range(8):
        first, last = draws["flips"][i]
        assert close(reference[i], shown(pictures[i], draws["whole"][i], first))
        # The second crop is of the first view before its mirror.
        inner = shown(pictures[i], draws["whole"][i], False)[:, None].to(torch.uint8)
        assert (target[i, :, 0].float() - shown(inner, draws["second"][i], last)).abs().max() <= 2
        # Cutting the same place out of the picture itself gives sharper pixels than these.
        top, left, height, width = draws["whole"][i].tolist()
        y, x, h, w = draws["second"][i].tolist()
        direct = [top + y * height // 32, left + x * width // 32, max(1, h * height // 32), max(1, w * width // 32)]
        twice += not close(target[i], shown(pictures[i], torch.tensor(direct), last))
    assert twice == 8


@pytest.mark.parametrize("strategy", ["global-to-local", "local-to-global"])
def test_the_local_view_lies_in_the_global_one(strategy):
    rule = CropPair(SIZE, strategy, flip=0.0)
    pair = rule.apply(ramps(20), batch_of(rule, 20))
    whole, part = pair if strategy == "global-to-local" else reversed(pair)
    for channel in (0, 1):
        inside, outside = part[:, channel].flatten(1), whole[:, channel].flatten(1)
        assert (inside.amin(1) >= outside.amin(1)).all() and (inside.amax(1) <= outside.amax(1)).all()
        assert (inside.amax(1) - inside.amin(1) < outside.amax(1) - outside.amin(1)).all()


def test_areas_are_those_asked_for():
    rule = CropPair(SIZE, whole=ResizedCrop((0.5, 0.6)), part=ResizedCrop((0.3, 0.4)))
    draws = batch_of(rule, 50)
    shares = draws["whole"][:, 2] * draws["whole"][:, 3] / (48 * 64)
    parts = draws["second"][:, 2] * draws["second"][:, 3] / (32 * 32)
    assert shares.min() > 0.47 and shares.max() < 0.63 and parts.min() > 0.27 and parts.max() < 0.43


def test_the_same_crop_twice_is_one_tensor_and_other_strategies_differ():
    pictures = noise(6)
    for strategy in ("same", "random", "global-to-local", "local-to-global"):
        rule = CropPair(SIZE, strategy)
        reference, target = rule.apply(pictures, batch_of(rule, 6))
        same = [torch.equal(one, other) for one, other in zip(reference, target, strict=True)]
        assert all(same) if strategy == "same" else not any(same)
    flips = batch_of(CropPair(SIZE, "same"), 40)["flips"]
    assert torch.equal(flips[:, 0], flips[:, 1]) and 0 < flips[:, 0].sum() < 40


def test_random_views_are_two_crops_of_the_picture():
    rule = CropPair(SIZE, "random")
    pictures, draws = noise(6), batch_of(rule, 6)
    reference, target = rule.apply(pictures, draws)
    for i in range(6):
        assert close(reference[i], shown(pictures[i], draws["whole"][i], draws["flips"][i, 0]))
        assert close(target[i], shown(pictures[i], draws["second"][i], draws["flips"][i, 1]))


def test_mirrors_of_two_crops_are_independent():
    flips = batch_of(CropPair(SIZE), 400)["flips"].tolist()
    counts = Counter(map(tuple, flips))
    assert len(counts) == 4 and min(counts.values()) > 70


def test_local_to_global_is_the_same_pair_the_other_way_round():
    pictures, draws = noise(4), batch_of(CropPair(SIZE, flip=0.0), 4)
    forth = CropPair(SIZE, flip=0.0).apply(pictures, draws)
    back = CropPair(SIZE, "local-to-global", flip=0.0).apply(pictures, draws)
    assert torch.equal(forth.reference, back.target) and torch.equal(forth.target, back.reference)


def test_frames_share_box_and_mirror():
    rule = FramePair(SIZE)
    picture, draws = noise(6), batch_of(rule, 6)
    reference, target = rule.apply(picture.expand(-1, -1, 2, -1, -1), draws)
    assert torch.equal(reference, target)
    frames = noise(6, frames=2)
    reference, target = rule.apply(frames, draws)
    assert 0 < draws["flips"].sum() < 6
    for i in range(6):
        for view, frame in ((reference, 0), (target, 1)):
            expected = shown(frames[i, :, frame : frame + 1], draws["whole"][i], draws["flips"][i])
            assert close(view[i], expected)


def test_boxes_are_drawn_in_the_picture_s_own_shape():
    """A square crop of a wide picture is narrow in a square reading of it."""
    rule = ResizedCrop((0.2, 0.4), (1.0, 1.0))
    for seed in range(20):
        box = draw_in(rule, np.random.default_rng(seed), measured=(100, 200), source=(100, 100), size=SIZE)
        assert box.dtype == np.int64 and abs(box[2] / 2 - box[3]) <= 1
        assert (box[:2] >= 0).all() and (box[:2] + box[2:] <= 100).all()
        whole = draw_in(
            ResizedCrop((1.0, 1.0), (2.0, 2.0)),
            np.random.default_rng(seed),
            measured=(100, 200),
            source=(37, 53),
            size=SIZE,
        )
        assert whole.tolist() == [0, 0, 37, 53]
        tiny = draw_in(
            ResizedCrop((1e-4, 1e-4)), np.random.default_rng(seed), measured=(1000, 1000), source=(4, 4), size=SIZE
        )
        assert (tiny[2:] == 1).all() and (tiny[:2] >= 0).all() and (tiny[:2] < 4).all()


def test_frames_are_4_to_47_apart_uniformly_and_in_order():
    rng = np.random.default_rng(0)
    gaps = Counter(draw_gap(rng, 300) for _ in range(4400))
    assert set(gaps) == set(range(4, 48)) and min(gaps.values()) > 60 and max(gaps.values()) < 145
    for frames, expected in ((2, {1}), (3, {2}), (4, {3}), (5, {4}), (7, {4, 5, 6}), (48, set(range(4, 48)))):
        assert {draw_gap(rng, frames) for _ in range(800)} == expected
    pairs = np.array([draw_frames(rng, 60) for _ in range(2000)])
    assert pairs.min() == 0 and pairs.max() == 59
    assert set(pairs[:, 1] - pairs[:, 0]) == set(range(4, 48))
    # Among pairs 40 apart the first frame is any of those that fit: 0 … 19.
    firsts = pairs[pairs[:, 1] - pairs[:, 0] == 40][:, 0]
    assert firsts.min() < 4 and firsts.max() > 15


def test_what_cannot_be_drawn_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(RecipeError, match="two frames, not 1"):
        draw_gap(rng, 1)
    for gap in ((0, 4), (5, 5)):
        with pytest.raises(RecipeError, match="gap="):
            draw_gap(rng, 30, *gap)
    for rule in (CropPair, FramePair):
        with pytest.raises(RecipeError, match="flip=2"):
            rule(flip=2.0)
