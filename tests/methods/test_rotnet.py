"""RotNet against its specification: exact turns, both forms of the loss, sampling, and that it learns what is up."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kinema.backbones.base import Backbone
from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.errors import RecipeError
from kinema.methods.encoders import ConvEncoder
from kinema.methods.rotnet import RotNet
from kinema.randomness import numpy_generator
from kinema.targets import rotation
from kinema.targets.rotation import all_turns, quarter_turns, turn, turn_each
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper
from tests.helpers import CLIP, SIZE, assert_same_bits, moving_texture, read_batch, write_video

TINY = {"frames": CLIP, "size": SIZE, "resize": (32, 40), "backbone": "r3d", "width": 4}
QUARTERS = (0, 1, 2, 3)


def tiny(**options):
    torch.manual_seed(0)
    return RotNet(**{**TINY, **options})


def plan_of(method, index, i=0, *key):
    return method.plan(i, index, Clock(0, 0, 0.0), numpy_generator("rotnet", *key))


def some_clips(count=2, size=6):
    return torch.randint(0, 256, (count, 3, 4, size, size), dtype=torch.uint8, generator=torch.Generator())


def test_turns_move_pixels_as_published():
    frame = torch.tensor([[1, 2], [3, 4]])
    assert [turn(frame, r).tolist() for r in QUARTERS] == [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
    ]


def test_turns_are_exact_and_the_same_for_all_frames():
    clips = some_clips()
    assert torch.equal(turn(clips, 0), clips)
    assert torch.equal(turn(turn(clips, 1), 3), clips)
    assert torch.equal(turn(clips, 2), clips.flip(-1).flip(-2))
    assert torch.equal(turn(turn(turn(turn(clips, 1), 1), 1), 1), clips)
    side = clips.shape[-1]
    for row in range(side):
        for column in range(side):
            assert torch.equal(turn(clips, 1)[..., row, column], clips[..., column, side - 1 - row])
    still = clips[:, :, :1].expand(-1, -1, 4, -1, -1)
    for r in QUARTERS:
        turned = turn(still, r)
        assert torch.equal(turned, turned[:, :, :1].expand_as(turned))
        assert torch.equal(turn(clips, r).flatten(3).sort().values, clips.flatten(3).sort().values)


def test_only_square_clips_turn():
    with pytest.raises(RecipeError, match=r"only square clips can be turned: these are \(4, 6\)"):
        turn(torch.zeros(1, 3, 2, 4, 6), 1)


def test_each_clip_takes_its_own_turn():
    clips, labels = some_clips(5), torch.tensor([2, 0, 1, 1, 2])
    for way in (turn_each, rotation._turn_masked):  # the second is that of accelerators
        found = way(clips, labels, (3, 1, 2))
        for b, label in enumerate(labels.tolist()):
            assert torch.equal(found[b], turn(clips[b], (3, 1, 2)[label]))


def test_all_turns_are_joined_turn_by_turn():
    clips = some_clips(3)
    turned, labels = all_turns(clips, QUARTERS)
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for r in QUARTERS:
        assert torch.equal(turned[3 * r : 3 * r + 3], turn(clips, r))


def test_the_loss_over_all_turns_is_the_mean_of_theirs(tiny_videos):
    method = tiny(init_std=None, dropout=0.0).eval()
    batch = read_batch(method, method.index(tiny_videos))
    found = method.losses(batch, method.phases[0])
    each = []
    for r in QUARTERS:
        logits = method(method.input.normalise(turn(batch["video"], r)))
        each.append(cross_entropy(logits, torch.full((4,), r)))
    torch.testing.assert_close(found["loss"], torch.stack(each).mean())
    assert len(batch["video"]) == 4 and len({round(float(loss.detach()), 4) for loss in each}) > 1


@pytest.mark.parametrize("angles", [(0, 90), (0, 90, 180), (0, 90, 180, 270), (0, 180)])
@pytest.mark.parametrize("rotations", ["all", "sample"])
def test_complexity_sets_the_classes_and_a_silent_classifier_costs_their_logarithm(tiny_videos, angles, rotations):
    method = tiny(angles=angles, rotations=rotations)
    index = method.index(tiny_videos)
    assert method.head.out_features == len(angles)
    labels = {int(plan_of(method, index, 0, key).draws["label"]) for key in range(60)}
    assert labels == set(range(len(angles)))
    nn.init.zeros_(method.head.weight)
    loss = method.losses(read_batch(method, index), method.phases[0])["loss"]
    assert loss.item() == pytest.approx(math.log(len(angles)), rel=1e-6)


@pytest.mark.parametrize("angles", [(0,), (0, 45), (0, 360), (90, 90, 180), ()])
def test_other_lists_of_angles_are_refused(angles):
    with pytest.raises(RecipeError, match="different multiples of 90"):
        quarter_turns(angles)


def test_angles_become_quarters_in_their_order():
    assert quarter_turns((180, 0, -90)) == (2, 0, 3)


def test_the_turn_comes_after_everything_else(tiny_videos):
    drawn = {"rotation": 5.0, "colour": (0.1, 0.2, 0.1, 0.05), "colour_p": 1.0, "resizes": ((34, 43), (32, 40))}
    sampled, upright = tiny(rotations="sample", **drawn), tiny(**drawn)
    index = sampled.index(tiny_videos)
    one, other = (read_batch(method, index, range(6)) for method in (sampled, upright))
    assert torch.equal(one["label"], other["label"]) and len(set(one["label"].tolist())) > 1
    assert torch.equal(one["video"], turn_each(other["video"], one["label"], QUARTERS))
    assert one["video"].dtype == torch.uint8 and one["video"].shape == (6, 3, CLIP, SIZE, SIZE)


def test_a_plan_is_a_function_of_its_key(tiny_videos):
    method = tiny(rotations="sample")
    index = method.index(tiny_videos)
    labels = [[int(plan_of(method, index, i, seed).draws["label"]) for i in range(6)] for seed in (1, 1, 2, 3)]
    assert labels[0] == labels[1] and labels[0] != labels[2] and labels[2] != labels[3]
    one, other = (plan_of(method, index, 2, 7) for _ in range(2))
    assert_same_bits(one.draws["box"].tolist(), other.draws["box"].tolist())
    assert str(one.reads) == str(other.reads)


def test_one_random_clip_per_video_or_one_per_window(tiny_videos):
    method = tiny()
    index = method.index(tiny_videos)
    starts = set()
    for key in range(300):
        frames = plan_of(method, index, 2, key).reads["video"].indices
        assert np.array_equal(np.diff(frames), np.ones(CLIP - 1))
        starts.add(int(frames[0]))
    assert len(index) == 6 and starts == set(range(33))
    windows = tiny(clips="windows", strides=(1, 2))
    index = windows.index(tiny_videos)
    assert len(index) == 12
    for i, (first, end) in enumerate([(0, 15), (15, 40)]):
        frames = np.concatenate([plan_of(windows, index, i, key).reads["video"].indices for key in range(80)])
        assert frames.min() == first and frames.max() == end - 1


class Largest:
    """Draws the largest number each time."""

    def integers(self, end, size=None):
        return np.full(size, end - 1) if size else end - 1

    def random(self):
        return 0.999


def test_strides_are_drawn_and_frames_move_within_them(tiny_videos):
    method = tiny(strides=(1, 2, 3), jitter=True)
    index = method.index(tiny_videos)
    seen = set()
    for key in range(300):
        frames = plan_of(method, index, 0, key).reads["video"].indices
        steps = np.diff(frames)
        assert steps.min() >= 1 and frames.max() < 40
        seen.update(steps.tolist())
    assert seen == {1, 2, 3, 4, 5}
    assert method.input.stride == 2
    # The latest start leaves room for the largest move: nothing is cut off at the end.
    frames = method.plan(0, index, Clock(0, 0, 0.0), Largest()).reads["video"].indices
    assert frames.tolist() == [*range(18, 40, 3)]
    plain = tiny(strides=(1, 2, 3))
    found = {tuple(np.diff(plan_of(plain, index, 0, key).reads["video"].indices)) for key in range(60)}
    assert found == {(k,) * (CLIP - 1) for k in (1, 2, 3)}
    with pytest.raises(RecipeError, match=r"strides=\[0\]"):
        tiny(strides=(0,))


def test_a_short_video_repeats_its_last_frame(tmp_path):
    write_video(tmp_path / "short.mp4", moving_texture(0, (0, 2), frames=3))
    manifest = Manifest.from_rows([{"path": "short.mp4"}], tmp_path)
    method = tiny(strides=(2,))
    index = method.index(manifest)
    assert plan_of(method, index).reads["video"].indices.tolist() == [0, 2, 2, 2, 2, 2, 2, 2]
    assert torch.isfinite(method.losses(read_batch(method, index, (0,)), method.phases[0])["loss"])


def test_borders_can_be_left_out(tiny_videos):
    method = tiny(border=0.125, size=24)
    index = method.index(tiny_videos)
    read = read_batch(method, index, prepare=False)
    assert method.look.source == (24, 30)
    marked = read["video"].clone()
    marked[..., :4, :] = 255
    marked[..., -4:, :] = 255
    marked[..., :5] = 255
    marked[..., -5:] = 255
    found = [method.prepare({**read, "video": video}, torch.Generator())["video"] for video in (read["video"], marked)]
    assert torch.equal(*found)
    with pytest.raises(RecipeError, match=r"border=0\.5"):
        tiny(border=0.5)


def test_the_classifier_starts_small_and_everything_else_is_handed_on():
    method = tiny(init_std=0.001, width=8)
    assert method.head.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert not method.head.bias.any()
    assert tiny(init_std=None).head.weight.std() > 0.01
    encoder = method.products().encoders["video"]
    classifier = nn.ModuleDict({"encoder": tiny(width=8).encoder, "classifier": nn.Linear(encoder.feature_dim, 101)})
    told = classifier.load_state_dict(method.state_dict(), strict=False)
    assert sorted(told.missing_keys) == ["classifier.bias", "classifier.weight"]
    assert sorted(told.unexpected_keys) == ["head.bias", "head.weight"]


def test_dropout_comes_before_the_classifier():
    method = tiny(dropout=1.0, init_std=None).train()
    clips = torch.rand(2, 3, CLIP, SIZE, SIZE)
    assert torch.equal(method(clips), method.head.bias.expand(2, 4))
    assert not torch.equal(method.eval()(clips), method.head.bias.expand(2, 4))


class Pointwise(Backbone):
    """Kernels of one pixel: nothing that a turn could change survives the average."""

    def __init__(self):
        super().__init__()
        self.feature_dim, self.stride, self.stage_names = 6, (1, 1, 1), ("p1",)
        self.convs = nn.Sequential(nn.Conv3d(3, 8, 1), nn.ReLU(), nn.Conv3d(8, 6, 1), nn.ReLU())

    def forward_stages(self, x):
        return [self.convs(x)]


def test_pointwise_kernels_cannot_tell(tiny_videos):
    method = tiny(dropout=0.0, init_std=None)
    torch.manual_seed(1)
    method.encoder, method.head = ConvEncoder(Pointwise(), method.input), nn.Linear(6, 4)
    method.double()
    clips = some_clips(3, SIZE).double() / 255
    logits = [method(turn(clips, r)) for r in QUARTERS]
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=1e-10, atol=1e-12)
    turned, labels = all_turns(clips, QUARTERS)
    assert cross_entropy(method(turned), labels).item() >= math.log(4) - 1e-9


def bars(count=8):
    """A bright bar at the top of every frame, over noise."""
    noise = torch.randint(0, 100, (count, 3, CLIP, SIZE, SIZE), generator=torch.Generator().manual_seed(3))
    noise[..., : SIZE // 4, :] += 150
    return {"video": noise.to(torch.uint8), "label": torch.zeros(count, dtype=torch.int64)}


def train(method, batch_of, steps, lr=0.05):
    recipe = load_recipe("rotnet", None, {"optimiser.name": "sgd", "optimiser.lr": lr, "device": "cpu"})
    stepper = Stepper(method.train(), recipe, torch.device("cpu"))
    return [stepper.step([batch_of(step)], step, lr) for step in range(steps)]


def test_it_learns_what_is_up():
    method = tiny(dropout=0.0)
    batch = bars()
    outcomes = train(method, lambda step: batch, 25)
    assert outcomes[0].loss.item() == pytest.approx(math.log(4), abs=0.05)
    assert outcomes[-1].parts["accuracy"] == 1.0 and outcomes[-1].loss < 0.3


def test_labels_that_say_nothing_stay_at_chance():
    """Drawn turns whose labels are drawn apart from them: new ones at every step cannot be learnt."""
    method = tiny(dropout=0.0, rotations="sample")
    generator = torch.Generator().manual_seed(5)

    def shuffled(step):
        clips, _ = all_turns(bars()["video"], QUARTERS)
        return {"video": clips, "label": torch.randint(0, 4, (len(clips),), generator=generator)}

    outcomes = train(method, shuffled, 20, lr=0.02)
    late = torch.stack([outcome.parts["accuracy"] for outcome in outcomes[-12:]]).mean()
    assert 0.15 < late < 0.36


def test_pictures_show_every_turn(tiny_videos):
    method = tiny(angles=(0, 90, 180))
    (picture,) = method.pictures(read_batch(method, method.index(tiny_videos), prepare=False))
    assert picture.frames.shape == (CLIP, SIZE, 3 * SIZE + 8, 3) and picture.frames.dtype == np.uint8
    upright = torch.from_numpy(picture.frames[:, :, :SIZE].copy()).permute(3, 0, 1, 2)
    beside = torch.from_numpy(picture.frames[:, :, SIZE + 4 : 2 * SIZE + 4].copy()).permute(3, 0, 1, 2)
    assert torch.equal(turn(upright, 1), beside)


@pytest.mark.parametrize("name", ["tiny", "paper", "ctp"])
def test_recipes_resolve(name):
    recipe = load_recipe("rotnet", name)
    with torch.device("meta"):
        method = recipe.build()
    assert method.head.out_features == 4
