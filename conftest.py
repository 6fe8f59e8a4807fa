"""Gives the docstring examples in `src/dse` the fixtures of the tests."""

from __future__ import annotations

from importlib.util import find_spec

from tests.conftest import backbone, encoder, models, pairs, sentences, student, teacher, transfer_data

__all__ = ["backbone", "encoder", "models", "pairs", "sentences", "student", "teacher", "transfer_data"]

# The adapters of frameworks that are not installed here cannot be imported.
FRAMEWORKS = {"langchain": "langchain_core", "llama_index": "llama_index", "haystack": "haystack", "lancedb": "lancedb"}
collect_ignore = [
    f"src/dse/integrations/{name}.py" for name, package in FRAMEWORKS.items() if find_spec(package) is None
]
