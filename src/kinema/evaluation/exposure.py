"""Did pre-training see the test files, and do the probes?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kinema.data.duplicates import overlap
from kinema.data.manifest import Manifest
from kinema.evaluation.splits import Split


class Exposure(NamedTuple):
    """How far the tested rows were in the pre-training manifest.

    Attributes:
        mark: for result rows: "transductive", "inductive", "none" or "unknown".
        overlap: tested rows whose file was in it.
        compared: how that was established, for example "content hash, and fingerprint".
        near: tested rows whose file was not, but a near-identical one was (re-encoded, rescaled, recoloured).
    """

    mark: str
    overlap: int
    compared: str
    near: int = 0


def shared_with_training(manifest: Manifest, split: Split) -> dict[str, int]:
    """How many test videos of a single split lie, the same or nearly, in its training part too.

    Nothing over folds, and nothing of files that were not scanned: names and sizes alone accuse too easily.

    Segments of one file are counted: whether they may be divided is for the reader to say.
    """
    if not split.single or "hash" not in manifest.columns:
        return {}
    fold = split.folds[0]
    shared = overlap(manifest.select(fold.test), manifest.select(fold.train))
    return {"identical in training": len(shared.identical), "near-identical in training": len(shared.near)}


def exposure(manifest: Manifest, tested: Iterable[int], pretraining: Manifest | None) -> Exposure:
    """Mark a result "transductive" where any tested row's video was trained on, itself or a near-identical one.

    Without a pre-training manifest: "unknown".
    """
    if pretraining is None:
        return Exposure("unknown", 0, "no pre-training manifest was given")
    shared = overlap(manifest, pretraining, tested)
    mark = "transductive" if shared.identical or shared.near else "inductive"
    return Exposure(mark, len(shared.identical), shared.compared, len(shared.near))
