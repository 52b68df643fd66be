import numpy as np
import torch

from kinema.targets.statistics import curriculum_order, curriculum_score
from tests.targets.statistics_oracle import motion_sums


def test_score_equals_the_slow_calculation():
    flow = torch.randn((3, 2, 4, 32, 32), generator=torch.Generator().manual_seed(0))
    flow[1, :, :, 8:12, 8:12] *= 30
    flow[2, 0] = 0
    slow = []
    for clip in flow:
        blocks = [means[:16] for means, _, _ in motion_sums(clip.numpy())]
        slow.append(max(b.max() / b.sum() if b.sum() else 0.0 for b in blocks))
    np.testing.assert_allclose(curriculum_score(flow).numpy(), slow, rtol=1e-5)


def test_score_is_one_for_motion_in_one_block_and_zero_without_motion():
    flow = torch.zeros(3, 2, 3, 64, 64)
    flow[0, 1, :, 20:28, 36:44] = 2.0
    flow[1] = 5.0
    flow[2] = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    scores = curriculum_score(flow)
    assert scores[:2].tolist() == [1.0, 0.0]
    assert 1 / 16 <= scores[2] < 0.2


def test_easy_clips_come_first_and_the_second_stage_has_all():
    scores = np.array([0.2, 0.9, 0.0, 0.5, 0.5], np.float32)
    assert curriculum_order(scores, 2).tolist() == [1, 3, 4, 0, 2]
    assert curriculum_order(scores, 1).tolist() == [1, 3, 4]
    assert curriculum_order(scores[:4], 1).tolist() == [1, 3]
    assert curriculum_order(scores[:1], 1).tolist() == [0]
    assert curriculum_order(scores, 2).dtype == np.int64
