"""Training with labels: a new head on the pooled features, with the whole network or on the frozen one.

It is a method like any other to the machinery of training: the same readers, keys, optimisers and exact averages.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kinema.data.index import Index, per_row
from kinema.data.loading import Delivery, Request, deliver
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock, tensor
from kinema.errors import DataError
from kinema.evaluation.aggregation import joined_views
from kinema.evaluation.classifier import Classifier, Logits, block_depths
from kinema.evaluation.extract import Extraction, extract, frozen
from kinema.evaluation.finetune_clips import LabelledClips
from kinema.evaluation.finetune_presets import FineTune
from kinema.evaluation.logistic import hold_outs
from kinema.evaluation.rows import plain
from kinema.evaluation.splits import Fold, Split
from kinema.evaluation.tasks import Scores
from kinema.evaluation.views import view_preset
from kinema.modules.encoder import Encoder, shown
from kinema.randomness import key_entropy
from kinema.training.recipe import Recipe
from kinema.training.schedules import lr_factor
from kinema.training.stepper import Stepper, check_precision
from kinema.training.timeline import Timeline, build_timeline

IntArray = npt.NDArray[np.int64]


class Trained(NamedTuple):
    """A network trained with labels, in evaluation mode, and what was chosen on the way."""

    classifier: Classifier
    card: dict[str, Any]


def finetune(
    encoder: Encoder, manifest: Manifest, split: Split, preset: FineTune, *, reading: Extraction, seed: int = 0
) -> Trained:
    """Train a copy of `encoder` with a new head on the training rows of the first fold.

    The same arguments give the same weights, bit for bit, on one machine.

    Args:
        encoder: where training starts; it is not changed.
        manifest: the rows that `split` divides.
        split: its first fold is used.
        preset: how to train.
        reading: workers, device, and whether broken files are passed over (and counted) or refused.
        seed: key of the head's initial weights, of clips, crops, order and dropout.

    Raises:
        DataError: a training video cannot be read.
        TrainingDiverged: a loss or gradient stopped being finite.
    """
    with _own_randomness(seed):
        classifier = Classifier(encoder, len(split.classes), preset).to(reading.device)
        return _Training(classifier, manifest, split, reading, seed).run()


def finetuned_scores(trained: Trained, manifest: Manifest, split: Split, reading: Extraction) -> Scores:
    """Scores of the test rows of the first fold, views joined as the preset says.

    A test video that cannot be read, where that is allowed, has no score and counts as wrong.
    """
    classifier = trained.classifier
    test = split.folds[0].test
    options = replace(reading, views=classifier.preset.views, taps=(), cache=None)
    aggregation, is_joined = classifier.preset.aggregation, view_preset(options.views).clips is None
    # Where videos have windows in different numbers, extraction averages them: what it averages must be what counts.
    encoder = Logits(classifier, as_shares=is_joined and aggregation == "mean_softmax")
    table = extract({"": encoder}, manifest.select(test), options)[""]
    logits = np.full((len(test), *table.pooled.shape[1:]), np.nan)
    logits[table.rows] = table.pooled
    return (
        Scores({"": logits[:, 0]}, {}, trained.card) if is_joined else joined_views(logits, aggregation, trained.card)
    )


def finetune_card(name: str, preset: FineTune, encoder: Encoder) -> dict[str, Any]:
    """What is to be known of a training beside its number."""
    if preset.frozen:
        norms = "frozen statistics below the head"
    else:
        norms = "statistics of the batch in training, running averages in the test"
    card: dict[str, Any] = {
        "preset": name,
        "recipe": plain(preset),
        "training input": plain(preset.input(encoder.input)),
        "trained": "the head" if preset.frozen else "all weights",
        "BatchNorm": norms,
        "views": preset.views,
        "aggregation": preset.aggregation,
        "test precision": "fp32",
        "feature dim": encoder.feature_dim,
    }
    if preset.layer_decay != 1.0 and not block_depths(encoder):
        card["layer decay"] = "not applied: the network has no list of blocks"
    return card


@dataclass
class _Training:
    classifier: Classifier
    manifest: Manifest
    split: Split
    reading: Extraction
    seed: int

    def run(self) -> Trained:
        preset, fold = self.classifier.preset, self.split.folds[0]
        train, held = _held_out(self.split, fold, preset, self.seed)
        device = torch.device(self.reading.device)
        recipe = _recipe(preset, len(train) * preset.clips, self.seed)
        check_precision(self.classifier, preset.precision, device)
        index = per_row(self.manifest)
        # A preset with several clips per video and pass uses each row so often, every time with other draws.
        timeline = build_timeline(self.classifier, index.take(np.repeat(train, preset.clips)), recipe)
        stepper = Stepper(self.classifier, recipe, device)
        best = _Best(index.take(held)) if len(held) else None
        failures: set[str] = set()
        self.classifier.train()
        for delivery in self._deliveries(timeline):
            failures.update(f"{failure.path}: {failure.reason}" for failure in delivery.failures)
            self._refuse(failures)
            step = delivery.request.clock.step
            if delivery.batch is not None:
                rate = lr_factor(recipe.schedule, step, timeline.steps_per_epoch, timeline.steps)
                outcome = stepper.step([_moved(delivery.batch, device)], step, recipe.optimiser.lr * rate)
                if device.type != "cpu" and step + 1 == timeline.steps:
                    stepper.check(outcome, step)
            if best is not None and _ends_epoch(timeline, step):
                best.look(self.classifier, self._loss(best.index), delivery.request.clock.epoch + 1)
        return self._done(best, train, failures, recipe)

    def _done(self, best: _Best | None, train: IntArray, failures: set[str], recipe: Recipe) -> Trained:
        chosen: dict[str, Any] = {"chosen": "last weights", "training videos": len(train), "lr": recipe.optimiser.lr}
        if best is not None:
            self.classifier.load_state_dict(best.state)
            chosen |= {"chosen": "least loss on held-out training videos", "held out": len(best.index)}
            chosen |= {"chosen epoch": best.epoch, "held-out losses": best.losses}
        chosen["training videos unread"] = len(failures)
        return Trained(self.classifier.eval(), chosen)

    def _deliveries(self, timeline: Timeline) -> Iterator[Delivery]:
        planner = LabelledClips(self.classifier.input, self.split.labels, self.classifier.preset)
        requests = timeline.requests(0, 0, 1)
        yield from deliver(planner, timeline.index, requests, seed=self.seed, workers=self.reading.workers)

    def _loss(self, index: Index) -> float:
        """Mean cross-entropy of the middle clips of the held-out videos."""
        device = self.reading.device
        planner = LabelledClips(self.classifier.input, self.split.labels)
        parts = np.split(np.arange(len(index)), range(self.reading.batch, len(index), self.reading.batch))
        requests = [Request(Clock(0, 0, 0.0), tuple(part.tolist()), (0,) * len(part)) for part in parts]
        found: list[Tensor] = []
        with frozen(self.classifier):
            for delivery in deliver(planner, index, requests, seed=self.seed, workers=self.reading.workers):
                self._refuse({f"{failure.path}: {failure.reason}" for failure in delivery.failures})
                if delivery.batch is not None:
                    batch = _moved(delivery.batch, torch.device(device))
                    logits = self.classifier(shown(self.classifier.input, tensor(batch, "clip")))
                    found.append(cross_entropy(logits, tensor(batch, "label"), reduction="none"))
        return float(torch.cat(found).mean()) if found else float("nan")

    def _refuse(self, failures: set[str]) -> None:
        if failures and not self.reading.skip_broken:
            raise DataError(
                f"a training video cannot be read: {min(failures)}. Mend or remove it, or evaluate with skip_broken, "
                "which counts such videos"
            )


class _Best:
    """The weights with the least loss so far."""

    def __init__(self, index: Index) -> None:
        self.index, self.epoch = index, 0
        self.losses: list[float] = []
        self.state: dict[str, Tensor] = {}

    def look(self, module: nn.Module, loss: float, epoch: int) -> None:
        # A loss that is no number is never the least, unless there is no other.
        if not self.state or loss < min(value for value in [*self.losses, np.inf] if value == value):
            self.epoch, self.state = epoch, copy.deepcopy(module.state_dict())
        self.losses.append(loss)


def _recipe(preset: FineTune, samples: int, seed: int) -> Recipe:
    """The preset as training understands it."""
    batch = min(preset.batch, samples)
    lr = preset.optimiser.lr * (batch / preset.per if preset.per else 1.0)
    return Recipe(
        "finetune",
        epochs=preset.epochs,
        batch=batch,
        optimiser=replace(preset.optimiser, lr=lr),
        schedule=preset.schedule,
        clip_grad=preset.clip_grad,
        precision=preset.precision,
        seed=seed,
    )


def _held_out(split: Split, fold: Fold, preset: FineTune, seed: int) -> tuple[IntArray, IntArray]:
    """Rows that train, and rows that choose the weights: none where the last are taken or no group can be spared."""
    if preset.choose == "last":
        return fold.train, np.empty(0, np.int64)
    if len(fold.validation):
        return fold.train, fold.validation
    parts = hold_outs(split.labels[fold.train], [split.groups[row] for row in fold.train], seed=seed)
    held = parts[0] if parts else np.zeros(len(fold.train), bool)
    return fold.train[~held], fold.train[held]


def _ends_epoch(timeline: Timeline, step: int) -> bool:
    return step + 1 in np.cumsum(timeline.epoch_steps)


def _moved(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Initial heads and dropout draw from the global generators, which are left as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(key_entropy("finetune", seed) & 0x7FFF_FFFF_FFFF_FFFF)
        yield
