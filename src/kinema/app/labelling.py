"""`kinema labels`: the motion and appearance labels of every clip, in a table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinema.app.progress import progress_bar
from kinema.data.manifest import Manifest
from kinema.data.sample import Batch, tensor
from kinema.errors import RecipeError
from kinema.methods.statistics import StatisticsMethod, centre_clips
from kinema.randomness import torch_generator
from kinema.targets.statistics import APPEARANCE_NAMES, MOTION_NAMES
from kinema.training.loop import cores
from kinema.training.recipe import Recipe


def labels_to_file(recipe: Recipe, manifest: Manifest, out: Path) -> int:
    """Compute the labels of every clip of an epoch on its centre crop and write them to `out`.

    The table (Parquet, or CSV by the suffix) has the columns path, start and end (seconds after the first frame) and
    the 27 labels under the paper's symbols, 1-based; empty where a clip without motion has none. Clips that cannot be
    read are left out and named.

    Returns:
        Number of clips that could not be read.

    Raises:
        RecipeError: a method without such labels.
    """
    method = recipe.build()
    if not isinstance(method, StatisticsMethod):
        raise RecipeError(f"method '{recipe.method}' has no motion and appearance labels; sts and mas have")

    index = method.index(manifest)
    rows: list[dict[str, Any]] = []
    failures = []
    workers = cores() if recipe.workers is None else recipe.workers
    with progress_bar("labelling") as tick:
        for delivery in centre_clips(method, index, partial(_labels, method), workers):
            failures += delivery.failures
            if delivery.batch is not None:
                samples = tensor(delivery.batch, "sample").numpy()
                values = _named(delivery.batch)
                for place, i in enumerate(samples):
                    where = {"path": manifest.row(int(index.rows[i]))["path"]}
                    where |= {"start": float(index.starts[i]), "end": float(index.ends[i])}
                    rows.append(where | {name: column[place] for name, column in values.items()})
            tick(len(rows) + len(failures), len(index))
    Manifest.from_rows(rows, manifest.root).write(out)
    print(f"{len(rows):,} clips of {len(manifest):,} videos, {len(MOTION_NAMES) + len(APPEARANCE_NAMES)} labels: {out}")
    for failure in failures[:5]:
        print(f"left out: {failure.path}: {failure.reason}")
    return len(failures)


def _labels(method: StatisticsMethod, batch: Batch) -> Batch:
    return method.prepare(batch, torch_generator("labels"))


def _named(batch: Batch) -> dict[str, list[int | None]]:
    """Columns of labels by the paper's symbols; None where a motion label says nothing."""
    motion, valid, appearance = (tensor(batch, name).numpy() for name in ("motion", "motion_valid", "appearance"))
    found = {name: _column(motion[:, k], valid[:, k]) for k, name in enumerate(MOTION_NAMES)}
    everywhere = np.ones(len(appearance), bool)
    return found | {name: _column(appearance[:, k], everywhere) for k, name in enumerate(APPEARANCE_NAMES)}


def _column(values: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_]) -> list[int | None]:
    return [int(value) if counts else None for value, counts in zip(values, valid, strict=True)]
