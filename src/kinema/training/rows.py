"""Which rows of a manifest a run trains on, and which it holds out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinema.data.fractions import fraction_rows
from kinema.data.manifest import Manifest
from kinema.errors import DataError
from kinema.randomness import numpy_generator
from kinema.training.recipe import Recipe


class Rows(NamedTuple):
    """The parts of a manifest.

    Attributes:
        train: the rows trained on.
        held_out: those of the pretext's own validation; None where there are none.
        used: both, in the order of the manifest.
    """

    train: Manifest
    held_out: Manifest | None
    used: Manifest


def chosen_rows(manifest: Manifest, recipe: Recipe) -> Rows:
    """Hold out `validation` of the groups, then take `fraction` of the other files.

    So runs on different fractions are measured on the same held-out videos.

    Raises:
        DataError: nothing would be left to train on, or a file has no time of recording to order by.
    """
    train, held = _held_out(manifest, recipe)
    if recipe.fraction < 1:
        order = fraction_rows(manifest.select(train), recipe.fraction, by=recipe.fraction_by, seed=recipe.seed)
        train = train[order]
    used = manifest.select(np.sort(np.concatenate([train, held])))
    return Rows(manifest.select(train), manifest.select(held) if len(held) else None, used)


def _held_out(manifest: Manifest, recipe: Recipe) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows inside and outside, whole groups together where the manifest has groups."""
    every = np.arange(len(manifest))
    if not recipe.validation:
        return every, every[:0]
    # Segments of one file are one group.
    groups = [str(group) for group in manifest.column("group" if "group" in manifest.columns else "path")]
    names = sorted(set(groups))
    order = numpy_generator(recipe.seed, "validation").permutation(len(names))
    held = {names[k] for k in order[: max(1, round(recipe.validation * len(names)))]}
    outside = np.array([group in held for group in groups])
    if outside.all():
        raise DataError(f"validation={recipe.validation} holds out every row: lower it or add videos")
    return every[~outside], every[outside]
