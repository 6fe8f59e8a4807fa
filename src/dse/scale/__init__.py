"""Work on more rows than one process should do at once: cut into shards, each computed anywhere and written whole.

A killed run goes on with the shards that are missing. `run` decides where they are computed: `map` here, or
`dse.scale.ray_pool` on the workers of a Ray cluster, which import no more of dse than their function needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dse.scale.embedding_files import encode_files
    from dse.scale.matching import match_tables
    from dse.scale.ray_pool import ray_map

_HOME = {"encode_files": "embedding_files", "match_tables": "matching", "ray_map": "ray_pool"}
__all__ = ["encode_files", "match_tables", "ray_map"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"dse.scale.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dse.scale' has no attribute {name!r}")
