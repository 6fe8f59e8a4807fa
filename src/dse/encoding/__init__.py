"""Running a transformer over many texts: batches of like length, each text once, in the fastest safe precision.

Also where the offline backbone lies, and the fingerprint by which weights are recognised.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["FastEncoder", "auto_dtype", "fingerprint", "offline_backbone", "resolve_dtype"]

# Imported when it is asked for: the encoder needs sentence-transformers, `dse.encoding.runtime` does not.
_HOME = {
    "FastEncoder": "encoder",
    "auto_dtype": "runtime",
    "fingerprint": "identity",
    "offline_backbone": "offline",
    "resolve_dtype": "runtime",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"dse.encoding.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dse.encoding' has no attribute {name!r}")
