"""A candidate index that lasts: rows on disk, a scout that finds a shortlist, the pair head that scores it."""

from __future__ import annotations

import os
from typing import Any

# Lance reads these when it is imported. It would warn of every empty partition, and list all centroids at each look.
os.environ.setdefault("LANCE_LOG", "error")
os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")

__all__ = ["CandidateIndex"]


def __getattr__(name: str) -> Any:  # `dse.index.store` alone needs no torch
    if name == "CandidateIndex":
        from dse.index.candidate_index import CandidateIndex

        return CandidateIndex
    raise AttributeError(f"module 'dse.index' has no attribute {name!r}")
