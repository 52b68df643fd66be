"""How STS chooses what to read: plans, windows, short videos, and the curriculum."""

import numpy as np
import pytest
import torch

from kinema.data.loading import Request, deliver
from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.methods import sts
from kinema.methods.sts import score_clips
from kinema.randomness import numpy_generator
from kinema.targets.statistics import curriculum_score
from kinema.training.loop import Trainer, pretrain
from kinema.video.decode import read_frames
from kinema.video.flow import compute_flow
from tests.helpers import (
    CLIP,
    assert_same_bits,
    damage,
    journal,
    moving_texture,
    read_batch,
    tiny_recipe,
    tiny_sts,
    write_video,
)


def plan_of(method, index, i=0, *key):
    return method.plan(i, index, Clock(0, 0, 0.0), numpy_generator("sts", *key))


def test_a_plan_is_a_pure_function(tiny_videos):
    method = tiny_sts()
    index = method.index(tiny_videos)
    one, same, other = (plan_of(method, index, 3, key) for key in (1, 1, 2))
    assert_same_bits([str(one.reads), one.draws["top"].item()], [str(same.reads), same.draws["top"].item()])
    drawn = {(int(p.draws["top"]), int(p.draws["left"]), bool(p.draws["flip"])) for p in (one, other)}
    many = [plan_of(method, index, 3, key).draws for key in range(60)]
    assert {bool(draws["flip"]) for draws in many} == {True, False}
    assert {int(draws["left"]) for draws in many} == set(range(9)) and {int(draws["top"]) for draws in many} == {0}
    assert len(drawn) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(tiny_videos, workers):
    method = tiny_sts()
    index = method.index(tiny_videos)
    requests = [Request(Clock(0, step, 0.0), (step, step + 7), (0, 0)) for step in range(4)]
    found = [list(deliver(method, index, requests, seed=5, workers=count)) for count in (0, workers)]
    for one, other in zip(*found, strict=True):
        assert_same_bits(one.batch, other.batch)


def test_windows_visit_every_clip_and_random_one_per_video(tiny_videos):
    windows = tiny_sts()
    index = windows.index(tiny_videos)
    frames = [plan_of(windows, index, i).reads["video"].indices.tolist() for i in range(5)]
    assert frames == [list(range(k, k + 8)) for k in range(0, 40, 8)]
    chance = tiny_sts(clips="random")
    index = chance.index(tiny_videos)
    starts = {int(plan_of(chance, index, 2, key).reads["video"].indices[0]) for key in range(300)}
    assert len(index) == 6 and starts == set(range(33))


def test_strides_and_rates_space_the_frames(tiny_videos):
    strided = tiny_sts(stride=3)
    plan = plan_of(strided, strided.index(tiny_videos), 0)
    assert plan.reads["video"].indices.tolist() == [0, 3, 6, 9, 12, 15, 18, 21]
    slow = tiny_sts(rate=5.0)
    plan = plan_of(slow, slow.index(tiny_videos), 1)
    assert plan.reads["video"].indices.tolist() == [16, 18, 20, 22, 24, 26, 28, 30]


def test_the_released_loader_reads_one_frame_more(tiny_videos):
    for options, expected in [({}, 8), ({"stride": 2}, 16), ({"rate": 5.0}, 16)]:
        method = tiny_sts(flow_fields="n", **options)
        frames = plan_of(method, method.index(tiny_videos), 0).reads["video"].indices
        assert len(frames) == CLIP + 1 and frames[-1] == expected
        assert len(set(np.diff(frames).tolist())) == 1
    last = tiny_sts(flow_fields="n")
    frames = plan_of(last, last.index(tiny_videos), 4).reads["video"].indices
    assert frames.tolist() == [*range(32, 40), 39]
    batch = read_batch(last, last.index(tiny_videos))
    assert batch["video"].shape[2] == CLIP


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("flow_fields", ["n-1", "n"])
def test_a_video_shorter_than_a_clip_repeats_its_last_frame(tmp_path, frames, flow_fields):
    write_video(tmp_path / "short.mp4", moving_texture(0, (0, 2), frames=frames))
    manifest = Manifest.from_rows([{"path": "short.mp4"}], tmp_path)
    method = tiny_sts(flow_fields=flow_fields)
    index = method.index(manifest)
    chosen = plan_of(method, index).reads["video"].indices
    assert chosen.tolist() == [min(k, frames - 1) for k in range(CLIP + (flow_fields == "n"))]
    batch = read_batch(method, index, (0,))
    assert bool(batch["motion_valid"].any()) == (frames > 1)
    loss = method.losses(batch, method.phases[0])["loss"]
    assert torch.isfinite(loss)


def test_the_curriculum_sees_the_easy_half_first_and_then_all(tiny_videos, tmp_path):
    recipe = tiny_recipe(curriculum=2, epochs=3, batch=5)
    run = pretrain(recipe, tiny_videos, tmp_path / "run", quiet=True)
    assert [record["epoch"] for record in journal(run.folder, "step")] == [0] * 3 + [1] * 3 + [2] * 6
    trainer = Trainer(recipe, tiny_videos, tmp_path / "other", torch.device("cpu"))
    scores = trainer.method.scores
    assert scores.shape == (30,) and (scores >= 1 / 16).all() and (scores <= 1).all()
    requests = list(trainer.timeline.requests(0, 0, 1))
    epochs = [
        [i for request in requests if request.clock.epoch == epoch for i in request.samples] for epoch in range(3)
    ]
    easy = set(np.argsort(-scores, kind="stable")[:15].tolist())
    assert set(epochs[0]) == set(epochs[1]) == easy and len(epochs[0]) == 15
    assert epochs[0] != epochs[1]
    assert sorted(epochs[2]) == list(range(30))
    assert np.array_equal(np.load(run.folder / "curriculum.npy"), scores)


def test_scores_are_those_of_a_centre_crop(tiny_videos):
    method = tiny_sts(flip=1.0)
    index = method.index(tiny_videos)
    scores = score_clips(method, index)
    for i in (0, 7, 29):
        frames = read_frames(index.video(i), index.frames(i)[:CLIP], (32, 40))
        flow = compute_flow(frames, "dis-fast").astype(np.float16).astype(np.float32)[:, :, 4:36]
        expected = curriculum_score(torch.from_numpy(flow).permute(3, 0, 1, 2)[None])
        assert scores[i] == pytest.approx(float(expected), rel=1e-6)


def test_scores_are_computed_once(tiny_videos, tmp_path, monkeypatch):
    method = tiny_sts(curriculum=1)
    index = method.index(tiny_videos)
    method.setup(index, folder=tmp_path, workers=0)
    monkeypatch.setattr(sts, "score_clips", None)
    again = tiny_sts(curriculum=1)
    again.setup(index, folder=tmp_path, workers=0)
    assert np.array_equal(method.scores, again.scores)
    assert [entry.name for entry in tmp_path.iterdir()] == ["curriculum.npy"]
    without = tiny_sts()
    without.setup(index, folder=tmp_path, workers=0)
    assert without.order(index, 0, 0) is None and again.order(index, 1, 0) is None


def test_a_clip_that_cannot_be_read_counts_as_hardest(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", moving_texture(0, (0, 2), frames=16))
    manifest = Manifest.from_rows([{"path": "a.mp4"}, {"path": "b.mp4"}], tmp_path)
    method = tiny_sts()
    index = method.index(manifest)
    damage(tmp_path / "b.mp4")
    scores = score_clips(method, index)
    assert (scores[index.rows == 0] > 0).all() and (scores[index.rows == 1] == 0).all()
