"""The whole run on one axis, and every process's share of it."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.data.index import Index
from kinema.errors import RecipeError
from kinema.methods.base import Method
from kinema.training.recipe import Recipe
from kinema.training.timeline import build_timeline, share_of_batch

RECIPE = Recipe("sts", epochs=3, batch=4, seed=5)


class HalfFirst(Method):
    """The first epoch sees only the first half."""

    def order(self, index, epoch, seed):
        return np.arange(len(index) // 2) if epoch == 0 else None


def index_of(count):
    return Index(None, np.arange(count), np.zeros(count), np.ones(count))


def timeline(count=13, recipe=RECIPE, method=None):
    return build_timeline(method or Method(), index_of(count), recipe)


def requests(line, start=0, rank=0, world=1):
    return list(line.requests(start, rank, world))


def test_steps_are_whole_batches_of_every_epoch():
    line = timeline()
    assert line.epoch_steps == (3, 3, 3) and line.steps == 9 and line.steps_per_epoch == 3
    assert timeline(count=3).epoch_steps == (1, 1, 1)


def test_the_clock_tells_epoch_step_and_progress():
    line = timeline()
    assert [line.clock(step).epoch for step in range(10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert [line.clock(step).progress for step in (0, 3, 9)] == pytest.approx([0, 1 / 3, 1])
    assert [request.clock for request in requests(line)] == [line.clock(step) for step in range(9)]


def test_an_epoch_uses_no_sample_twice_and_epochs_differ_in_order():
    found = requests(timeline())
    epochs = [sum((request.samples for request in found[k : k + 3]), ()) for k in (0, 3, 6)]
    assert all(len(set(epoch)) == 12 for epoch in epochs)
    assert len(set(epochs)) == 3
    assert requests(timeline(recipe=replace(RECIPE, seed=6)))[0].samples != found[0].samples


def test_a_resumed_run_asks_for_what_was_left():
    line = timeline()
    for start in range(10):
        assert requests(line, start) == requests(line)[start:]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_processes_and_micro_batches_share_the_same_batch(world, accumulate):
    whole = requests(timeline())
    line = timeline(recipe=replace(RECIPE, accumulate=accumulate))
    shares = [requests(line, rank=rank, world=world) for rank in range(world)]
    assert {len(share) for share in shares} == {9 * accumulate}
    for step, request in enumerate(whole):
        parts = range(step * accumulate, (step + 1) * accumulate)
        mine = [shares[rank][part] for part in parts for rank in range(world)]
        assert sum((one.samples for one in mine), ()) == request.samples
        assert sum((one.repeats for one in mine), ()) == request.repeats
        assert {one.clock for one in mine} == {request.clock}
        assert [shares[0][part].part for part in parts] == list(range(accumulate))


def test_a_methods_order_may_shorten_an_epoch():
    line = timeline(count=16, method=HalfFirst())
    assert line.epoch_steps == (2, 4, 4) and line.steps == 10
    found = requests(line)
    assert found[0].samples == (0, 1, 2, 3) and found[1].samples == (4, 5, 6, 7)
    assert [request.clock.epoch for request in found] == [0] * 2 + [1] * 4 + [2] * 4
    assert requests(line, 5) == found[5:]


def test_a_batch_that_cannot_be_cut_is_refused_with_one_that_can():
    assert share_of_batch(replace(RECIPE, batch=12, accumulate=2), 3) == 2
    with pytest.raises(RecipeError, match="batch=30 cannot be cut into 4 processes x 2 micro-batches: use batch=32"):
        share_of_batch(replace(RECIPE, batch=30, accumulate=2), 4)
    with pytest.raises(RecipeError, match="use batch=8"):
        share_of_batch(replace(RECIPE, batch=3, accumulate=2), 4)


def test_an_epoch_without_samples_is_refused():
    class Nothing(Method):
        def order(self, index, epoch, seed):
            return np.empty(0, np.int64) if epoch == 2 else None

    with pytest.raises(RecipeError, match="epoch 2 has no samples"):
        timeline(method=Nothing())


def test_a_run_counted_in_steps_ends_within_an_epoch():
    line = timeline(recipe=replace(RECIPE, steps=7))
    assert line.epoch_steps == (3, 3, 1) and line.steps_per_epoch == 3
    assert requests(line)[:6] == [
        request._replace(clock=clock)
        for request, clock in zip(requests(timeline()), (line.clock(step) for step in range(6)), strict=False)
    ]
    assert len(requests(line)) == 7 and requests(line, 5) == requests(line)[5:]
    assert timeline(recipe=replace(RECIPE, steps=30)).epoch_steps == (3,) * 10
