"""STS as a method: labels of exactly what the network sees, targets, switches, curriculum, and that it learns."""

import numpy as np
import pytest
import torch

from kinema.data.index import Index
from kinema.data.loading import Request, deliver
from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.errors import RecipeError
from kinema.methods import sts
from kinema.methods.base import Phase
from kinema.methods.sts import STS, score_clips
from kinema.randomness import numpy_generator
from kinema.targets.statistics import appearance_labels, curriculum_score, motion_labels
from kinema.training.loop import Trainer, pretrain
from kinema.training.optimisers import build_optimiser
from kinema.training.recipe import OptimiserConfig
from kinema.training.stepper import Stepper
from kinema.video.decode import read_frames
from kinema.video.flow import compute_flow, decode_flow, encode_flow
from tests.helpers import (
    CLIP,
    SIZE,
    TINY_STS,
    assert_same_bits,
    damage,
    journal,
    moving_texture,
    tiny_recipe,
    write_video,
)

TARGETS = ("1d", "2d", "classification")


def tiny(**options):
    torch.manual_seed(0)
    return STS(**{**TINY_STS, "resize": (32, 40), **options})


def plan_of(method, index, i=0, *key):
    return method.plan(i, index, Clock(0, 0, 0.0), numpy_generator("sts", *key))


def raw_batch(method, index, samples=(0, 1, 2, 3), **options):
    """A batch as read (`prepare=False`) or as prepared."""
    request = Request(Clock(0, 0, 0.0), tuple(samples), (0,) * len(samples))
    return next(iter(deliver(method, index, [request], seed=0, workers=0, **options))).batch


@pytest.fixture(scope="module")
def prepared(tiny_videos):
    """Four prepared clips of four directions."""
    method = tiny()
    return raw_batch(method, method.index(tiny_videos), (0, 5, 15, 25))


# Spec, checks 11 to 14.


def test_biases_learn_at_twice_the_rate_and_every_parameter_is_in_one_group():
    method = tiny()
    groups = build_optimiser(method, Phase(), OptimiserConfig("sgd", lr=5e-4, weight_decay=5e-3)).param_groups
    names = {id(p): name for name, p in method.named_parameters()}
    held = [names[id(p)] for group in groups for p in group["params"]]
    assert sorted(held) == sorted(names.values())
    for group in groups:
        biases = {names[id(p)].endswith("bias") for p in group["params"]}
        assert biases == {group["lr"] == 1e-3}
        assert group["lr"] in (5e-4, 1e-3) and group["weight_decay"] == 5e-3
    assert len(groups) == 2


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [("c3d", 27_675_291), ("r3d", 14_375_643), ("r2plus1d", 14_379_154), ("c3d_light", None)],
)
def test_shapes_and_published_parameter_counts(backbone, parameters):
    with torch.device("meta"):
        method = STS(backbone=backbone, target="1d")
        motion, appearance = method(torch.empty(2, 3, 16, 112, 112))
    assert motion.shape == (2, 14) and appearance.shape == (2, 13)
    count = sum(p.numel() for p in method.parameters())
    assert count == (parameters or 4_651_008 + 257 * 27)


@pytest.mark.parametrize(
    ("target", "motion", "appearance"), [("1d", 14, 13), ("2d", 18, 17), ("classification", 134, 112)]
)
def test_outputs_per_target(target, motion, appearance):
    with torch.device("meta"):
        found = STS(target=target, width=4)(torch.empty(1, 3, 16, 32, 32))
    assert (found.motion.shape[1], found.appearance.shape[1]) == (motion, appearance)


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
    method = tiny(flip=1.0)
    index = method.index(tiny_videos)
    scores = score_clips(method, index)
    for i in (0, 7, 29):
        frames = read_frames(index.video(i), index.frames(i)[:CLIP], (32, 40))
        flow = decode_flow(encode_flow(compute_flow(frames, "dis-fast")))[:, :, 4:36]
        expected = curriculum_score(torch.from_numpy(flow).permute(3, 0, 1, 2)[None])
        assert scores[i] == pytest.approx(float(expected), rel=1e-6)


def test_scores_are_computed_once(tiny_videos, tmp_path, monkeypatch):
    method = tiny(curriculum=1)
    index = method.index(tiny_videos)
    method.setup(index, folder=tmp_path, workers=0)
    monkeypatch.setattr(sts, "score_clips", None)
    again = tiny(curriculum=1)
    again.setup(index, folder=tmp_path, workers=0)
    assert np.array_equal(method.scores, again.scores)
    assert [entry.name for entry in tmp_path.iterdir()] == ["curriculum.npy"]
    without = tiny()
    without.setup(index, folder=tmp_path, workers=0)
    assert without.order(index, 0, 0) is None and again.order(index, 1, 0) is None


def test_a_clip_that_cannot_be_read_counts_as_hardest(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", moving_texture(0, (0, 2), frames=16))
    manifest = Manifest.from_rows([{"path": "a.mp4"}, {"path": "b.mp4"}], tmp_path)
    method = tiny()
    index = method.index(manifest)
    damage(tmp_path / "b.mp4")
    scores = score_clips(method, index)
    assert (scores[index.rows == 0] > 0).all() and (scores[index.rows == 1] == 0).all()


# Plans.


def test_a_plan_is_a_pure_function(tiny_videos):
    method = tiny()
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
    method = tiny()
    index = method.index(tiny_videos)
    requests = [Request(Clock(0, step, 0.0), (step, step + 7), (0, 0)) for step in range(4)]
    found = [list(deliver(method, index, requests, seed=5, workers=count)) for count in (0, workers)]
    for one, other in zip(*found, strict=True):
        assert_same_bits(one.batch, other.batch)


def test_windows_visit_every_clip_and_random_one_per_video(tiny_videos):
    windows = tiny()
    index = windows.index(tiny_videos)
    frames = [plan_of(windows, index, i).reads["video"].indices.tolist() for i in range(5)]
    assert frames == [list(range(k, k + 8)) for k in range(0, 40, 8)]
    chance = tiny(clips="random")
    index = chance.index(tiny_videos)
    starts = {int(plan_of(chance, index, 2, key).reads["video"].indices[0]) for key in range(300)}
    assert len(index) == 6 and starts == set(range(33))


def test_strides_and_rates_space_the_frames(tiny_videos):
    strided = tiny(stride=3)
    plan = plan_of(strided, strided.index(tiny_videos), 0)
    assert plan.reads["video"].indices.tolist() == [0, 3, 6, 9, 12, 15, 18, 21]
    slow = tiny(rate=5.0)
    plan = plan_of(slow, slow.index(tiny_videos), 1)
    assert plan.reads["video"].indices.tolist() == [16, 18, 20, 22, 24, 26, 28, 30]


def test_the_released_loader_reads_one_frame_more(tiny_videos):
    for options, expected in [({}, 8), ({"stride": 2}, 16), ({"rate": 5.0}, 16)]:
        method = tiny(flow_fields="n", **options)
        frames = plan_of(method, method.index(tiny_videos), 0).reads["video"].indices
        assert len(frames) == CLIP + 1 and frames[-1] == expected
        assert len(set(np.diff(frames).tolist())) == 1
    last = tiny(flow_fields="n")
    frames = plan_of(last, last.index(tiny_videos), 4).reads["video"].indices
    assert frames.tolist() == [*range(32, 40), 39]
    batch = raw_batch(last, last.index(tiny_videos))
    assert batch["video"].shape[2] == CLIP


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("flow_fields", ["n-1", "n"])
def test_a_video_shorter_than_a_clip_repeats_its_last_frame(tmp_path, frames, flow_fields):
    write_video(tmp_path / "short.mp4", moving_texture(0, (0, 2), frames=frames))
    manifest = Manifest.from_rows([{"path": "short.mp4"}], tmp_path)
    method = tiny(flow_fields=flow_fields)
    index = method.index(manifest)
    chosen = plan_of(method, index).reads["video"].indices
    assert chosen.tolist() == [min(k, frames - 1) for k in range(CLIP + (flow_fields == "n"))]
    batch = raw_batch(method, index, (0,))
    assert bool(batch["motion_valid"].any()) == (frames > 1)
    loss = method.losses(batch, method.phases[0])["loss"]
    assert torch.isfinite(loss)


# Geometry before targets.


@pytest.mark.parametrize("negate_u", [True, False])
@pytest.mark.parametrize("reference", [False, True])
def test_labels_are_of_exactly_what_the_network_sees(tiny_videos, negate_u, reference):
    """Everything again by hand in NumPy, one clip at a time: decode, flow, code, crop, mirror, labels."""
    method = tiny(negate_u=negate_u, flip=0.5, reference=reference)
    index = method.index(tiny_videos)
    samples = tuple(range(0, 30, 4))
    batch = raw_batch(method, index, samples)
    flips = set()
    for position, i in enumerate(samples):
        plan = method.plan(i, index, Clock(0, 0, 0.0), numpy_generator(0, "sample", 0, i, 0))
        top, left, flip = (int(plan.draws[name]) for name in ("top", "left", "flip"))
        flips.add(flip)
        frames = read_frames(index.video(i), plan.reads["video"].indices, (32, 40))
        flow = encode_flow(compute_flow(frames, "dis-fast"))
        frames, flow = (part[:, top : top + SIZE, left : left + SIZE] for part in (frames[:CLIP], flow))
        if flip:
            frames, flow = frames[:, :, ::-1], flow[:, :, ::-1].copy()
            if negate_u and not reference:
                flow[..., 0] = 255 - flow[..., 0]
        clip, field = (torch.from_numpy(part.copy()).permute(3, 0, 1, 2)[None] for part in (frames, flow))
        still, colour = ("reference", "exact") if reference else ("ignore", "vote")
        labels = motion_labels(decode_flow(field), rgb_frames=CLIP, zero=still)
        assert torch.equal(batch["video"][position], clip[0])
        assert torch.equal(batch["motion"][position], labels.labels[0])
        assert torch.equal(batch["motion_valid"][position], labels.valid[0])
        assert torch.equal(batch["appearance"][position], appearance_labels(clip, colour=colour)[0])
    assert flips == {0, 1}


def test_a_mirror_turns_the_labels_as_it_turns_the_picture(tiny_videos):
    """Pattern 1 columns become 3 - c, times stay; colours stay."""
    plain, mirrored = (raw_batch(m, m.index(tiny_videos)) for m in (tiny(flip=0.0), tiny(flip=1.0)))
    # The same crop: both methods draw the offset before the mirror.
    assert torch.equal(plain["video"].flip(-1), mirrored["video"])
    place, turned = plain["motion"][:, 0] - 1, mirrored["motion"][:, 0] - 1
    assert torch.equal(place // 4 * 4 + 3 - place % 4, turned)
    assert torch.equal(plain["motion"][:, 12:], mirrored["motion"][:, 12:])
    assert torch.equal(plain["appearance"][:, -1], mirrored["appearance"][:, -1])


def test_reference_takes_the_released_choices():
    method = tiny(reference=True)
    assert (method.extra_flow, method.colour, method.still, method.negate_u) == (True, "exact", "reference", False)
    assert method.input.channels == "bgr" and method.input.scale == 255.0 and method.input.mean == (0.0, 0.0, 0.0)
    default = tiny()
    assert (default.extra_flow, default.colour, default.still, default.negate_u) == (False, "vote", "ignore", True)
    assert default.input.channels == "rgb" and default.input.std != (1.0, 1.0, 1.0)


# Targets and switches.


@pytest.mark.parametrize("target", TARGETS)
def test_losses_join_their_parts(prepared, target):
    method = tiny(target=target, motion_weight=0.5, appearance_weight=3.0)
    found = method.losses(prepared, method.phases[0])
    expected = 0.5 * found["parts"]["motion"] + 3.0 * found["parts"]["appearance"]
    torch.testing.assert_close(found["loss"], expected)
    assert 0 <= found["parts"]["accuracy"] <= 1


def told_exactly(target, prepared):
    """Outputs that tell every label."""
    method = tiny(target=target)
    labels, valid = method._targets(prepared, "2d" if target == "2d" else "1d")
    if target != "classification":
        return method, torch.cat([part.float() for part in labels], 1), valid
    sizes = (*method.outputs[0], *method.outputs[1])
    columns = torch.cat(tuple(labels), 1).unbind(1)
    hot = [torch.nn.functional.one_hot((c - 1).clamp(min=0), n) for c, n in zip(columns, sizes, strict=True)]
    return method, 50.0 * torch.cat(hot, 1), valid


@pytest.mark.parametrize("target", TARGETS)
def test_a_network_that_tells_every_label_has_no_loss(prepared, target, monkeypatch):
    method, outputs, _ = told_exactly(target, prepared)
    monkeypatch.setattr(method.head, "forward", lambda features: outputs)
    found = method.losses(prepared, method.phases[0])
    assert found["loss"].item() == pytest.approx(0, abs=1e-5)
    assert found["parts"]["accuracy"].item() == 1.0
    # One appearance label of one clip wrong: the share over all clips falls by one label of one of them.
    width = method.outputs[1][-1]
    wrong = outputs.clone()
    wrong[0, -width:] = wrong[0, -width:].roll(1) if width > 1 else wrong[0, -width:] + 2
    monkeypatch.setattr(method.head, "forward", lambda features: wrong)
    found = method.losses(prepared, method.phases[0])
    labels = len(method.outputs[0]) + len(method.outputs[1])
    assert found["parts"]["accuracy"].item() == pytest.approx(1 - 1 / labels / 4, abs=1e-5)
    if target != "classification":
        assert found["loss"].item() == pytest.approx(0.1 * 4 / len(method.outputs[1]) / 4, rel=1e-4)


@pytest.mark.parametrize(
    ("motion", "appearance", "outputs"),
    [
        ("1", "none", (4, 0)),
        ("global", "none", (2, 0)),
        ("none", "1+2+3+global", (0, 13)),
        ("2+3", "global", (8, 1)),
        ("1+2+3+global", "none", (14, 0)),
    ],
)
@pytest.mark.parametrize("target", ["1d", "classification"])
def test_switches_choose_the_labels(prepared, motion, appearance, outputs, target):
    method = tiny(motion=motion, appearance=appearance, target=target)
    assert tuple(map(len, method.outputs)) == outputs
    found = method.losses(prepared, method.phases[0])
    found["loss"].backward()
    for name, count in zip(("motion", "appearance"), outputs, strict=True):
        assert (found["parts"][name] > 0) == (count > 0)
    assert method.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motion": "4"}, "motion=4: join any of 1, 2, 3 and global"),
        ({"appearance": "all"}, "appearance=all: join any"),
        ({"motion": "none", "appearance": "none"}, "all label groups are switched off"),
        ({"size": 48}, "crop of"),
        ({"size": 28}, "multiple of 8"),
        ({"frames": 1}, "frames=1: motion needs at least two"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options, message):
    with pytest.raises(RecipeError, match=message):
        tiny(**options)


def test_labels_that_are_ignored_teach_nothing(prepared):
    """Still clips: whatever their motion labels say, the gradient is the same."""
    method = tiny()
    still = {**prepared, "motion_valid": torch.zeros_like(prepared["motion_valid"])}
    gradients = []
    for shift in (0, 1):
        method.zero_grad()
        method.losses({**still, "motion": (still["motion"] + shift) % 4}, method.phases[0])["loss"].backward()
        gradients.append(method.head.weight.grad.clone())
    assert torch.equal(*gradients) and gradients[0].abs().sum() > 0
    assert gradients[0][: sum(method.outputs[0])].abs().sum() == 0


# It learns.


@pytest.mark.parametrize("target", TARGETS)
def test_it_overfits_four_clips_in_twenty_steps(prepared, target):
    recipe = tiny_recipe(target=target, **{"optimiser.name": "adamw"})
    method = recipe.build()
    stepper = Stepper(method, recipe, torch.device("cpu"))
    outcomes = [stepper.step([prepared], step, 0.03) for step in range(20)]
    losses = [outcome.loss.item() for outcome in outcomes]
    assert losses[-1] < 0.5 * losses[0]
    assert outcomes[-1].parts["accuracy"] > outcomes[0].parts["accuracy"]


def test_its_product_is_the_trained_encoder_itself():
    method = tiny()
    encoder = method.products().encoders["video"]
    assert encoder is method.encoder and encoder.input is method.input
    with torch.no_grad():
        features = encoder.eval()(torch.rand(2, 3, CLIP, SIZE, SIZE), taps=("p4",))
    assert features.pooled.shape == (2, encoder.feature_dim) and features.extra["p4"].shape[0] == 2


def test_its_picture_shows_the_clip_with_the_most_motion(tiny_videos):
    method = tiny()
    rows = Index(tiny_videos, np.array([0, 1]), np.array([0.0, 0.0]), np.array([0.04, 0.8]))
    picture, *others = method.pictures(raw_batch(method, rows, (0, 1), prepare=False))
    assert not others and picture.title and picture.caption
    assert picture.frames.dtype == np.uint8 and picture.frames.ndim == 4 and picture.frames.shape[3] == 3
    assert len(picture.frames) == CLIP
