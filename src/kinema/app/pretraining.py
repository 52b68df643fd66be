"""What `kinema pretrain` prints before it trains."""

from __future__ import annotations

from pathlib import Path

from kinema.data.index import Index
from kinema.data.manifest import Manifest
from kinema.methods.base import Method
from kinema.methods.registry import is_outside
from kinema.training.distributed import choose_device
from kinema.training.estimate import estimate_memory
from kinema.training.loop import default_workers
from kinema.training.recipe import Recipe
from kinema.training.rows import chosen_rows
from kinema.training.timeline import build_timeline


def default_run_folder(method: str, data: Path) -> Path:
    """runs/METHOD-DATA, for example runs/sts-my for `sts` on my.parquet."""
    name = method.partition(":")[2].lower() if is_outside(method) else method
    return Path("runs") / f"{name}-{data.stem or data.name}"


def dry_run(recipe: Recipe, manifest: Manifest) -> None:
    """Print the resolved recipe, samples, steps and a memory estimate; train nothing, write nothing."""
    method = recipe.build()
    manifest.require(method.columns, f"method '{recipe.method}'")
    manifest = chosen_rows(manifest, recipe).train
    index = method.index(manifest)
    device = choose_device(recipe.device)
    # A curriculum orders its samples by a pass over the data, which a dry run does not make: all are counted.
    timeline = build_timeline(method, index, recipe)
    memory = estimate_memory(method, recipe)
    hours = _hours(method, index)
    workers = default_workers(device) if recipe.workers is None else recipe.workers
    print(recipe.to_yaml())
    print(f"videos      {len(manifest):,} rows, {hours:.2f} hours")
    short = f", {index.short:,} too short and left out" if index.short else ""
    print(f"samples     {len(index):,} per epoch{short}")
    print(f"steps       {timeline.steps:,} ({len(timeline.epoch_steps)} epochs, batch {recipe.batch})")
    print(f"parameters  {sum(p.numel() for p in method.parameters()):,}")
    print(
        f"memory      about {_gigabytes(memory.total)} (weights and optimiser {_gigabytes(memory.weights)}, "
        f"activations {_gigabytes(memory.activations)})"
    )
    print(f"device      {device}, {workers} reading processes")


def _hours(method: Method, index: Index) -> float:
    """Of the videos; of cached sequences, whose videos may be elsewhere, of what the samples are drawn from."""
    if "path" not in method.columns:
        return float((index.ends - index.starts).sum()) / 3600
    return sum(end - start for start, end in map(index.manifest.bounds, range(len(index.manifest)))) / 3600


def _gigabytes(value: int) -> str:
    return f"{value / 2**30:.2f} GiB"
