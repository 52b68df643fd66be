"""Processes that read: the same samples however they were started, and words for one that died."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from kinema.data.index import per_row
from kinema.data.loading import Request, deliver
from kinema.data.sample import Clock, Frames, Sample
from kinema.data.workers import dead_workers_explained
from kinema.errors import KinemaError
from kinema.video.decode import read_frames
from tests.helpers import RATE, assert_same_bits

HARMLESS, DEADLY = 0, 1


class Clips:
    """Five frames anywhere in a video, or the death of the process that reads them."""

    def __init__(self, fate=HARMLESS):
        self.fate, self.home = fate, os.getpid()

    def plan(self, i, index, clock, rng):
        if self.fate and clock.step == 1 and os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)
        start = int(rng.integers(0, 4 * RATE - 9))
        return Sample({"video": Frames(int(index.rows[i]), np.arange(start, start + 9, 2), (24, 32))}, {})

    def prepare(self, batch, generator):
        return {**batch, "noise": torch.rand(2, generator=generator)}


def delivered(manifest, workers, fate=HARMLESS):
    requests = [Request(Clock(0, step, 0.0), (0, 1, 0), (0, 0, 1)) for step in range(4)]
    return [d.batch for d in deliver(Clips(fate), per_row(manifest), requests, seed=1, workers=workers)]


@pytest.fixture
def start_method():
    """Function: from now on, start processes this way; undone after the test."""
    before = multiprocessing.get_start_method()
    yield lambda method: multiprocessing.set_start_method(method, force=True)
    multiprocessing.set_start_method(before, force=True)


def test_workers_that_are_forked_or_spawned_read_the_same(tiny_videos, start_method):
    """Also while this process has the same files open, whose place in the file a forked one would share."""
    manifest = tiny_videos.select([0, 1])
    alone = delivered(manifest, 0)
    for method, workers in {"fork": 2, "spawn": 1}.items():
        start_method(method)
        read_frames(manifest.video(0), [0, 20])
        for one, other in zip(alone, delivered(manifest, workers), strict=True):
            assert_same_bits(one, other)
        assert np.array_equal(read_frames(manifest.video(0), [21]), read_frames(tiny_videos.video(0), [21]))


def test_a_worker_that_was_killed_is_told_with_the_remedy(tiny_videos):
    with pytest.raises(KinemaError, match=r"died.*memory.*fewer workers.*workers=0.*--resume"):
        delivered(tiny_videos, 1, DEADLY)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that", "Shared memory ran out"),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "damaged video: scan"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", r"died\. Most often .* memory ran out"),
    ],
)
def test_the_loaders_words_become_a_cause_and_a_remedy(words, told):
    with pytest.raises(KinemaError, match=told), dead_workers_explained():
        raise RuntimeError(words)


def test_other_errors_pass_unchanged():
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), dead_workers_explained():
        raise RuntimeError("shapes differ")
