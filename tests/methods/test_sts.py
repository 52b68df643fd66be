"""STS as a method: labels of exactly what the network sees, targets, switches, curriculum, and that it learns."""

import numpy as np
import pytest
import torch

from kinema.data.index import Index
from kinema.data.sample import Clock
from kinema.errors import RecipeError
from kinema.methods.base import Phase
from kinema.methods.sts import STS
from kinema.randomness import numpy_generator
from kinema.targets.statistics import appearance_labels, motion_labels
from kinema.training.optimisers import build_optimiser
from kinema.training.recipe import OptimiserConfig
from kinema.training.stepper import Stepper
from kinema.video.decode import read_frames
from kinema.video.flow import compute_flow, decode_flow, encode_flow
from tests.helpers import (
    CLIP,
    SIZE,
    read_batch,
    tiny_recipe,
    tiny_sts,
)

TARGETS = ("1d", "2d", "classification")


@pytest.fixture(scope="module")
def prepared(tiny_videos):
    """Four prepared clips of four directions."""
    method = tiny_sts()
    return read_batch(method, method.index(tiny_videos), (0, 5, 15, 25))


def test_biases_learn_at_twice_the_rate_and_every_parameter_is_in_one_group():
    method = tiny_sts()
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


@pytest.mark.parametrize("negate_u", [True, False])
@pytest.mark.parametrize("reference", [False, True])
def test_labels_are_of_exactly_what_the_network_sees(tiny_videos, negate_u, reference):
    """Everything again by hand in NumPy, one clip at a time: decode, flow, code, crop, mirror, labels."""
    method = tiny_sts(negate_u=negate_u, flip=0.5, reference=reference)
    index = method.index(tiny_videos)
    samples = tuple(range(0, 30, 4))
    batch = read_batch(method, index, samples)
    flips = set()
    for position, i in enumerate(samples):
        plan = method.plan(i, index, Clock(0, 0, 0.0), numpy_generator(0, "sample", 0, i, 0))
        top, left, flip = (int(plan.draws[name]) for name in ("top", "left", "flip"))
        flips.add(flip)
        frames = read_frames(index.video(i), plan.reads["video"].indices, (32, 40))
        flow = compute_flow(frames, "dis-fast")
        flow = encode_flow(flow) if reference else flow.astype(np.float16)
        frames, flow = (part[:, top : top + SIZE, left : left + SIZE] for part in (frames[:CLIP], flow))
        if flip:
            frames, flow = frames[:, :, ::-1], flow[:, :, ::-1].copy()
            if negate_u:
                flow[..., 0] = (255 if reference else 0) - flow[..., 0]
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
    plain, mirrored = (read_batch(m, m.index(tiny_videos)) for m in (tiny_sts(flip=0.0), tiny_sts(flip=1.0)))
    # The same crop: both methods draw the offset before the mirror.
    assert torch.equal(plain["video"].flip(-1), mirrored["video"])
    place, turned = plain["motion"][:, 0] - 1, mirrored["motion"][:, 0] - 1
    assert torch.equal(place // 4 * 4 + 3 - place % 4, turned)
    assert torch.equal(plain["motion"][:, 12:], mirrored["motion"][:, 12:])
    assert torch.equal(plain["appearance"][:, -1], mirrored["appearance"][:, -1])


def chosen(method):
    rules = method.rules
    return rules.extra_flow, rules.colour, rules.still, rules.negate_u


def test_reference_takes_the_released_choices():
    method = tiny_sts(reference=True)
    assert method.rules.coded_flow and not tiny_sts().rules.coded_flow
    assert not tiny_sts(reference=True, coded_flow=False).rules.coded_flow
    assert chosen(method) == (
        True,
        "exact",
        "reference",
        False,
    )
    assert method.input.channels == "bgr" and method.input.scale == 255.0 and method.input.mean == (0.0, 0.0, 0.0)
    default = tiny_sts()
    assert chosen(default) == (
        False,
        "vote",
        "ignore",
        True,
    )
    assert default.input.channels == "rgb" and default.input.std != (1.0, 1.0, 1.0)
    # What is given stands, whatever the reference.
    mixed = tiny_sts(reference=True, colour="vote", negate_u=True, raw_pixels=False, flow_fields="n-1", still="ignore")
    assert chosen(mixed) == (
        False,
        "vote",
        "ignore",
        True,
    )
    assert mixed.input == default.input


@pytest.mark.parametrize("target", TARGETS)
def test_losses_join_their_parts(prepared, target):
    method = tiny_sts(target=target, motion_weight=0.5, appearance_weight=3.0)
    found = method.losses(prepared, method.phases[0])
    expected = 0.5 * found["parts"]["motion"] + 3.0 * found["parts"]["appearance"]
    torch.testing.assert_close(found["loss"], expected)
    assert 0 <= found["parts"]["accuracy"] <= 1


def told_exactly(target, prepared):
    """Outputs that tell every label."""
    method = tiny_sts(target=target)
    labels, valid = method.targets(prepared, "2d" if target == "2d" else "1d")
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
    method = tiny_sts(motion=motion, appearance=appearance, target=target)
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
        tiny_sts(**options)


def test_labels_that_are_ignored_teach_nothing(prepared):
    """Still clips: whatever their motion labels say, the gradient is the same."""
    method = tiny_sts()
    still = {**prepared, "motion_valid": torch.zeros_like(prepared["motion_valid"])}
    gradients = []
    for shift in (0, 1):
        method.zero_grad()
        method.losses({**still, "motion": (still["motion"] + shift) % 4}, method.phases[0])["loss"].backward()
        gradients.append(method.head.weight.grad.clone())
    assert torch.equal(*gradients) and gradients[0].abs().sum() > 0
    assert gradients[0][: sum(method.outputs[0])].abs().sum() == 0


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
    method = tiny_sts()
    encoder = method.products().encoders["video"]
    assert encoder is method.encoder and encoder.input is method.input
    with torch.no_grad():
        features = encoder.eval()(torch.rand(2, 3, CLIP, SIZE, SIZE), taps=("p4",))
    assert features.pooled.shape == (2, encoder.feature_dim) and features.extra["p4"].shape[0] == 2


def test_its_picture_shows_the_clip_with_the_most_motion(tiny_videos):
    method = tiny_sts()
    rows = Index(tiny_videos, np.array([0, 1]), np.array([0.0, 0.0]), np.array([0.04, 0.8]))
    picture, *others = method.pictures(read_batch(method, rows, (0, 1), prepare=False))
    assert not others and picture.title and picture.caption
    assert picture.frames.dtype == np.uint8 and picture.frames.ndim == 4 and picture.frames.shape[3] == 3
    assert len(picture.frames) == CLIP


@pytest.mark.parametrize(("window", "expected"), [(4, [0, 2, 2, 2]), (5, [0, 2, 4, 4]), (9, [0, 2, 4, 6])])
def test_a_video_shorter_than_a_clip_is_never_shown_at_another_stride(tiny_videos, window, expected):
    """Else a motion over one frame would be taken for one over two, and a store of flow would not have it."""
    index = Index(tiny_videos, np.array([3]), np.array([0.0]), np.array([window / 10]))
    method = tiny_sts(frames=4, stride=2)
    read = method.plan(0, index, Clock(0, 0, 0.0), numpy_generator(0)).reads["video"]
    assert read.indices.tolist() == expected
