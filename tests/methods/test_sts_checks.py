"""STS against its specification: what the network is fed, twenty published steps, and labels that have no class."""

import torch

from kinema.targets.statistics import appearance_labels, motion_labels
from kinema.training.stepper import Stepper
from tests.helpers import CLIP, SIZE, read_batch, tiny_recipe, tiny_sts


def test_reference_feeds_the_network_blue_green_red_from_0_to_255(tiny_videos):
    method = tiny_sts(reference=True)
    batch = read_batch(method, method.index(tiny_videos))
    fed = []
    forward_stages = method.encoder.backbone.forward_stages
    method.encoder.backbone.forward_stages = lambda x: fed.append(x) or forward_stages(x)
    method.losses(batch, method.phases[0])
    assert torch.equal(fed[0], batch["video"][:, [2, 1, 0]].float())
    assert fed[0].max() > 100


def test_twenty_steps_of_sgd_on_four_clips_lower_the_loss(tiny_videos):
    recipe = tiny_recipe(target="classification")
    method = recipe.build()
    batch = read_batch(method, method.index(tiny_videos), (0, 5, 15, 25))
    stepper = Stepper(method, recipe, torch.device("cpu"))
    losses = [stepper.step([batch], step, 0.01).loss.item() for step in range(20)]
    assert recipe.optimiser.name == "sgd" and losses[-1] < 0.5 * losses[0]


def test_a_label_without_class_is_no_mistake(tiny_videos):
    """Reference labels of a still clip: 0 four times in pattern 1, which no classifier can tell."""
    method = tiny_sts(target="classification", reference=True)
    found = motion_labels(torch.zeros(1, 2, CLIP, SIZE, SIZE), rgb_frames=CLIP, zero="reference")
    video = torch.zeros(1, 3, CLIP, SIZE, SIZE, dtype=torch.uint8)
    colours = appearance_labels(video)
    labels, sizes = torch.cat([found.labels, colours], 1)[0], (*method.outputs[0], *method.outputs[1])
    hot = [torch.eye(n)[max(int(label) - 1, 0)] for label, n in zip(labels, sizes, strict=True)]
    method.head.forward = lambda features: 50.0 * torch.cat(hot)[None]
    batch = {"video": video, "motion": found.labels, "motion_valid": found.valid, "appearance": colours}
    parts = method.losses(batch, method.phases[0])["parts"]
    assert parts["motion"] < 1e-5 and parts["accuracy"] == 1.0
