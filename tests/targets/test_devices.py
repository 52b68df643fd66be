"""What happens on an accelerator, checked without one."""

import pytest
import torch

from kinema.targets.statistics import (
    LabelGroups,
    appearance,
    appearance_labels,
    class_counts,
    colours,
    curriculum_score,
    motion,
    motion_labels,
    patterns,
    to_2d,
)


@pytest.fixture
def accelerator_path(monkeypatch):
    """Many clips at once and scattered additions, on the CPU."""
    for module in (motion, appearance):
        monkeypatch.setattr(module, "clips_per_pass", lambda device: 2)
    for module in (motion, appearance, colours):
        monkeypatch.setattr(module, "tally", patterns.scatter_tally)


def case(size=32, batch=5):
    generator = torch.Generator().manual_seed(7)
    flow = torch.randn(batch, 2, 4, size, size, generator=generator)
    clip = torch.randint(0, 256, (batch, 3, 5, size, size), generator=generator).to(torch.uint8)
    return flow, clip


def all_labels(flow, clip):
    found = [appearance_labels(clip, colour) for colour in ("vote", "exact")]
    for orientation in ("soft", "hard"):
        found += [*motion_labels(flow, orientation=orientation), *motion_labels(flow, zero="ignore")]
    return [*found, curriculum_score(flow)]


def test_many_clips_at_once_give_the_same_labels(request):
    inputs = case()
    one_by_one = all_labels(*inputs)
    request.getfixturevalue("accelerator_path")
    assert all(torch.equal(a, b) for a, b in zip(one_by_one, all_labels(*inputs), strict=True))


def test_nothing_waits_for_the_device():
    """Tensors without data: reading a value on the host would raise."""
    flow, clip = (tensor.to("meta") for tensor in case())
    found = all_labels(flow, clip)
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert [(tensor.dtype, tuple(tensor.shape)) for tensor in found] == [
        (tensor.dtype, tuple(tensor.shape)) for tensor in all_labels(*case())
    ]
    labels, colours = motion_labels(flow).labels, appearance_labels(clip)
    assert [part.shape[1] for part in to_2d(labels, colours)] == [18, 17]
    chosen = LabelGroups(motion=(2,)).select(labels, colours)
    assert chosen.motion.shape[1] == len(class_counts(LabelGroups(motion=(2,))).motion) == 6
