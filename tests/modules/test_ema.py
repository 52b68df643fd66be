import copy

import pytest
import torch
from torch import nn

from kinema.modules.ema import EMA, cosine_momentum


def module(value):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.fill_(value)
    return net


def test_after_n_steps_the_distance_has_shrunk_n_times():
    ema, student = EMA(module(0.0), 0.9), module(1.0)
    for step in range(7):
        ema.update(student, step)
    for parameter in ema.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, 1 - 0.9**7))


def test_a_scheduled_momentum_is_asked_for_its_step():
    ema = EMA(module(0.0), lambda step: {4: 0.75, 9: 0.5}[step])
    ema.update(module(1.0), 4)
    ema.update(module(1.0), 9)
    torch.testing.assert_close(ema.module[0].weight, torch.full((3, 2), 0.625))


def test_the_copy_is_apart_and_takes_no_gradient():
    student = module(1.0)
    ema = EMA(student)
    with torch.no_grad():
        student[0].weight.add_(1)
    assert ema.module[0].weight.eq(1).all()
    assert not any(parameter.requires_grad for parameter in ema.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not ema(torch.randn(4, 2)).requires_grad


@pytest.mark.parametrize("buffers", ["copy", "own"])
def test_buffers_follow_the_source_or_the_copys_own_passes(buffers):
    student = module(1.0)
    ema = EMA(student, buffers=buffers)
    student(torch.randn(8, 2) + 5)
    ema.update(student, 0)
    own, new = ema.module[1], student[1]
    assert torch.equal(own.running_mean, new.running_mean if buffers == "copy" else torch.zeros(3))
    assert own.num_batches_tracked == (1 if buffers == "copy" else 0)
    assert own.running_mean is not new.running_mean


def test_state_dict_resumes_the_average():
    student, ema = module(1.0), EMA(module(0.0), 0.5)
    ema.update(student, 0)
    resumed = EMA(module(9.0), 0.5)
    resumed.load_state_dict(copy.deepcopy(ema.state_dict()))
    for average in (ema, resumed):
        average.update(student, 1)
    for expected, actual in zip(ema.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, actual)


def test_another_architecture_is_refused():
    with pytest.raises(RuntimeError):
        EMA(module(0.0)).update(nn.Linear(2, 3), 0)


def test_cosine_momentum_rises_from_start_to_end():
    momentum = cosine_momentum(0.99, 1.0, 100)
    assert [momentum(step) for step in (0, 50, 100, 200)] == pytest.approx([0.99, 0.995, 1.0, 1.0])
    assert momentum(25) == pytest.approx(1 - 0.01 * (1 + 2**-0.5) / 2)
