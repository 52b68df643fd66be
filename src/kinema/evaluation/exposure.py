"""Did pre-training see the test files?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kinema.data.duplicates import overlap
from kinema.data.manifest import Manifest


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


def exposure(manifest: Manifest, tested: Iterable[int], pretraining: Manifest | None) -> Exposure:
    """Mark a result "transductive" where any tested row's video was trained on, itself or a near-identical one.

    Without a pre-training manifest: "unknown".
    """
    if pretraining is None:
        return Exposure("unknown", 0, "no pre-training manifest was given")
    shared = overlap(manifest, pretraining, tested)
    mark = "transductive" if shared.identical or shared.near else "inductive"
    return Exposure(mark, len(shared.identical), shared.compared, len(shared.near))
