"""MAS against its specification: network, penalty, rates, labels with 15 flows, switches, and that it learns."""

import numpy as np
import pytest
import torch

from kinema.data.sample import Clock
from kinema.errors import RecipeError
from kinema.losses import fully_connected_penalty, statistics_regression_loss
from kinema.methods.base import Phase
from kinema.methods.mas import MAS
from kinema.randomness import numpy_generator
from kinema.targets.statistics import motion_labels
from kinema.training.optimisers import build_optimiser, set_lr
from kinema.training.recipe import load_recipe
from kinema.training.schedules import lr_factor
from kinema.training.stepper import Stepper
from kinema.video.flow import decode_flow
from tests.helpers import CLIP, SIZE, read_batch, tiny_sts

TINY = {"frames": CLIP, "size": SIZE, "resize": (32, 40), "width": 4, "hidden": 16, "flow": "dis-fast"}
KNOWN = [11, 5, 4, 7, 2, 5, 3, 3, 8, 1, 4, 3, 1, 10]


def tiny_mas(**options):
    torch.manual_seed(0)
    return MAS(**{**TINY, **options})


@pytest.fixture(scope="module")
def prepared(tiny_videos):
    method = tiny_mas()
    return read_batch(method, method.index(tiny_videos), (0, 5, 15, 25))


def test_the_released_network_has_its_published_size():
    with torch.device("meta"):
        method = MAS(appearance="none")
        clip = torch.empty(1, 3, 16, 112, 112)
        features = method.encoder(clip).map
        told = method(clip)
    assert features.shape == (1, 256, 1, 4, 4)
    assert told.motion.shape == (1, 14) and told.appearance.shape == (1, 0)
    assert sum(p.numel() for p in method.parameters()) == 17_266_702


@pytest.mark.parametrize("shared", [True, False])
def test_branches_of_the_joint_network(shared):
    with torch.device("meta"):
        method = MAS(shared_fc=shared)
    trunk, head = 4_651_008, 8_390_656 + 4_196_352
    expected = trunk + (1 if shared else 2) * head + 27 * 2049
    assert sum(p.numel() for p in method.parameters()) == expected


def test_biases_learn_twice_as_fast_and_both_fall_by_the_staircase():
    recipe = load_recipe("mas", "ucf101_motion")
    method = tiny_mas()
    groups = build_optimiser(method, Phase(), recipe.optimiser)
    names = {id(p): name for name, p in method.named_parameters()}
    for step, rate in ((0, 1e-3), (19_999, 1e-3), (20_000, 1e-4), (79_999, 1e-6)):
        set_lr(groups, recipe.optimiser.lr * lr_factor(recipe.schedule, step, 317.0, recipe.steps))
        for group in groups.param_groups:
            bias = {names[id(p)].endswith("bias") for p in group["params"]}
            assert len(bias) == 1 and group["lr"] == pytest.approx(rate * (2 if bias == {True} else 1))
    assert recipe.steps == 80_000 and recipe.batch == 30 and recipe.optimiser.weight_decay == 0


def test_the_penalty_counts_fully_connected_weights_alone(prepared):
    c, shapes = 0.5, ((2048, 4096), (2048, 2048), (14, 2048))
    found = fully_connected_penalty([torch.full(shape, c) for shape in shapes], 0.005)
    assert found.item() == pytest.approx(0.0025 * c**2 * (4096 * 2048 + 2048 * 2048 + 2048 * 14), rel=1e-5)
    method = tiny_mas()
    before = method.losses(prepared, method.phases[0])["parts"]["penalty"].item()
    weights = [p for name, p in method.heads.named_parameters() if name.endswith("weight")]
    assert before == pytest.approx(0.0025 * sum(p.detach().square().sum().item() for p in weights), rel=1e-5)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if name.startswith("encoder") or name.endswith("bias"):
                parameter.mul_(3)
    assert method.losses(prepared, method.phases[0])["parts"]["penalty"].item() == before


def test_the_loss_joins_errors_and_penalty(prepared):
    method = tiny_mas(motion_weight=0.5, appearance_weight=3.0)
    found = method.losses(prepared, method.phases[0])
    parts = found["parts"]
    torch.testing.assert_close(found["loss"], 0.5 * parts["motion"] + 3 * parts["appearance"] + parts["penalty"])
    assert all(value > 0 for name, value in parts.items() if name != "accuracy")


def test_zero_predictions_of_the_known_labels_cost_449_fourteenths():
    target, none = torch.tensor([KNOWN]), torch.zeros(1, 0)
    found = statistics_regression_loss(torch.zeros(1, 14), none, target, none)
    assert found.motion.item() == pytest.approx(449 / 14)


def known_flow(fields):
    """u rises by columns in one block, v by rows in another; field 10 of v is twice as strong."""
    flow = torch.zeros(1, 2, fields, 112, 112)
    columns, rows = torch.arange(112.0), torch.arange(112.0)[:, None]
    flow[:, 0, :, 56:84, 56:84] = (0.1 * (columns - 55))[56:84]
    flow[:, 1, :, 0:28, 84:112] = (0.2 * (rows + 1))[0:28].expand(28, 28)
    flow[:, 1, 9] *= 2
    return flow


def test_known_flow_gives_the_known_labels():
    assert motion_labels(known_flow(15), rgb_frames=16).labels[0].tolist() == KNOWN


def test_mas_and_sts_agree_on_fifteen_flows_and_a_sixteenth_leaves_the_moments(tiny_videos):
    """Same numbers drawn, same crop, same labels; one flow more may change places, never the moments."""
    methods = [tiny_mas(), tiny_sts(flip=0.0), tiny_sts(flip=0.0, flow_fields="n")]
    mas, sts, more = (read_batch(method, method.index(tiny_videos), (0, 5, 15)) for method in methods)
    assert torch.equal(mas["video"], sts["video"]) and torch.equal(mas["appearance"], sts["appearance"])
    assert torch.equal(mas["motion"], sts["motion"])
    assert torch.equal(mas["motion"][:, 12:], more["motion"][:, 12:])
    generator = torch.Generator().manual_seed(0)
    flow = torch.randn(4, 2, 16, 56, 56, generator=generator)
    flow[:, :, 15] *= 30
    fifteen, sixteen = (motion_labels(flow[:, :, :n], rgb_frames=16).labels for n in (15, 16))
    assert not torch.equal(fifteen[:, :12], sixteen[:, :12])
    assert torch.equal(fifteen[:, 12:], sixteen[:, 12:])


def test_grey_levels_decode_to_pixels_per_frame():
    grey = torch.tensor([0, 255, 127, 128], dtype=torch.uint8)
    expected = torch.tensor([-20, 20, -0.0784, 0.0784])
    torch.testing.assert_close(decode_flow(grey), expected, atol=1e-4, rtol=0)
    constant = decode_flow(torch.full((1, 2, 15, 56, 56), 200, dtype=torch.uint8))
    assert not motion_labels(constant, rgb_frames=16, zero="ignore").valid.any()


def test_predictions_are_unbounded(prepared):
    method = tiny_mas()
    with torch.no_grad():
        for head in method.heads:
            head.fc8.bias.fill_(-3.0)
        told = method(method.input.normalise(prepared["video"]))
    assert (torch.cat(told, 1) < 0).any()


@pytest.mark.parametrize(
    ("motion", "appearance", "outputs"),
    [
        ("2", "none", (4, 0)),
        ("global", "none", (2, 0)),
        ("1+2+3", "none", (12, 0)),
        ("1+2+3+global", "none", (14, 0)),
        ("none", "3", (0, 4)),
        ("none", "global", (0, 1)),
        ("none", "1+2+3+global", (0, 13)),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_switches_choose_the_outputs(prepared, motion, appearance, outputs, shared):
    method = tiny_mas(motion=motion, appearance=appearance, shared_fc=shared)
    found = method.losses(prepared, method.phases[0])
    assert method.outputs == outputs
    assert tuple(part.shape[1] for part in method(method.input.normalise(prepared["video"]))) == outputs
    for name, count in zip(("motion", "appearance"), outputs, strict=True):
        assert (found["parts"][name] > 0) == (count > 0)


def test_no_mirror_by_default_and_raw_pixels_as_published(tiny_videos):
    method = tiny_mas()
    index = method.index(tiny_videos)
    plans = [method.plan(i, index, Clock(0, 0, 0.0), numpy_generator(0, "sample", 0, i, 0)) for i in range(20)]
    assert not any(plan.draws["flip"] for plan in plans)
    assert method.input.channels == "bgr" and method.input.scale == 255.0 and not any(method.input.mean)
    assert tiny_mas(raw_pixels=False).input.channels == "rgb"


def test_the_crop_reaches_every_offset_that_fits(tiny_videos):
    method = tiny_mas(resize=(34, 35))
    index = method.index(tiny_videos)
    offsets = np.array(
        [
            [int(plan.draws[name]) for name in ("top", "left")]
            for i in range(200)
            for plan in [method.plan(i % len(index), index, Clock(i, 0, 0.0), numpy_generator(i, "sample"))]
        ]
    )
    assert set(offsets[:, 0]) == {0, 1, 2} and set(offsets[:, 1]) == {0, 1, 2, 3}


def test_what_is_handed_on_is_the_trained_convolutions_alone():
    method = tiny_mas()
    encoder = method.products().encoders["video"]
    assert encoder is method.encoder
    assert not any(isinstance(module, torch.nn.Linear) for module in encoder.modules())
    other = tiny_mas()
    with torch.no_grad():
        for head in other.heads:
            head.fc6.weight.add_(1.0)
    other.encoder.load_state_dict(method.encoder.state_dict())
    for (name, first), second in zip(method.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second) == ("fc6.weight" not in name)


@pytest.mark.parametrize("raw", [False, True])
def test_fifty_steps_on_four_clips_halve_the_error(prepared, raw):
    """Published initial weights on pixels in [-1, 1] or as they are; the penalty is left aside."""
    method = tiny_mas(raw_pixels=raw, width=8, hidden=32)
    recipe = load_recipe("mas", "ucf101_motion", ["device=cpu", "clip_grad=10"])
    stepper = Stepper(method, recipe, torch.device("cpu"))
    outcomes = [stepper.step([prepared], step, 0.003) for step in range(50)]
    assert outcomes[-1].parts["motion"] < 0.5 * outcomes[0].parts["motion"]


def test_an_unknown_pattern_is_refused():
    with pytest.raises(RecipeError, match="motion=4: join any of"):
        tiny_mas(motion="4")


@pytest.mark.parametrize("raw", [False, True])
def test_initial_weights_belong_to_the_scale_of_the_pixels(raw):
    """Raw pixels: N(0, 0.01) as published; normalised ones: sqrt(2 / fan-in), which keeps the scale of the signal."""
    convs = [m for m in tiny_mas(raw_pixels=raw, width=16).modules() if isinstance(m, torch.nn.Conv3d)]
    for conv in convs:
        fan = conv.in_channels * 27
        assert conv.weight.std().item() == pytest.approx(0.01 if raw else (2 / fan) ** 0.5, rel=0.1)
