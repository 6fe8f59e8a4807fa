"""Work on more rows than one process should do at once: cut into shards, each computed anywhere and written whole.

A killed run goes on with the shards that are missing. `run` decides where they are computed: `map` here, or
`dse.scale.ray_pool` on the workers of a Ray cluster.
"""

from __future__ import annotations

from dse.scale.embedding_files import encode_files
from dse.scale.matching import match_tables

__all__ = ["encode_files", "match_tables"]
