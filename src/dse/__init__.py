"""dse: turn a slow, accurate cross-encoder into a pair model thousands of times faster at the same job."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dse.data.pairs import Pairs, load_pairs
    from dse.data.tasks import Task, get_task
    from dse.index.candidate_index import CandidateIndex
    from dse.index.shards.sharded_index import ShardedIndex
    from dse.model import DSE
    from dse.modules import LayerConcat, PairHead
    from dse.scale.embedding_files import encode_files
    from dse.scale.matching import match_tables
    from dse.teacher.fit import fit_teacher
    from dse.teacher.labelling import label_pairs
    from dse.teacher.load import load_teacher
    from dse.training.distill import distill
    from dse.training.head_only import fit_head
    from dse.training.losses import Distillation
    from dse.training.settings import Training

# Where each public name lives; imported when first used, so that `dse --help` need not load torch.
_HOME = {
    "CandidateIndex": "dse.index.candidate_index",
    "DSE": "dse.model",
    "Distillation": "dse.training.losses",
    "LayerConcat": "dse.modules",
    "PairHead": "dse.modules",
    "Pairs": "dse.data.pairs",
    "ShardedIndex": "dse.index.shards.sharded_index",
    "Task": "dse.data.tasks",
    "Training": "dse.training.settings",
    "get_task": "dse.data.tasks",
    "encode_files": "dse.scale.embedding_files",
    "distill": "dse.training.distill",
    "fit_head": "dse.training.head_only",
    "fit_teacher": "dse.teacher.fit",
    "label_pairs": "dse.teacher.labelling",
    "match_tables": "dse.scale.matching",
    "load_pairs": "dse.data.pairs",
    "load_teacher": "dse.teacher.load",
}
__all__ = [
    "DSE",
    "CandidateIndex",
    "Distillation",
    "LayerConcat",
    "PairHead",
    "Pairs",
    "ShardedIndex",
    "Task",
    "Training",
    "__version__",
    "distill",
    "encode_files",
    "fit_head",
    "fit_teacher",
    "get_task",
    "label_pairs",
    "load_pairs",
    "load_teacher",
    "match_tables",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'dse' has no attribute {name!r}")
