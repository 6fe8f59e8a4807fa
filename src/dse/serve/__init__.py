"""A student and its index behind HTTP: rerank, score, embed and search, in the shapes that clients already speak.

`create_app` makes the ASGI application; `dse.serve.server` runs it as a process.
"""

from __future__ import annotations

from dse.serve.app import create_app
from dse.serve.settings import Settings

__all__ = ["Settings", "create_app"]
