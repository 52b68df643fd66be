"""VCOP against its specification: classes of orders, clips of a tuple, heads, short videos, and that it learns."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from kinema.data.manifest import Manifest
from kinema.data.sample import Clock
from kinema.errors import DataError, RecipeError
from kinema.methods.vcop import VCOP
from kinema.modules.order import PairwiseOrderHead
from kinema.randomness import numpy_generator
from kinema.targets.order import permutation_rank
from kinema.training.recipe import load_recipe
from kinema.training.stepper import Stepper
from tests.helpers import CLIP, SIZE, moving_texture, read_batch, write_video

TINY = {"frames": CLIP, "size": SIZE, "resize": (32, 40), "backbone": "r3d", "width": 4, "interval": 4}
NEED = 3 * CLIP + 2 * 4


def tiny(**options):
    torch.manual_seed(0)
    return VCOP(**{**TINY, **options})


def plan_of(method, index, i=0, *key):
    return method.plan(i, index, Clock(0, 0, 0.0), numpy_generator("vcop", *key))


def clips_in_order(plan, count=3):
    """Frames of the clips in the order of the video, [N, T], by the drawn order."""
    shuffled = plan.reads["video"].indices.reshape(count, -1)
    restored = np.empty_like(shuffled)
    restored[plan.draws["order"]] = shuffled
    return restored


def manifest_of(folder, *lengths):
    for number, frames in enumerate(lengths):
        write_video(folder / f"{number}.mp4", moving_texture(number, (0, 2), frames=frames))
    return Manifest.from_rows([{"path": f"{number}.mp4"} for number in range(len(lengths))], folder)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_class_of_an_order_is_its_lexicographic_rank(count):
    assert [permutation_rank(order) for order in permutations(range(count))] == list(range(math.factorial(count)))


def test_published_classes():
    assert permutation_rank((2, 0, 1)) == 4
    assert permutation_rank((0, 1, 2, 3)) == 0 and permutation_rank((3, 2, 1, 0)) == 23
    with pytest.raises(ValueError, match=r"\(0, 0, 1\) is no permutation"):
        permutation_rank((0, 0, 1))


def test_putting_clips_back_restores_the_video(tiny_videos):
    method = tiny()
    index = method.index(tiny_videos)
    starts, classes = set(), set()
    for key in range(400):
        plan = plan_of(method, index, 2, key)
        restored = clips_in_order(plan)
        start = int(restored[0, 0])
        expected = [[start + k * (CLIP + 4) + t for t in range(CLIP)] for k in range(3)]
        assert restored.tolist() == expected
        assert (restored[1:, 0] - restored[:-1, -1] == 5).all()
        starts.add(start)
        classes.add(int(plan.draws["label"]))
        assert plan.draws["label"] == permutation_rank(plan.draws["order"].tolist())
    assert starts == set(range(40 - NEED + 1)) and classes == set(range(6))


def test_the_published_spans():
    with torch.device("meta"):
        assert [VCOP(tuple_length=n, backbone="c3d").need(8) for n in (3, 4, 5)] == [64, 88, 112]


def test_strides_widen_the_clips(tiny_videos):
    method = tiny(tuple_length=2, stride=2, interval=3)
    restored = clips_in_order(plan_of(method, method.index(tiny_videos)), 2)
    assert (np.diff(restored) == 2).all() and restored[1, 0] - restored[0, -1] == 4


def test_intervals_are_drawn_as_far_as_the_video_allows(tiny_videos):
    for largest, seen in [(6, {4, 5, 6}), (30, {4, 5, 6, 7, 8})]:
        method = tiny(max_interval=largest)
        index = method.index(tiny_videos)
        gaps = set()
        for key in range(200):
            restored = clips_in_order(plan_of(method, index, 0, key))
            between = restored[1:, 0] - restored[:-1, -1] - 1
            assert len(set(between.tolist())) == 1 and restored.max() < 40
            gaps.add(int(between[0]))
        assert gaps == seen


@pytest.mark.parametrize("options", [{"interval": -1}, {"max_interval": 3}, {"tuple_length": 1}, {"tuple_length": 6}])
def test_what_makes_no_tuple_is_refused(options):
    with pytest.raises(RecipeError, match=next(iter(options))):
        tiny(**options)


def test_short_videos_are_left_out_and_counted(tmp_path):
    manifest = manifest_of(tmp_path, NEED - 1, NEED, NEED + 3, 5)
    index = tiny().index(manifest)
    assert index.rows.tolist() == [1, 2] and index.short == 2
    with pytest.raises(DataError, match=rf"no video has the {tiny(interval=30).need(30)} frames .* longest has 35"):
        tiny(interval=30).index(manifest)


def test_short_videos_can_spread_their_clips(tmp_path):
    method = tiny(short="spread")
    index = method.index(manifest_of(tmp_path, 24, 14, 5))
    assert len(index) == 3 and index.short == 0
    starts = [clips_in_order(plan_of(method, index, i))[:, 0].tolist() for i in range(3)]
    assert starts == [[0, 8, 16], [0, 3, 6], [0, 0, 0]]
    assert clips_in_order(plan_of(method, index, 2))[0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]


def test_long_videos_give_a_tuple_per_window(tmp_path):
    method = tiny(clips="windows")
    index = method.index(manifest_of(tmp_path, 2 * NEED + 5, NEED - 1))
    assert index.rows.tolist() == [0, 0] and index.short == 1
    found = [np.concatenate([plan_of(method, index, i, k).reads["video"].indices for k in range(60)]) for i in (0, 1)]
    assert [(part.min(), part.max()) for part in found] == [(0, NEED - 1), (NEED, 2 * NEED + 4)]


def still_batch(method, index, manifest_size=(32, 40)):
    """A batch as read, its frames replaced by one and the same picture."""
    read = read_batch(method, index, range(6), prepare=False)
    picture = torch.randint(0, 256, (1, 3, 1, *manifest_size), dtype=torch.uint8, generator=torch.Generator())
    return {**read, "video": picture.expand_as(read["video"]).contiguous()}


def test_frames_of_a_clip_share_its_look_and_clips_do_not(tiny_videos):
    method = tiny(flip=0.5, colour=(0.1, 0.2, 0.1, 0.05), colour_p=1.0, resizes=((34, 43), (36, 45)))
    index = method.index(tiny_videos)
    shown = method.prepare(still_batch(method, index), torch.Generator())["video"]
    assert shown.shape == (6, 3, 3, CLIP, SIZE, SIZE) and shown.dtype == torch.uint8
    assert torch.equal(shown, shown[:, :, :, :1].expand_as(shown))
    clips = shown.flatten(0, 1)
    assert sum(torch.equal(clips[i], clips[j]) for i in range(18) for j in range(i)) == 0


def test_crops_of_a_tuple_are_drawn_apart(tiny_videos):
    method = tiny()
    index = method.index(tiny_videos)
    boxes = np.array([plan_of(method, index, 0, key).draws["box"] for key in range(200)])
    same = (boxes[:, 0, 1] == boxes[:, 1, 1]).mean()
    assert set(boxes[:, :, 1].ravel().tolist()) == set(range(9)) and same < 0.25
    read = read_batch(method, index, prepare=False)
    shown = method.prepare(read, torch.Generator())["video"]
    for b in range(4):
        for j in range(3):
            top, left, height, width = (int(value) for value in read["box"][b, j])
            clip = read["video"][b, :, j * CLIP : (j + 1) * CLIP]
            assert torch.equal(shown[b, j], clip[:, :, top : top + height, left : left + width])


def test_pixels_are_fed_as_they_are_unless_asked_otherwise():
    white = torch.full((1, 3, 1, 1, 1), 255, dtype=torch.uint8)
    assert tiny().input.normalise(white).unique().tolist() == [1.0]
    assert tiny(imagenet=True).input.normalise(white).max() > 2


@pytest.mark.parametrize(("count", "inputs", "outputs"), [(2, 512, 2), (3, 1536, 6), (4, 3072, 24), (5, 5120, 120)])
def test_the_head_has_its_published_sizes(count, inputs, outputs):
    head = PairwiseOrderHead(512, count)
    assert (head.fc8.in_features, head.fc8.out_features) == (inputs, outputs)
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in (head.fc7, head.fc8)]
    assert sizes[0] == 524_800 and (count != 3 or sizes[1] == 9_222)


@pytest.mark.parametrize(("name", "size"), [("c3d", 27_661_440), ("r3d", 14_361_792), ("r2plus1d", 14_365_303)])
def test_the_networks_have_their_published_sizes(name, size):
    with torch.device("meta"):
        method = VCOP(backbone=name)
        assert method(torch.empty(2, 3, 3, 16, 112, 112)).shape == (2, 6)
    assert sum(p.numel() for p in method.encoder.parameters()) == size


def test_pairs_are_compared_in_order():
    head = PairwiseOrderHead(4, 3, dropout=0.0).eval()
    f = torch.randn(2, 3, 4)
    h = [torch.relu(head.fc7(torch.cat([f[:, i], f[:, j]], 1))) for i, j in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(head(f), head.fc8(torch.cat(h, 1)))


def test_swapping_two_clips_changes_the_order_of_concatenation_alone():
    head = PairwiseOrderHead(4, 2).eval()
    a = torch.randn(4, 4)
    with torch.no_grad():
        head.fc7.weight.copy_(torch.cat([a, -a], 1))
        head.fc7.bias.zero_()
    f = torch.randn(3, 2, 4)
    for pair, sign in ((f, 1), (f.flip(1), -1)):
        torch.testing.assert_close(head(pair), head.fc8(torch.relu(sign * (f[:, 0] - f[:, 1]) @ a.T)))


def test_dropout_stands_before_the_last_layer():
    torch.manual_seed(0)
    head = PairwiseOrderHead(4, 2, dropout=0.5)
    seen = []
    head.fc8.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    f = torch.randn(50, 2, 4)
    head(f)
    whole = torch.relu(head.fc7(f.flatten(1)))
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0][kept], 2 * whole[kept])
    assert 0.3 < 1 - kept[whole > 0].float().mean() < 0.7


def test_first_weights_of_the_other_implementation():
    head = PairwiseOrderHead(64, 3, init="ctp")
    assert head.fc8.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert head.fc7.weight.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.1)
    assert not head.fc7.bias.any() and not head.fc8.bias.any()


@pytest.mark.parametrize("head", ["lstm", "gru"])
def test_recurrent_heads_read_the_clips_in_turn(head):
    method = tiny(head=head, hidden=5).eval()
    f = torch.randn(2, 3, method.encoder.feature_dim)
    told = method.head(f)
    states, state = [], None
    for j in range(3):
        out, state = method.head.recurrent(f[:, j : j + 1], state)
        states.append(out[:, 0])
    torch.testing.assert_close(told, method.head.fc(states[-1]))
    assert told.shape == (2, 6)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_silent_head_costs_the_logarithm_of_the_orders(count):
    method = tiny(tuple_length=count, interval=0)
    nn.init.zeros_(method.head.fc8.weight)
    nn.init.zeros_(method.head.fc8.bias)
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (2, count, 3, CLIP, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    found = method.losses({"video": video, "label": torch.tensor([0, 1])}, method.phases[0])
    assert found["loss"].item() == pytest.approx(math.log(math.factorial(count)), rel=1e-6)


def test_equal_clips_give_the_same_answer_in_every_order():
    method = tiny().eval()
    torch.manual_seed(2)
    clip = torch.randn(1, 1, 3, CLIP, SIZE, SIZE)
    same, other = clip.expand(1, 3, -1, -1, -1, -1), torch.randn(1, 3, 3, CLIP, SIZE, SIZE)
    assert torch.equal(method(same), method(same[:, [2, 0, 1]]))
    assert not torch.allclose(method(other), method(other[:, [2, 0, 1]]))


def dots(count=6, frames=2 * CLIP + 4):
    """A bright dot moving right: uint8 [count, 3, frames, S, S], in other rows and shades."""
    video = torch.zeros(count, 3, frames, SIZE, SIZE, dtype=torch.uint8)
    for number in range(count):
        for t in range(frames):
            video[number, :, t, 4 * number : 4 * number + 6, t : t + 6] = 140 + 20 * number
    return video


def tuples(video, orders):
    """Tuples of two clips out of each video in the order of its class, and the classes."""
    parts = [(clip[:, :CLIP], clip[:, -CLIP:]) for clip in video]
    shown = [torch.stack([pair[k] for k in ((0, 1), (1, 0))[order]]) for pair, order in zip(parts, orders, strict=True)]
    return {"video": torch.stack(shown), "label": torch.tensor(orders)}


def train(method, batch, steps, lr=0.05):
    recipe = load_recipe("vcop", None, {"optimiser.name": "sgd", "optimiser.lr": lr, "device": "cpu"})
    stepper = Stepper(method.train(), recipe, torch.device("cpu"))
    return [stepper.step([batch(step)], step, lr) for step in range(steps)]


def test_it_learns_the_order_of_clips():
    video = dots()
    both = tuples(torch.cat([video, video]), [0] * 6 + [1] * 6)
    outcomes = train(tiny(tuple_length=2, dropout=0.0), lambda step: both, 30)
    assert outcomes[-1].parts["accuracy"] == 1.0 and outcomes[-1].loss < 0.3 < outcomes[0].loss


def test_orders_that_are_drawn_apart_from_the_labels_stay_at_chance():
    video = torch.cat([dots(), dots().flip(2)])
    generator = torch.Generator().manual_seed(1)

    def shuffled(step):
        orders = torch.randint(0, 2, (12,), generator=generator).tolist()
        return tuples(video, orders) | {"label": torch.randint(0, 2, (12,), generator=generator)}

    outcomes = train(tiny(tuple_length=2, dropout=0.0), shuffled, 30, lr=0.02)
    late = torch.stack([outcome.parts["accuracy"] for outcome in outcomes[-20:]]).mean()
    assert 0.4 < late < 0.6


def test_the_picture_names_the_places(tiny_videos):
    method = tiny()
    read = read_batch(method, method.index(tiny_videos), prepare=False)
    (picture,) = method.pictures(read)
    assert picture.frames.shape == (CLIP, SIZE, 3 * SIZE + 8, 3)
    assert f"in the places {', '.join(str(place + 1) for place in read['order'][0].tolist())}." in picture.caption


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_recipes_resolve(name):
    recipe = load_recipe("vcop", name)
    with torch.device("meta"):
        assert recipe.build().head.fc8.out_features == 6
