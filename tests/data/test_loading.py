"""Batches: the same whatever the workers, honest about broken files, in a keyed order."""

import itertools
import shutil

import numpy as np
import pytest
import torch

from kinema.data.index import per_row
from kinema.data.loading import Request, cut, deliver, epoch_order, request_generator
from kinema.data.manifest import Manifest
from kinema.data.sample import Clock, Frames, Sample
from tests.helpers import assert_same_bits, damage


class Planner:
    """Two frames of a row, one drawn; `prepare` draws a number of its own."""

    def plan(self, i, index, clock, rng):
        frames = np.array([0, int(rng.integers(20, 40))])
        return Sample({"video": Frames(int(index.rows[i]), frames, (16, 24))}, {"draw": rng.random(2)})

    def prepare(self, batch, generator):
        return {**batch, "noise": torch.rand(3, generator=generator)}


def request(samples, *, repeats=None, step=0, epoch=0, part=0):
    return Request(Clock(epoch, step, 0.0), tuple(samples), tuple(repeats or (0,) * len(samples)), part)


REQUESTS = [request([0, 3]), request([5, 1, 2], step=1), request([4], step=2), request([0, 0], repeats=[0, 1], step=3)]


def delivered(manifest, requests=REQUESTS, workers=0, seed=3, **options):
    return list(deliver(Planner(), per_row(manifest), requests, seed=seed, workers=workers, **options))


@pytest.fixture
def broken_videos(tiny_videos, tmp_path):
    """A copy of the tiny videos of which row 2 was damaged after the scan."""
    shutil.copytree(tiny_videos.root, tmp_path / "videos")
    manifest = Manifest(tiny_videos.table, tmp_path / "videos")
    damage(manifest.path(2))
    return manifest


def test_batches_do_not_depend_on_the_number_of_workers(tiny_videos):
    alone = delivered(tiny_videos)
    assert [delivery.request for delivery in alone] == REQUESTS
    for workers in (1, 2):
        shared = delivered(tiny_videos, workers=workers)
        assert [delivery.request for delivery in shared] == REQUESTS
        for one, other in zip(alone, shared, strict=True):
            assert_same_bits(one.batch, other.batch)


def test_batches_that_are_prepared_elsewhere_do_not_depend_on_workers_either(tiny_videos):
    alone, shared = (delivered(tiny_videos, workers=workers, prepare=False) for workers in (0, 1))
    for one, other in zip(alone, shared, strict=True):
        assert_same_bits(one.batch, other.batch)


def test_a_sample_knows_its_number_and_a_second_use_draws_anew(tiny_videos):
    last = delivered(tiny_videos)[3].batch
    assert last["sample"].tolist() == [0, 0]
    assert torch.equal(last["video"][0, :, 0], last["video"][1, :, 0])
    assert not torch.equal(last["draw"][0], last["draw"][1])


def test_draws_depend_on_seed_epoch_sample_and_use_but_not_on_the_step(tiny_videos):
    def draw(seed=3, **options):
        return delivered(tiny_videos, [request([1], **options)], seed=seed)[0].batch["draw"].tolist()

    base = draw()
    assert draw(step=7, part=2) == base
    others = [draw(epoch=1), draw(repeats=[1]), draw(seed=4)]
    assert len({str(drawn) for drawn in [base, *others]}) == 4


def test_each_micro_batch_has_a_generator_of_its_own(tiny_videos):
    """Also when few samples fill a batch, so that two micro-batches begin with the same sample."""
    uses = [
        request([0, 1]),
        request([0, 1], repeats=[1, 1], part=1),
        request([0, 1], step=1),
        request([1, 0]),
    ]
    noises = [tuple(delivery.batch["noise"].tolist()) for delivery in delivered(tiny_videos, uses)]
    assert len(set(noises)) == 4
    again = torch.rand(3, generator=request_generator(3, uses[0]))
    assert tuple(again.tolist()) == noises[0]


def test_prepare_can_be_left_to_the_caller(tiny_videos):
    batch = delivered(tiny_videos, REQUESTS[:1], prepare=False)[0].batch
    assert set(batch) == {"video", "draw", "sample"}
    assert batch["video"].shape == (2, 3, 2, 16, 24) and batch["video"].dtype == torch.uint8


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_shrinks_its_batch_and_is_never_replaced(tiny_videos, broken_videos, workers):
    whole, found = delivered(tiny_videos), delivered(broken_videos, workers=workers)
    assert [delivery.count for delivery in found] == [2, 2, 1, 2]
    failure = found[1].failures[0]
    assert failure.sample == 2 and failure.path == str(broken_videos.path(2)) and "damaged" in failure.reason
    assert found[1].batch["sample"].tolist() == [5, 1]
    assert torch.equal(found[1].batch["video"], whole[1].batch["video"][:2])
    for position in (0, 2, 3):
        assert not found[position].failures
        assert_same_bits(found[position].batch, whole[position].batch)


def test_a_batch_of_broken_files_is_no_batch(broken_videos):
    found = delivered(broken_videos, [request([2, 2], repeats=[0, 1]), request([1])])
    assert found[0].batch is None and found[0].count == 0
    assert [failure.sample for failure in found[0].failures] == [2, 2]
    assert found[1].count == 1


def test_a_file_that_vanished_is_a_failure_with_its_path(tiny_videos, tmp_path):
    shutil.copytree(tiny_videos.root, tmp_path / "videos")
    manifest = Manifest(tiny_videos.table, tmp_path / "videos")
    manifest.path(1).unlink()
    found = delivered(manifest, [request([0, 1])])[0]
    assert found.count == 1
    assert found.failures[0].path == str(manifest.path(1)) and "no such file" in found.failures[0].reason


def test_an_endless_list_of_requests_is_read_as_far_as_needed(tiny_videos):
    endless = (request([step % 6], step=step) for step in itertools.count())
    first = list(itertools.islice(deliver(Planner(), per_row(tiny_videos), endless, seed=0, workers=1), 4))
    assert [delivery.request.clock.step for delivery in first] == [0, 1, 2, 3]
    assert next(endless).clock.step < 12


def test_the_order_of_an_epoch_is_a_keyed_shuffle():
    orders = [epoch_order(None, 50, epoch, seed).tolist() for epoch, seed in [(0, 0), (1, 0), (0, 1)]]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(None, 50, 0, 0).tolist() == orders[0]


def test_a_methods_own_order_is_taken_as_it_is():
    assert epoch_order(np.array([4, 4, 1]), 50, 0, 0).tolist() == [4, 4, 1]


def test_an_epoch_is_cut_into_whole_batches():
    batches = cut(np.array([4, 2, 0, 3, 1, 6, 5]), 3)
    assert batches == [((4, 2, 0), (0, 0, 0)), ((3, 1, 6), (0, 0, 0))]


def test_uses_are_numbered_within_the_epoch():
    assert cut(np.array([1, 1, 2, 1, 2, 0]), 2) == [((1, 1), (0, 1)), ((2, 1), (0, 2)), ((2, 0), (1, 0))]


def test_few_samples_are_used_again_until_one_batch_is_full():
    assert cut(np.array([1, 0]), 5) == [((1, 0, 1, 0, 1), (0, 0, 1, 1, 2))]
