"""dse: turn a slow, accurate cross-encoder into a pair model thousands of times faster at the same job."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dse.distillation import distill
    from dse.index.index import CandidateIndex
    from dse.labelling import label_pairs
    from dse.model import DSE
    from dse.modules import LayerConcat, PairHead
    from dse.tasks import Task, get_task
    from dse.teacher import fit_teacher

# Where each public name lives; imported when first used, so that `dse --help` need not load torch.
_HOME = {
    "CandidateIndex": "dse.index.index",
    "DSE": "dse.model",
    "LayerConcat": "dse.modules",
    "PairHead": "dse.modules",
    "Task": "dse.tasks",
    "get_task": "dse.tasks",
    "distill": "dse.distillation",
    "fit_teacher": "dse.teacher",
    "label_pairs": "dse.labelling",
}
__all__ = [
    "DSE",
    "CandidateIndex",
    "LayerConcat",
    "PairHead",
    "Task",
    "__version__",
    "distill",
    "fit_teacher",
    "get_task",
    "label_pairs",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'dse' has no attribute {name!r}")
