import math

import pytest
import torch

from kinema.losses import statistics_classification_loss, statistics_regression_loss

KNOWN = torch.tensor([[11, 5, 4, 7, 2, 5, 3, 3, 8, 1, 4, 3, 1, 10]])


def random_case(batch=6):
    generator = torch.Generator().manual_seed(4)
    motion, appearance = torch.randn(batch, 14, generator=generator), torch.randn(batch, 13, generator=generator)
    labels = torch.randint(1, 5, (batch, 27), generator=generator)
    valid = torch.rand(batch, 14, generator=generator) < 0.6
    return motion, appearance, labels[:, :14], labels[:, 14:], valid


def random_logits(batch=6):
    generator = torch.Generator().manual_seed(5)
    sizes = [16, 8, 16, 8, 4, 8, 4, 8, 8, 8, 8, 8, 15, 15]
    motion = [torch.randn(batch, size, generator=generator) for size in sizes]
    return motion, [torch.randn(batch, size, generator=generator) for size in [*sizes[:12], 8]]


def test_one_output_off_by_two():
    motion, appearance = KNOWN.float(), torch.full((1, 13), 3.0)
    exact = statistics_regression_loss(motion, appearance, KNOWN, appearance)
    assert exact == (0, 0, 0)
    off = motion.clone()
    off[0, 5] += 2
    assert statistics_regression_loss(off, appearance, KNOWN, appearance).loss.item() == pytest.approx(4 / 14)
    off = appearance.clone()
    off[0, 5] -= 2
    found = statistics_regression_loss(motion, off, KNOWN, appearance)
    assert found.loss.item() == pytest.approx(0.1 * 4 / 13)
    assert found.appearance.item() == pytest.approx(4 / 13)


def test_zero_prediction_of_the_known_labels():
    nothing = torch.zeros(1, 13)
    found = statistics_regression_loss(torch.zeros(1, 14), nothing, KNOWN, nothing)
    assert found.motion.item() == pytest.approx(449 / 14)


def test_regression_equals_the_mean_over_batch_and_labels():
    motion, appearance, motion_labels, appearance_labels, _ = random_case()
    found = statistics_regression_loss(
        motion, appearance, motion_labels, appearance_labels, motion_weight=2.0, appearance_weight=0.5
    )
    motion_term = torch.nn.functional.mse_loss(motion, motion_labels.float())
    appearance_term = torch.nn.functional.mse_loss(appearance, appearance_labels.float())
    torch.testing.assert_close(found, (2 * motion_term + 0.5 * appearance_term, motion_term, appearance_term))


def test_ignored_labels_have_no_gradient_and_halves_of_a_batch_average_to_the_whole():
    motion, appearance, motion_labels, appearance_labels, valid = random_case()
    motion.requires_grad_()

    def loss(part):
        return statistics_regression_loss(
            motion[part], appearance[part], motion_labels[part], appearance_labels[part], motion_valid=valid[part]
        ).loss

    whole = loss(slice(None))
    whole.backward()
    assert torch.equal(motion.grad != 0, valid)
    torch.testing.assert_close((2 * loss(slice(0, 2)) + 4 * loss(slice(2, 6))) / 6, whole)
    squared = ((motion - motion_labels) ** 2 * valid).sum() / (6 * 14)
    torch.testing.assert_close(loss(slice(None)) - 0.1 * ((appearance - appearance_labels) ** 2).mean(), squared)


def test_a_term_without_labels_is_zero():
    motion = torch.ones(2, 4, requires_grad=True)
    empty = torch.zeros(2, 0)
    found = statistics_regression_loss(motion, empty, torch.zeros(2, 4), empty)
    assert (found.loss.item(), found.appearance.item()) == (1.0, 0.0)
    found = statistics_classification_loss([torch.zeros(2, 8)], [], torch.ones(2, 1, dtype=torch.int64), empty.long())
    assert (found.loss.item(), found.appearance.item()) == (pytest.approx(math.log(8)), 0.0)


def test_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"\[2, 14\] and labels \[2, 1\]"):
        statistics_regression_loss(torch.zeros(2, 14), torch.zeros(2, 13), torch.zeros(2, 1), torch.zeros(2, 13))
    with pytest.raises(ValueError, match="zip"):
        statistics_classification_loss([torch.zeros(2, 8)], [], torch.ones(2, 2).long(), torch.ones(2, 0).long())


def test_uniform_logits_cost_the_sum_of_logarithms():
    motion, appearance = ([torch.zeros_like(x) for x in part] for part in random_logits())
    found = statistics_classification_loss(motion, appearance, KNOWN.repeat(6, 1), torch.ones(6, 13).long())
    expected = sum(math.log(logits.shape[1]) for logits in motion)
    assert found.motion.item() == pytest.approx(expected)
    expected += 0.1 * sum(math.log(logits.shape[1]) for logits in appearance)
    assert found.loss.item() == pytest.approx(expected)


def test_the_class_of_a_label_is_label_minus_one():
    motion, appearance = random_logits()
    _, _, motion_labels, appearance_labels, _ = random_case()
    slow = 0.0
    for logits, labels, weight in ((motion, motion_labels, 1.0), (appearance, appearance_labels, 0.1)):
        for scores, column in zip(logits, labels.T, strict=True):
            slow -= weight * sum(row.log_softmax(0)[k - 1].item() for row, k in zip(scores, column, strict=True)) / 6
    found = statistics_classification_loss(motion, appearance, motion_labels, appearance_labels)
    assert found.loss.item() == pytest.approx(slow, rel=1e-5)


def test_ignored_classes_add_nothing_and_halves_of_a_batch_average_to_the_whole():
    motion, appearance = random_logits()
    _, _, motion_labels, appearance_labels, valid = random_case()

    def loss(part, labels=motion_labels, mask=valid):
        return statistics_classification_loss(
            [x[part] for x in motion],
            [x[part] for x in appearance],
            labels[part],
            appearance_labels[part],
            motion_valid=None if mask is None else mask[part],
        )

    whole = loss(slice(None))
    zeroed = loss(slice(None), motion_labels * valid, None)
    torch.testing.assert_close(whole, zeroed)
    assert whole.motion < loss(slice(None), mask=None).motion
    torch.testing.assert_close((2 * loss(slice(0, 2)).loss + 4 * loss(slice(2, 6)).loss) / 6, whole.loss)
    assert loss(slice(None), torch.zeros_like(motion_labels), None).motion == 0
