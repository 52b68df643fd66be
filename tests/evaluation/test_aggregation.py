"""Views joined into one answer: both ways measured, also where videos have different numbers of windows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.evaluation.aggregation import joined_views
from kinema.evaluation.classifier import Classifier
from kinema.evaluation.extract import Extraction
from kinema.evaluation.finetune import Trained, finetuned_scores
from kinema.evaluation.finetune_presets import FineTune
from kinema.evaluation.measure import metrics
from kinema.evaluation.reading import ClipReader
from kinema.evaluation.splits import make_split
from kinema.evaluation.views import view_preset
from kinema.metrics import mean_logits, mean_softmax
from tests.evaluation.videos import untrained_net


def test_both_ways_of_joining_views_are_measured_and_the_headline_is_the_one_stated():
    # Logits (10, 0, 0), (0, 2, 0), (0, 2, 0): their mean names class 0, the mean of their softmax class 1.
    logits = np.array([[[10.0, 0, 0], [0, 2, 0], [0, 2, 0]]])
    for how, first in (("mean_logits", 0), ("mean_softmax", 1)):
        scores = joined_views(logits, how)
        found = {
            m.name: m.hits.mean() for m in metrics(scores, np.array([first]), retrieves=False) if m.level == "video"
        }
        other = "mean_softmax" if how == "mean_logits" else "mean_logits"
        assert found == {"top1": 100, f"top1 {other}": 0}
    np.testing.assert_allclose(joined_views(logits, "mean_softmax").video[""][0, :2], [0.404, 0.525], atol=5e-4)


def test_a_single_view_has_one_way_of_being_joined():
    assert set(joined_views(np.zeros((2, 1, 3)), "mean_logits").video) == {""}


@pytest.mark.parametrize("how", ["mean_logits", "mean_softmax"])
def test_windows_of_any_number_are_joined_after_the_head_and_not_before(colours, how):
    split = make_split(colours)
    preset = FineTune(native=True, views="sliding", aggregation=how)
    classifier = Classifier(untrained_net(), 3, preset).eval()
    with torch.no_grad():
        classifier.head[-1].weight.mul_(200)  # far from where the two ways agree
    found = finetuned_scores(Trained(classifier, {}), colours, split, Extraction())
    assert found.clip == {} and list(found.video) == [""]
    reader = ClipReader(classifier.input, view_preset("sliding"))
    join = {"mean_logits": mean_logits, "mean_softmax": mean_softmax}
    rows = split.folds[0].test[:4]
    slow = {name: [] for name in join}
    for row in rows:
        with torch.no_grad():
            logits = classifier(classifier.input.normalise(torch.from_numpy(reader(colours, row)))).numpy()
        for name, joined in join.items():
            slow[name].append(joined(logits[None])[0])
    np.testing.assert_allclose(found.video[""][:4], slow.pop(how), rtol=1e-4, atol=1e-5)
    assert np.abs(found.video[""][:4] - next(iter(slow.values()))).max() > 1e-2
    fixed = replace(preset, views="uniform2")
    classifier.preset = fixed
    assert set(finetuned_scores(Trained(classifier, {}), colours, split, Extraction()).clip) == {""}
