"""Queue InfoNCE and margin ranking: closed forms, an independent slow calculation, gradients."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from kinema.losses import first_is_best, margin_ranking, queue_info_nce, queue_logits

TAU = 0.07


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def test_columns_are_positive_queue_own():
    query, positive, queue, own = unit(3, 4), unit(3, 4, seed=1), unit(5, 4, seed=2), unit(3, 2, 4, seed=3)
    logits = queue_logits(query, positive, queue, negatives=own, temperature=TAU)
    assert logits.shape == (3, 1 + 5 + 2)
    for b in range(3):
        rest = [*queue, *own[b]]
        expected = [float(query[b] @ key) / TAU for key in (positive[b], *rest)]
        assert logits[b].tolist() == pytest.approx(expected)


def test_loss_is_a_slow_softmax():
    query, positive, queue, own = unit(4, 6), unit(4, 6, seed=1), unit(7, 6, seed=2), unit(4, 1, 6, seed=3)
    found = queue_info_nce(query, positive, queue, negatives=own, temperature=0.2)
    losses = []
    for b in range(4):
        right = math.exp(float(query[b] @ positive[b]) / 0.2)
        others = sum(math.exp(float(query[b] @ key) / 0.2) for key in (*queue, own[b, 0]))
        losses.append(-math.log(right / (right + others)))
    assert float(found.loss) == pytest.approx(sum(losses) / 4)


def test_orthogonal_features_give_the_logarithm_of_the_choices():
    zero = torch.zeros(2, 4)
    assert float(queue_info_nce(zero, zero, torch.zeros(9, 4)).loss) == pytest.approx(math.log(1 + 9))
    one = torch.eye(4)[:1]
    found = queue_info_nce(one, one, torch.eye(4)[1:].repeat(3, 1))
    assert float(found.loss) == pytest.approx(math.log(1 + 9 * math.exp(-1 / TAU)), abs=1e-6)


def test_far_keys_give_no_loss_and_equal_keys_the_logarithm():
    one = unit(1, 8)
    far = queue_info_nce(one, one, -one.repeat(5, 1), negatives=-one[:, None])
    assert float(far.loss) == pytest.approx(math.log(1 + 6 * math.exp(-2 / TAU)), rel=1e-3) and float(far.loss) < 1e-8
    assert (float(far.top1), float(far.top5)) == (1, 1)
    same = queue_info_nce(one, one, one.repeat(5, 1), negatives=one[:, None])
    assert float(same.loss) == pytest.approx(math.log(7))
    # Equal embeddings are not right by chance.
    assert (float(same.top1), float(same.top5)) == (0, 0)


def test_accuracies_count_what_scores_higher():
    logits = torch.tensor(
        [[1.0, 0, 0, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0], [1, 2, 2, 2, 2, 0, 0], [1, 2, 2, 2, 2, 2, 0]]
    )
    found = first_is_best(logits)
    assert (float(found.top1), float(found.top5)) == (0.25, 0.75)
    assert float(found.loss) == pytest.approx(float(cross_entropy(logits, torch.zeros(4, dtype=torch.int64))))


def test_without_own_negatives_it_is_momentum_contrast():
    query, positive, queue, own = unit(4, 6), unit(4, 6, seed=1), unit(7, 6, seed=2), unit(4, 1, 6, seed=3)
    logits = torch.cat([(query * positive).sum(1, keepdim=True), query @ queue.t()], 1) / TAU
    reference = cross_entropy(logits, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(queue_info_nce(query, positive, queue).loss, reference)
    nobody = torch.zeros(4, 1, dtype=torch.bool)
    masked = queue_info_nce(query, positive, queue, negatives=own, negatives_valid=nobody)
    torch.testing.assert_close(masked.loss, reference)
    some = torch.tensor([[True], [False], [True], [True]])
    assert queue_info_nce(query, positive, queue, negatives=own, negatives_valid=some).loss > reference


def test_gradients_reach_query_and_own_negatives_but_not_the_queue():
    tensors = [unit(3, 4), unit(3, 4, seed=1), unit(5, 4, seed=2), unit(3, 2, 4, seed=3)]
    query, positive, queue, own = (tensor.requires_grad_() for tensor in tensors)
    queue_info_nce(query, positive.detach(), queue, negatives=own).loss.backward()
    assert query.grad.abs().sum() > 0 and own.grad.abs().sum() > 0
    assert queue.grad is None and positive.grad is None


def test_a_masked_negative_has_finite_gradients():
    query, own = unit(2, 4).requires_grad_(), unit(2, 1, 4, seed=3).requires_grad_()
    valid = torch.tensor([[True], [False]])
    queue_info_nce(query, unit(2, 4, seed=1), unit(5, 4), negatives=own, negatives_valid=valid).loss.backward()
    assert torch.isfinite(query.grad).all() and own.grad[1].eq(0).all() and own.grad[0].abs().sum() > 0


def test_logits_are_single_precision_under_autocast():
    query = unit(2, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        logits = queue_logits(query.bfloat16(), query, unit(5, 4).float())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, queue_logits(query.bfloat16().float(), query, unit(5, 4).float()))


def test_ranking_wants_a_margin_and_no_more():
    positive = torch.tensor([0.5, 0.3, 0.1], dtype=torch.float64).requires_grad_()
    negative = torch.tensor([0.2, 0.29, 0.4], dtype=torch.float64)
    loss = margin_ranking(positive, negative, margin=0.15)
    assert loss.item() == pytest.approx((0 + 0.14 + 0.45) / 3)
    loss.backward()
    assert positive.grad.tolist() == pytest.approx([0, -1 / 3, -1 / 3])
    zero = torch.zeros(4)
    assert float(margin_ranking(zero, zero, margin=2.0, temperature=TAU)) == 2.0


def test_the_codes_ranking_is_the_papers_times_the_inverse_temperature():
    positive, negative = torch.rand(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    code = margin_ranking(positive, negative, margin=2.0, temperature=TAU)
    paper = margin_ranking(positive, negative, margin=2.0 * TAU)
    torch.testing.assert_close(code, paper / TAU)
