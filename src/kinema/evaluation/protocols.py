"""The protocols by name."""

from __future__ import annotations

from kinema.errors import RecipeError, suggest
from kinema.evaluation.neighbours import KNN
from kinema.evaluation.probes import LINEAR
from kinema.evaluation.retrieving import RETRIEVAL
from kinema.evaluation.tasks import Protocol

PROTOCOLS = {found.name: found for found in (*KNN, *LINEAR, *RETRIEVAL)}
_SHORT = {"linear-sgd": "linear-sgd:coclr_features", "retrieval": "retrieval:benchmark"}


def protocol(name: str) -> Protocol:
    """The protocol called `name`; "linear-sgd" and "retrieval" are short for their first preset.

    Raises:
        RecipeError: there is none.
    """
    full = _SHORT.get(name, name)
    if full not in PROTOCOLS:
        raise RecipeError(f"there is no protocol called '{name}'.{suggest(name, [*PROTOCOLS, *_SHORT])}")
    return PROTOCOLS[full]
