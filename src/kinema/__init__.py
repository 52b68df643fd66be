"""kinema: learn from unlabelled video.

Train a video encoder without labels, prove how good it is, use it. The names below are loaded when first used, so that
`import kinema` costs little more than torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinema.data.manifest import Manifest
    from kinema.data.scan import scan
    from kinema.evaluation.evaluate import evaluate
    from kinema.evaluation.runs import evaluate_run
    from kinema.methods.base import Method
    from kinema.report import write_report
    from kinema.training.checkpoint import load_run
    from kinema.training.loop import pretrain
    from kinema.training.recipe import load_recipe

__version__ = "0.1.0"

_HOMES = {
    "Manifest": "kinema.data.manifest",
    "scan": "kinema.data.scan",
    "evaluate": "kinema.evaluation.evaluate",
    "evaluate_run": "kinema.evaluation.runs",
    "Method": "kinema.methods.base",
    "write_report": "kinema.report",
    "load_run": "kinema.training.checkpoint",
    "pretrain": "kinema.training.loop",
    "load_recipe": "kinema.training.recipe",
}

__all__ = [
    "Manifest",
    "Method",
    "__version__",
    "evaluate",
    "evaluate_run",
    "load_recipe",
    "load_run",
    "pretrain",
    "scan",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kinema' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
