"""Random erasing, MixUp, CutMix and the mixing of a frame: closed forms, ranges, both ways through the code."""

import numpy as np
import pytest
import torch

from kinema.data.sample import collate
from kinema.errors import RecipeError
from kinema.randomness import numpy_generator
from kinema.views import Erasing, Mixing, mix_frame
from kinema.views.erasing import keyed_normal

SIZE = (24, 32)


@pytest.fixture
def floats(clips):
    """The clips in [0, 1]."""
    return clips.float() / 255


def test_erased_boxes_keep_to_area_and_shape():
    rule = Erasing(1.0, (0.1, 0.2), (0.5, 2.0))
    found = np.stack([rule.draw(numpy_generator(i), (200, 300))["erased"] for i in range(1500)])
    top, left, height, width = found.T
    area, shape = height * width / 60000, height / width
    assert area.min() > 0.098 and area.max() < 0.202 and np.median(area) == pytest.approx(0.15, abs=0.01)
    assert shape.min() > 0.48 and shape.max() < 2.08 and np.median(shape) == pytest.approx(1, abs=0.07)
    assert (top >= 0).all() and (top + height <= 200).all() and (left + width <= 300).all()


def test_erasing_has_its_probability_and_gives_up_on_boxes_that_do_not_fit():
    found = [Erasing(0.25).draw(numpy_generator(i), SIZE)["erased"] for i in range(2000)]
    assert np.mean([box.any() for box in found]) == pytest.approx(0.25, abs=0.03)
    assert not Erasing(1.0, (2.0, 3.0)).draw(numpy_generator(0), SIZE)["erased"].any()


@pytest.mark.parametrize("fill", ["noise", "colour", "constant"])
@pytest.mark.parametrize("ways", ["drawn", "masks"])
def test_the_box_is_filled_in_all_frames_and_nothing_else(floats, fill, ways, masked):
    rule = Erasing(fill=fill, value=7.0)
    draws = {"erased": torch.tensor([[2, 3, 5, 6], [0, 0, 0, 0], [10, 20, 14, 12]]), "erased_key": torch.arange(3)}
    first = rule.apply(floats, draws)
    if ways == "masks":
        masked()
        assert torch.equal(rule.apply(floats, draws), first)
    inside = torch.zeros(3, 1, 1, *SIZE, dtype=torch.bool)
    inside[0, ..., 2:7, 3:9] = inside[2, ..., 10:24, 20:32] = True
    inside = inside.expand_as(floats)
    assert torch.equal(first[~inside], floats[~inside])
    values = first[0][..., 2:7, 3:9]
    if fill == "constant":
        assert (values == 7).all()
    elif fill == "colour":
        assert torch.equal(values, values[:, :1, :1, :1].expand_as(values)) and len(values.unique()) == 3
    else:
        assert len(values.unique()) == values.numel()


def test_keyed_noise_is_normal_independent_and_the_same_every_time(device):
    places = torch.arange(100_000, device=device)
    noise = keyed_normal(torch.tensor([1, 2], device=device), places).cpu()
    torch.testing.assert_close(noise, keyed_normal(torch.tensor([1, 2]), places.cpu()), atol=1e-4, rtol=0)
    assert noise.mean(1).abs().max() < 0.015 and (noise.std(1) - 1).abs().max() < 0.01
    assert (noise.abs() > 1.96).float().mean() == pytest.approx(0.05, abs=0.003)
    assert (noise**4).mean() == pytest.approx(3, abs=0.15)
    lagged = torch.corrcoef(torch.stack([noise[0, 1:], noise[0, :-1], noise[1, 1:]]))
    assert (lagged - torch.eye(3)).abs().max() < 0.02
    part = keyed_normal(torch.tensor([2]), torch.tensor([5, 7]))
    torch.testing.assert_close(part[0], noise[1, [5, 7]], atol=1e-4, rtol=0)


def test_mixup_blends_clips_and_labels_with_the_reverse_of_the_batch(floats):
    rule = Mixing(smoothing=0.1)
    share = torch.tensor([0.25, 1.0, 0.6])
    draws = {"share": share, "cut": torch.zeros(3, 4, dtype=torch.int64), "cuts": torch.zeros(3, dtype=torch.bool)}
    out = rule.apply(floats, draws)
    for i in range(3):
        torch.testing.assert_close(out[i], share[i] * floats[i] + (1 - share[i]) * floats[2 - i])
    labels = rule.labels(torch.tensor([0, 1, 2]), draws, 4)
    own, other, none = 0.925, 0.025, 0.025
    wanted = torch.tensor([0.25 * own + 0.75 * other, none, 0.75 * own + 0.25 * other, none])
    torch.testing.assert_close(labels[0], wanted)
    torch.testing.assert_close(labels.sum(1), torch.ones(3))


def test_cutmix_pastes_the_partners_box_into_all_frames(floats):
    draws = {
        "share": torch.tensor(1 - 30 / 768),
        "cut": torch.tensor([4, 6, 5, 6]),
        "cuts": torch.tensor(True),
    }
    out = Mixing().apply(floats, draws)
    assert torch.equal(out[0, :, :, 4:9, 6:12], floats[2, :, :, 4:9, 6:12])
    rest = torch.ones(SIZE, dtype=torch.bool)
    rest[4:9, 6:12] = False
    assert torch.equal(out[..., rest], floats[..., rest])
    labels = Mixing(smoothing=0.0).labels(torch.tensor([0, 1, 2]), draws, 3)
    torch.testing.assert_close(labels[0], torch.tensor([1 - 30 / 768, 0, 30 / 768]))


def test_drawn_shares_match_their_boxes_and_distributions():
    rule = Mixing(p=0.8, switch=0.4)
    draws = collate([rule.draw(numpy_generator("mix", i), SIZE) for i in range(3000)])
    share, box, cuts = draws["share"], draws["cut"], draws["cuts"]
    assert (share < 1).float().mean() == pytest.approx(0.8, abs=0.04) and cuts.float().mean() == pytest.approx(
        0.32, abs=0.04
    )
    assert not box[~cuts].any()
    torch.testing.assert_close(share[cuts], 1 - box[cuts, 2] * box[cuts, 3] / 768)
    assert (box[:, 0] + box[:, 2] <= 24).all() and (box[:, 1] + box[:, 3] <= 32).all() and box.min() >= 0
    mixed = share[~cuts & (share < 1)]
    assert mixed.mean() == pytest.approx(0.5, abs=0.03) and mixed.var() == pytest.approx(0.25 / 2.6, abs=0.01)


def test_one_kind_alone_needs_no_switch():
    for rule, cut in ((Mixing(cutmix=0.0), False), (Mixing(mixup=0.0), True)):
        draws = [rule.draw(numpy_generator(i), SIZE) for i in range(40)]
        assert all(bool(draw["cuts"]) == cut for draw in draws)
    with pytest.raises(RecipeError, match="both 0"):
        Mixing(0.0, 0.0)


def test_a_frame_is_mixed_into_its_clip(floats):
    frame, amount = torch.tensor([0, 1, 1]), torch.tensor([0.1, 0.0, 0.5])
    out = mix_frame(floats, frame, amount)
    torch.testing.assert_close(out[0], 0.9 * floats[0] + 0.1 * floats[0, :, :1])
    assert torch.equal(out[1], floats[1])
    torch.testing.assert_close(out[2, :, 0], (floats[2, :, 0] + floats[2, :, 1]) / 2)
