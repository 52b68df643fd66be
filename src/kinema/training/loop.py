"""The training loop: one plain loop for every method, resumable to the bit."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch

from kinema.data.index import Index
from kinema.data.loading import Delivery, deliver, request_generator
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch
from kinema.data.workers import dead_workers_explained
from kinema.errors import DataError, RecipeError
from kinema.methods.base import Method
from kinema.modules.ema import EMA
from kinema.modules.sync_bn import convert_sync_batchnorm
from kinema.training.checkpoint import (
    BEST,
    Run,
    checkpoints,
    load_run,
    load_tensors,
    load_training_state,
    load_weights,
    read_run_recipe,
    save_checkpoint,
    versions,
)
from kinema.training.distributed import agree, barrier, choose_device, processes, rank, world_size
from kinema.training.files import read_json, write_atomic
from kinema.training.journal import rewind
from kinema.training.monitor import Monitor
from kinema.training.optimisers import build_optimisers
from kinema.training.recipe import Recipe
from kinema.training.rows import chosen_rows
from kinema.training.schedules import lr_factor
from kinema.training.stepper import Outcome, Stepper, check_precision
from kinema.training.timeline import Timeline, build_timeline, share_of_batch


def pretrain(recipe: Recipe, manifest: Manifest, out: str | Path, *, resume: bool = False, quiet: bool = False) -> Run:
    """Train a method on the videos of a manifest and leave a run folder.

    Started under torchrun it trains on all processes together. A run that was stopped, in whatever way, goes on with
    `resume=True` and ends with the same weights, bit for bit, as if it had never stopped (same machine and threads).

    Args:
        recipe: what to do (`load_recipe`).
        manifest: the videos (`Manifest.read`, `scan`).
        out: the run folder; must not exist unless `resume`.
        resume: go on from the newest checkpoint in `out`; starts at the beginning when there is none.
        quiet: no live display.

    Raises:
        RecipeError: options that contradict each other or the folder.
        DataError: no readable sample.
        TrainingDiverged: a loss or gradient stopped being finite.
        KinemaError: a process that reads died.
    """
    folder = Path(out)
    device = choose_device(recipe.device)
    with processes(device), cpu_threads(recipe, device), dead_workers_explained():
        trainer = Trainer(recipe, manifest, folder, device, resume=resume)
        with Monitor(folder, trainer.timeline, quiet=quiet or rank() > 0) as monitor:
            trainer.fit(monitor)
        # The first process writes the last checkpoint, which all of them load.
        barrier()
    return load_run(folder, method=recipe.method)


class Trainer:
    """A method, its samples, its optimisers and the place where they stand."""

    def __init__(
        self, recipe: Recipe, manifest: Manifest, folder: Path, device: torch.device, *, resume: bool = False
    ) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device
        # What can be refused is refused before the folder is made.
        share_of_batch(recipe, world_size())
        method = recipe.build()
        build_optimisers(method, recipe.optimiser)
        check_precision(method, recipe.precision, device)
        manifest.require(method.columns, f"method '{recipe.method}'")
        self.manifest, self.held_out, used = chosen_rows(manifest, recipe)
        self.index: Index = method.index(self.manifest)
        _claim(folder, recipe, used, resume=resume)
        _setup(method, self.index, folder, self.workers)
        if world_size() > 1 and recipe.sync_bn:
            convert_sync_batchnorm(method)
        self.method: Method = method.to(device)
        if recipe.channels_last:
            self.method.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.timeline: Timeline = build_timeline(self.method, self.index, recipe)
        self.stepper = Stepper(self.method, recipe, device)
        self.ema = EMA(self.method, recipe.ema) if recipe.ema else None
        self.step = 0
        self.least_loss = math.inf
        self._pending: tuple[int, Outcome] | None = None
        self._restore()

    @property
    def workers(self) -> int:
        """Processes that read and prepare."""
        return default_workers(self.device) if self.recipe.workers is None else self.recipe.workers

    @property
    def prepare_in_workers(self) -> bool:
        """On the CPU the workers also apply the drawn numbers, unless the method needs its network for that."""
        return self.device.type == "cpu" and not self.method.prepare_on_device

    def fit(self, monitor: Monitor) -> None:
        """Train from where the run stands to the end."""
        monitor.start(self.method, self.index, self.held_out, self.recipe, self.workers)
        self.method.train()
        saved = time.monotonic()
        for deliveries in self._steps(monitor):
            batches = [self.on_device(delivery) for delivery in deliveries if delivery.batch is not None]
            # A process that lacks a micro-batch cannot take part in the exchange of gradients: all skip together.
            lacking = len(batches) < len(deliveries) if world_size() > 1 else not batches
            skip, failures = agree(lacking, [failure for delivery in deliveries for failure in delivery.failures])
            monitor.failures(self.step, failures)
            if skip:
                monitor.skipped(self.step)
            else:
                outcome = self._train(batches)
                # The numbers of a step are read one step later, so that the device never waits for the log.
                self._settle(monitor)
                self._pending = (self.step, outcome)
                if self.device.type == "cpu":
                    self._settle(monitor)
            self.step += 1
            if monitor.health_due(self.step):
                self._keep_best(monitor.look(self.method, self.step, self.device), monitor)
            if time.monotonic() - saved >= self.recipe.checkpoint * 60 and self.step < self.timeline.steps:
                self._settle(monitor)
                self.save()
                saved = time.monotonic()
        self._settle(monitor)
        self.save()
        monitor.end(self.step)

    def _train(self, batches: list[Batch]) -> Outcome:
        outcome = self.stepper.step(batches, self.step, self._lr(self.step))
        if self.ema:
            self.ema.update(self.method, self.step)
        return outcome

    def _settle(self, monitor: Monitor) -> None:
        """Check and log the outcome of the last step; nothing is ever saved before it is settled."""
        if self._pending is None:
            return
        (step, outcome), self._pending = self._pending, None
        if self.device.type != "cpu":
            self.stepper.check(outcome, step)
        monitor.step(step, outcome, self._lr(step))

    def _lr(self, step: int) -> float:
        line = self.timeline
        return self.recipe.optimiser.lr * lr_factor(self.recipe.schedule, step, line.steps_per_epoch, line.steps)

    def _steps(self, monitor: Monitor) -> Iterator[list[Delivery]]:
        """The micro-batches of each step that is still to do; the time spent waiting for them is measured."""
        requests = self.timeline.requests(self.step, rank(), world_size())
        deliveries = deliver(
            self.method,
            self.index,
            requests,
            seed=self.recipe.seed,
            workers=self.workers,
            prepare=self.prepare_in_workers,
        )
        while True:
            with monitor.waiting():
                found = list(islice(deliveries, self.recipe.accumulate))
            if not found:
                return
            yield found

    def on_device(self, delivery: Delivery) -> Batch:
        """The delivered batch, prepared, where the network is."""
        assert delivery.batch is not None
        if self.prepare_in_workers:
            return delivery.batch
        batch: Batch = {name: value.to(self.device, non_blocking=True) for name, value in delivery.batch.items()}
        return self.method.prepare(batch, request_generator(self.recipe.seed, delivery.request, self.device))

    def _keep_best(self, loss: float | None, monitor: Monitor) -> None:
        """With choose=best, keep the weights with the least held-out loss so far apart from the checkpoints."""
        if self.recipe.choose == "best" and loss is not None and loss < self.least_loss:
            self._settle(monitor)
            self.least_loss = loss
            self.save(self.folder / BEST, validation=loss)

    def save(self, folder: Path | None = None, **state: float) -> None:
        """Write a checkpoint (one process does), in another `folder` instead of those before it."""
        if rank() == 0:
            save_checkpoint(
                folder or self.folder,
                self.step,
                model=self.method.state_dict(),
                training=self.stepper.state_dict(),
                state={
                    "epoch": self.timeline.clock(self.step).epoch,
                    "threads": torch.get_num_threads(),
                    "versions": versions(),
                    **state,
                },
                ema=self.ema.module.state_dict() if self.ema else None,
                keep=1 if folder else self.recipe.keep,
            )

    def _restore(self) -> None:
        found = checkpoints(self.folder)
        if found:
            newest = found[-1]
            state = read_json(newest / "state.json")
            self.step = int(state["step"])
            if self.recipe.threads is None and self.device.type == "cpu":
                # The last bits depend on the number of threads: keep it, also on a machine with other cores.
                torch.set_num_threads(int(state["threads"]))
            load_weights(self.method, load_tensors(newest / "model.safetensors"), newest)
            self.stepper.load_state_dict(load_training_state(newest, self.device))
            if self.ema:
                load_weights(self.ema.module, load_tensors(newest / "ema.safetensors"), newest)
        for best in checkpoints(self.folder / BEST):
            self.least_loss = float(read_json(best / "state.json")["validation"])
        # Also without a checkpoint: a run that was killed before its first one begins anew, and so does its journal.
        if rank() == 0:
            rewind(self.folder / "metrics.jsonl", self.step)
            rewind(self.folder / "quarantine.jsonl", self.step)


def _setup(method: Method, index: Index, folder: Path, workers: int) -> None:
    """One process makes the pass over the data; the others find its result in the run folder."""
    if rank() == 0:
        method.setup(index, folder=folder, workers=workers)
    barrier()
    if rank() > 0:
        method.setup(index, folder=folder, workers=workers)


def cores() -> int:
    """Processors that this process may use: its share where torchrun started several on the machine."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, found // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def default_workers(device: torch.device) -> int:
    """Reading processes: half the cores beside a network on the CPU, most of them beside one on a GPU."""
    return max(1, cores() // 2) if device.type == "cpu" else max(1, min(16, cores() - 1))


@contextmanager
def cpu_threads(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Leave cores to the workers: threads that wait for each other on a full machine cost more than they do."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(recipe.threads or max(1, cores() - default_workers(device)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _claim(folder: Path, recipe: Recipe, manifest: Manifest, *, resume: bool) -> None:
    """Make the run folder, or check that it is the one to resume."""
    if rank() > 0:
        return
    if _unused(folder):
        write_atomic(folder / "data.json", _data_json(manifest))
        manifest.write(folder / "data.parquet")
        write_atomic(folder / "recipe.yaml", recipe.to_yaml())
        return
    if not (folder / "recipe.yaml").is_file():
        raise RecipeError(f"{folder} exists and is no run folder: choose another with -o")
    if not resume:
        raise RecipeError(f"{folder} holds a run already: go on with --resume, or choose another folder with -o")
    _check_same(folder, recipe, manifest)


def _unused(folder: Path) -> bool:
    """True where nothing is, or no more than is left of a run that was killed while it made its folder."""
    entries = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    visible = {name for name in entries if not name.startswith(".")}
    return not visible or ("data.json" in visible and visible <= {"data.json", "data.parquet"})


FREE_ON_RESUME = {"workers", "checkpoint", "keep", "health"}
"""What a resumed run may change, because no weight depends on it."""


def _check_same(folder: Path, recipe: Recipe, manifest: Manifest) -> None:
    before = read_run_recipe(folder, recipe.method)
    # The best weights are looked for whenever the features are.
    free = FREE_ON_RESUME - ({"health"} if recipe.choose == "best" else set())
    changed = [
        f"{name} was {getattr(before, name)!r}, now {getattr(recipe, name)!r}"
        for name in before.__dataclass_fields__
        if name not in free and getattr(before, name) != getattr(recipe, name)
    ]
    if changed:
        raise RecipeError(f"{folder} was started with another recipe ({'; '.join(changed)}): resume with the same")
    digest = read_json(folder / "data.json")["digest"]
    if digest != manifest.digest():
        raise DataError(f"{folder} was started on other data (the manifest's digest differs): resume with the same")


def _data_json(manifest: Manifest) -> str:
    import json

    return json.dumps({"rows": len(manifest), "digest": manifest.digest()}, indent=1)
