"""A candidate index on disk: rows in Lance, a scout that keeps a shortlist, and the pair head that scores it.

`dse.index.store` and what it imports need no torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from dse.errors import need_extra

need_extra("lance", "index")  # the distribution is called pylance; `lance` on PyPI is another package

# Lance reads these when it is imported. It would warn of every empty partition, and list all centroids in statistics.
os.environ.setdefault("LANCE_LOG", "error")
os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")

__all__ = ["CandidateIndex", "ShardedIndex"]


_HOME = {"CandidateIndex": "candidate_index", "ShardedIndex": "shards.sharded_index"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"dse.index.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dse.index' has no attribute {name!r}")
