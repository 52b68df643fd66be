"""Carrying labels: known cases, and the published rules written out again, slowly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.errors import RecipeError
from kinema.evaluation.propagation import PRESETS, Carrier, Rule

DINO = PRESETS["davis-dino"].rule


def carry(features, labels, rule):
    """Labels [T, L, h, w] of a sequence of maps [T, D, h, w]; the first are given."""
    carrier = Carrier(features[0], labels, rule)
    return torch.stack([labels, *(carrier.step(one) for one in features[1:])])


def distinct(height, width):
    """One-hot features [h w, h, w]: every place is like itself alone."""
    return torch.eye(height * width).unflatten(1, (height, width))


def drawn(frames=6, dim=5, height=4, width=6, labels=3, *, kinds=None):
    """Random maps and labels; places of `kinds` are exactly alike or not at all, so that most are ties."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(frames, dim, height, width, generator=generator)
    if kinds is not None:
        drawn = torch.randint(0, kinds, (frames, height, width), generator=generator)
        features = torch.eye(dim)[drawn].movedim(-1, 1)
    return features, torch.rand(labels, height, width, generator=generator)


def slow_walk(features, labels, rule):
    """The walk-style rule with frame 0 put before the sequence, place by place; ties go to the earlier entry."""
    count, _, height, width = features.shape
    unit = features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    padded = torch.cat([unit[:1]] * rule.memory + [unit])
    told = torch.cat([labels[None]] * rule.memory + [labels[None]] * count)
    for frame in range(1, count):
        entries = [0, *range(frame, frame + rule.memory)]
        found = torch.zeros_like(labels)
        for y in range(height):
            for x in range(width):
                seen = []
                for order, entry in enumerate(entries):
                    for down in range(height):
                        for right in range(width):
                            far = math.dist((y, x), (down, right)) >= rule.radius
                            if order == 0 or not far:
                                cosine = float(padded[entry, :, down, right] @ unit[frame, :, y, x])
                                seen.append((round(cosine, 5), -len(seen), entry, down, right))
                best = sorted(seen, reverse=True)[: rule.top]
                weights = np.exp(np.array([one[0] for one in best]) / rule.temperature)
                for weight, (*_, entry, down, right) in zip(weights / weights.sum(), best, strict=True):
                    found[:, y, x] += weight * told[entry, :, down, right]
        told[frame + rule.memory] = found
    return told[rule.memory :]


def slow_dino(features, labels, rule):
    """The rule of DINO's script with a queue of frames, as matrices; ties are kept."""
    count, _, height, width = features.shape
    unit = (features / features.norm(dim=1, keepdim=True)).flatten(2)
    y, x = np.divmod(np.arange(height * width), width)
    near = (abs(y[:, None] - y) <= rule.radius) & (abs(x[:, None] - x) <= rule.radius)
    told = [labels.flatten(1)]
    for frame in range(1, count):
        queue = list(range(1, frame))[-rule.memory :]
        entries = [0, *queue]
        powers = np.concatenate([np.exp((unit[e].T @ unit[frame]).numpy() / rule.temperature) * near for e in entries])
        least = -np.sort(-powers, axis=0)[rule.top - 1]
        powers[powers < least * (1 - 1e-6)] = 0
        joined = torch.cat([told[entry] for entry in entries], 1).numpy()
        told.append(torch.from_numpy(joined @ (powers / powers.sum(0))).float())
    return torch.stack(told).unflatten(2, (height, width))


@pytest.mark.parametrize("everything", [False, True])
def test_the_walk_is_the_published_rule(everything):
    """Sequences shorter and longer than the memory, in which copies of frame 0 count one by one."""
    features, labels = drawn()
    rule = Rule(memory=3, top=4, radius=2.3, temperature=0.2, megabytes=128 if everything else 1e-4)
    torch.testing.assert_close(carry(features, labels, rule), slow_walk(features, labels, rule), atol=1e-5, rtol=0)


def test_of_equal_places_the_first_count():
    features, labels = drawn(kinds=3)
    rule = Rule(memory=2, top=5, radius=2.5, temperature=0.3)
    torch.testing.assert_close(carry(features, labels, rule), slow_walk(features, labels, rule), atol=1e-5, rtol=0)


def test_opposite_places_weigh_least():
    """All places count, so that many have negative cosines; their order and values are those of the slow rule."""
    features, labels = drawn(frames=3)
    rule = Rule(memory=1, top=48, radius=99, temperature=0.2)
    torch.testing.assert_close(carry(features, labels, rule), slow_walk(features, labels, rule), atol=1e-5, rtol=0)
    some = replace(rule, top=40)
    turned = torch.stack([features[0], -features[0]])
    torch.testing.assert_close(carry(turned, labels, some), slow_walk(turned, labels, some), atol=1e-5, rtol=0)


def test_copies_of_the_first_frame_are_entries_of_their_own():
    """With as many copies as places count, the best place alone decides about frame 1; without, several do."""
    features, labels = drawn(frames=2)
    rule = Rule(memory=6, top=7, radius=99)
    one = carry(features, labels, replace(rule, top=1))
    torch.testing.assert_close(carry(features, labels, rule), one)
    assert not torch.allclose(carry(features, labels, replace(rule, pads=False)), one, atol=0.01)


@pytest.mark.parametrize("kinds", [None, 3])
def test_dino_is_the_published_rule(kinds):
    features, labels = drawn(kinds=kinds)
    rule = replace(DINO, memory=2, radius=1, top=3)
    torch.testing.assert_close(carry(features, labels, rule), slow_dino(features, labels, rule), atol=1e-5, rtol=0)
    chunks = replace(rule, megabytes=1e-4)
    torch.testing.assert_close(carry(features, labels, chunks), carry(features, labels, rule))


def test_a_still_video_keeps_its_labels():
    labels = torch.rand(2, 4, 5)
    features = distinct(4, 5).expand(5, -1, -1, -1)
    for rule in (Rule(top=1, radius=1), Rule(temperature=0.01), replace(DINO, temperature=0.01)):
        torch.testing.assert_close(carry(features, labels, rule), labels.expand(5, -1, -1, -1))


@pytest.mark.parametrize("rule", [Rule(top=1, memory=3, radius=3), replace(DINO, top=1, temperature=0.01)])
def test_labels_move_with_what_moves_by_whole_cells(rule):
    features = torch.stack([distinct(6, 6).roll(step, 2) for step in range(5)])
    labels = torch.zeros(2, 6, 6)
    labels[1, 2:4, 0:2] = 1
    moved = carry(features, labels, rule)
    for step, found in enumerate(moved[:, 1]):
        torch.testing.assert_close(found[2:4, step : step + 2], torch.ones(2, 2), atol=1e-4, rtol=0)


def test_radius_1_copies_every_cell_from_the_last_frames():
    """Strictly below 1 is the own cell alone; the long memory is out of play, since nothing there is alike."""
    features = torch.rand(4, 1, 3, 4) + 0.1
    features = torch.cat([features, torch.zeros_like(features)], 1)
    features[0] = features[0].flip(0)  # at right angles to all others
    carrier = Carrier(features[1], torch.rand(2, 3, 4), Rule(memory=1, top=1, radius=1, pads=False))
    carrier.first = carrier.first._replace(features=torch.tensor([[0.0, 1.0]]).expand(12, 2))
    labels = carrier.step(features[1])  # of the long memory alone
    for frame in (2, 3):
        after = carrier.step(features[frame])
        torch.testing.assert_close(after, labels)
        labels = after


def test_a_match_beyond_the_radius_is_reached_through_the_first_frame_alone():
    here, there = distinct(1, 8), distinct(1, 8).roll(6, 2)
    labels = torch.zeros(2, 1, 8)
    labels[1, 0, 0] = 1
    rule = Rule(memory=2, top=1, radius=3)
    assert carry(torch.stack([here, there]), labels, rule)[1, 1, 0, 6] == 1
    bound = carry(torch.stack([here, there]), labels, replace(rule, everywhere=False))
    assert bound[1, 1, 0, 6] == 0


def test_the_window_of_dino_is_a_square_that_has_its_edge():
    here, there = distinct(8, 8), distinct(8, 8).roll((3, 3), (1, 2))
    labels = torch.zeros(2, 8, 8)
    labels[1, 0, 0] = 1
    rule = Rule(memory=0, top=1, everywhere=False, window="square", radius=3)
    frames = torch.stack([here, there])
    assert carry(frames, labels, rule)[1, 1, 3, 3] == 1
    assert carry(frames, labels, replace(rule, radius=2))[1, 1, 3, 3] == 0
    assert carry(frames, labels, replace(rule, window="disc", radius=math.sqrt(18)))[1, 1, 3, 3] == 0
    assert carry(frames, labels, replace(rule, window="disc", radius=math.sqrt(18) + 1e-6))[1, 1, 3, 3] == 1


def test_no_more_maps_are_held_than_the_context_has():
    features, labels = drawn(frames=9)
    carrier = Carrier(features[0], labels, Rule(memory=3))
    assert len({id(entry.features) for entry in carrier.recent} | {id(carrier.first.features)}) == 1
    for one in features[1:]:
        carrier.step(one)
        assert len(carrier.recent) == 3


@pytest.mark.parametrize("wrong", [{"top": 0}, {"memory": -1}, {"temperature": 0.0}, {"radius": -2.0}])
def test_rules_that_leave_nothing_to_look_at_are_refused(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        Rule(**wrong)
