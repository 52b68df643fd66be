"""How good is an encoder? Protocols of the field, baselines, and what a difference is worth.

`evaluate` takes products (encoders) and a manifest, nothing else; every number carries the card that repeats it.
"""

from kinema.evaluation.evaluate import evaluate
from kinema.evaluation.extract import Extraction, FeatureTable, extract
from kinema.evaluation.protocols import PROTOCOLS, protocol
from kinema.evaluation.rows import Comparison, ResultRow, Results
from kinema.evaluation.settings import EvaluationSettings
from kinema.evaluation.supervised import Supervised
from kinema.evaluation.tables import as_markdown, as_rich
from kinema.evaluation.views import PRESETS, clip_indices, view_preset

__all__ = [
    "PRESETS",
    "PROTOCOLS",
    "Comparison",
    "EvaluationSettings",
    "Extraction",
    "FeatureTable",
    "ResultRow",
    "Results",
    "Supervised",
    "as_markdown",
    "as_rich",
    "clip_indices",
    "evaluate",
    "extract",
    "protocol",
    "view_preset",
]
