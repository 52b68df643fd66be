"""Watches a run: the journal, the live display, the look at the features, and the pretext's own validation."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from kinema.data.index import Index
from kinema.data.loading import Failure, Request, deliver, request_generator
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, Clock
from kinema.methods.base import Method, Picture, batch_size
from kinema.training.clips import ProbeSet, embed_clips, read_probe_set
from kinema.training.display import Display
from kinema.training.distributed import rank
from kinema.training.files import write_atomic
from kinema.training.health import measure_health
from kinema.training.journal import Journal, read_journal
from kinema.training.recipe import Recipe
from kinema.training.stepper import Outcome
from kinema.training.timeline import Timeline

PROBE_CLIPS = 128
"""Clips at which the features are looked at."""

VALIDATION_SAMPLES = 256
"""At most so many held-out samples per validation."""


class Monitor:
    """Collects what happens; only the first process writes."""

    def __init__(self, folder: Path, timeline: Timeline, *, quiet: bool) -> None:
        self.folder, self.timeline = folder, timeline
        self.writes = rank() == 0
        self.journal = Journal(folder / "metrics.jsonl") if self.writes else None
        self.quarantine = Journal(folder / "quarantine.jsonl") if self.writes else None
        self.display = None if quiet else Display()
        self.began = self.last = time.monotonic()
        self.waited = 0.0
        self.probe: ProbeSet | None = None
        self.broken = {str(record.get("path")) for record in read_journal(folder / "quarantine.jsonl")}
        self.held_out: Index | None = None
        self.workers = 0
        self.shown: Batch | None = None

    def __enter__(self) -> Self:
        if self.display:
            self.display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.display:
            self.display.__exit__(kind, error, trace)
        for journal in (self.journal, self.quarantine):
            if journal:
                journal.close()

    def _log(self, event: str, **values: object) -> None:
        if self.journal:
            record = self.journal.write(event, **values)
            if self.display:
                self.display.step(record)

    def start(self, method: Method, index: Index, held_out: Manifest | None, recipe: Recipe, workers: int) -> None:
        """Log the run's size, draw the explanatory pictures and read the clips for looking at the features."""
        self.recipe, self.workers = recipe, workers
        self.held_out = method.index(held_out) if held_out is not None else None
        self._log(
            "start",
            method=recipe.method,
            samples=len(index),
            short=index.short,
            videos=len(index.manifest),
            steps=self.timeline.steps,
            epochs=len(self.timeline.epoch_steps),
            batch=recipe.batch,
            parameters=sum(p.numel() for p in method.parameters()),
            workers=workers,
            threads=torch.get_num_threads(),
        )
        if self.writes:
            self.shown = _some_samples(method, self.held_out or index, recipe.seed)
            _draw_pictures(self.folder, "pictures", method.pictures(self.shown) if self.shown else [])
            products = method.products()
            encoder = products.encoders.get(products.visual)
            if encoder is not None:
                self.probe = read_probe_set(index.manifest, encoder.input, count=PROBE_CLIPS, workers=workers)
        self.began = self.last = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent in here counts as waiting for data."""
        before = time.monotonic()
        yield
        self.waited += time.monotonic() - before

    def step(self, step: int, outcome: Outcome, lr: float) -> None:
        """Log one settled step."""
        now = time.monotonic()
        passed = max(now - self.last, 1e-9)
        self._log(
            "step",
            step=step,
            epoch=self.timeline.clock(step).epoch,
            loss=float(outcome.loss),
            parts={name: float(value) for name, value in outcome.parts.items()},
            lr=lr,
            grad_norm=float(outcome.grad_norm),
            clips_per_second=self.recipe.batch / passed,
            wait_share=min(1.0, self.waited / passed),
            seconds=now - self.began,
        )
        self.last, self.waited = now, 0.0

    def failures(self, step: int, failures: Sequence[Failure]) -> None:
        """Quarantine files that broke: once each in the list, every time in the count."""
        for failure in failures:
            if failure.path not in self.broken:
                self.broken.add(failure.path)
                self._log("quarantine", step=step, path=failure.path, reason=failure.reason)
                if self.quarantine:
                    self.quarantine.write("quarantine", step=step, path=failure.path, reason=failure.reason)

    def skipped(self, step: int) -> None:
        """Note a step in which no sample could be read."""
        self._log("skipped", step=step, reason="no sample of this step could be read")

    def health_due(self, step: int) -> bool:
        """Whether to look at the features after `step` steps: every `health` epochs, and at the end."""
        if step >= self.timeline.steps:
            return True
        every = self.recipe.health * self.timeline.steps_per_epoch
        return bool(every) and int(step / every) > int((step - 1) / every)

    def look(self, method: Method, step: int, device: torch.device) -> float | None:
        """Measure the features' health, and the pretext on held-out videos, whose loss is returned."""
        if self.writes and self.probe is not None:
            products = method.products()
            encoder = products.encoders[products.visual]
            features = embed_clips(encoder, self.probe.clips, device)
            health = measure_health(features, self.probe.labels)
            self._log(
                "health",
                step=step,
                feature_std=health.feature_std,
                effective_rank=health.effective_rank,
                dimension=health.dimension,
                knn=health.knn,
                verdict=health.verdict,
                level=health.level,
            )
        if self.writes and self.shown:
            self._draw_answers(method, device)
        loss = None if self.held_out is None else self._validate(method, self.held_out, step, device)
        # What was measured here is not the step's time.
        self.last, self.waited = time.monotonic(), 0.0
        return loss

    @torch.no_grad()
    def _draw_answers(self, method: Method, device: torch.device) -> None:
        """Pictures of what the network makes of the samples that the first pictures showed."""
        method.eval()
        batch: Batch = {name: value.to(device) for name, value in (self.shown or {}).items()}
        _draw_pictures(self.folder, "answers", method.answers(batch))
        method.train()

    @torch.no_grad()
    def _validate(self, method: Method, index: Index, step: int, device: torch.device) -> float | None:
        """The pretext's loss and parts on held-out samples: same draws each time, eval mode."""
        chosen = torch.linspace(0, len(index) - 1, min(VALIDATION_SAMPLES, len(index))).round().int().tolist()
        parts = [chosen[k : k + self.recipe.batch] for k in range(0, len(chosen), self.recipe.batch)]
        requests = [Request(Clock(0, 0, 0.0), tuple(part), (0,) * len(part)) for part in parts]
        in_worker = device.type == "cpu" and not method.prepare_on_device
        sums: dict[str, float] = {}
        count = 0.0
        method.eval()
        for delivery in deliver(method, index, requests, seed=-1, workers=self.workers, prepare=in_worker):
            if delivery.batch is None:
                continue
            batch: Batch = {name: value.to(device) for name, value in delivery.batch.items()}
            if not in_worker:
                batch = method.prepare(batch, request_generator(-1, delivery.request, device))
            losses = method.losses(batch, method.phases[0])
            items = float(losses.get("weight", batch_size(batch)))
            for name, value in {"loss": losses["loss"], **losses["parts"]}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * items
            count += items
        method.train()
        if not count:
            return None
        loss = sums.pop("loss") / count
        self._log("validation", step=step, loss=loss, parts={name: value / count for name, value in sums.items()})
        return loss

    def end(self, step: int) -> None:
        """Log the end."""
        self._log("end", step=step, steps=step, seconds=time.monotonic() - self.began)


def _some_samples(method: Method, index: Index, seed: int) -> Batch | None:
    """A few samples as read, evenly spread; None where none of them can be read."""
    chosen = torch.linspace(0, len(index) - 1, min(8, len(index))).round().int().tolist()
    request = Request(Clock(0, 0, 0.0), tuple(chosen), (0,) * len(chosen))
    return next(iter(deliver(method, index, [request], seed=seed, workers=0, prepare=False))).batch


def _draw_pictures(folder: Path, kind: str, pictures: Sequence[Picture]) -> None:
    """Save pictures as animated WebP in the folder `kind`, with a list beside it; nothing where there are none."""
    listed = []
    for number, picture in enumerate(pictures):
        name = f"{number:02d}.webp"
        write_atomic(folder / kind / name, _webp(picture))
        moves = "clip" if len(picture.frames) > 1 else "image"
        listed.append({"title": picture.title, "caption": picture.caption, "file": name, "kind": moves})
    if listed:
        write_atomic(folder / f"{kind}.json", json.dumps(listed, indent=1))


def _webp(picture: Picture) -> bytes:
    import io

    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in picture.frames]
    buffer = io.BytesIO()
    first.save(
        buffer, "WEBP", save_all=True, append_images=rest, duration=round(1000 / picture.rate), loop=0, quality=82
    )
    return buffer.getvalue()
