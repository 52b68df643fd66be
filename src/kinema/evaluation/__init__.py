"""How good is an encoder? Protocols of the field, baselines, and what a difference is worth.

`evaluate` takes products (encoders) and a manifest, nothing else; every number carries the card that repeats it.
"""

from kinema.evaluation.across import Across, compare_across
from kinema.evaluation.classifier import Classifier, block_depths
from kinema.evaluation.embedded import evaluate_embeddings
from kinema.evaluation.evaluate import evaluate
from kinema.evaluation.evaluated import read_evaluated
from kinema.evaluation.extract import Extraction, FeatureTable, extract, extract_all
from kinema.evaluation.finetune import finetune
from kinema.evaluation.finetune_presets import FINETUNE_PRESETS, FineTune
from kinema.evaluation.protocols import PROTOCOLS, protocol
from kinema.evaluation.rows import Comparison, ResultRow, Results
from kinema.evaluation.settings import EvaluationSettings, with_overrides
from kinema.evaluation.stored import read_embeddings, write_embeddings
from kinema.evaluation.subsets import Subset
from kinema.evaluation.tables import as_markdown, as_rich
from kinema.evaluation.views import PRESETS, clip_indices, view_preset

__all__ = [
    "FINETUNE_PRESETS",
    "PRESETS",
    "PROTOCOLS",
    "Across",
    "Classifier",
    "Comparison",
    "EvaluationSettings",
    "Extraction",
    "FeatureTable",
    "FineTune",
    "ResultRow",
    "Results",
    "Subset",
    "as_markdown",
    "as_rich",
    "block_depths",
    "clip_indices",
    "compare_across",
    "evaluate",
    "evaluate_embeddings",
    "extract",
    "extract_all",
    "finetune",
    "protocol",
    "read_embeddings",
    "read_evaluated",
    "view_preset",
    "with_overrides",
    "write_embeddings",
]
