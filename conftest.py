"""Gives the docstring examples in `src/dse` the fixtures of the tests."""

from __future__ import annotations

from tests.conftest import backbone, encoder, models, pairs, sentences, student, teacher, transfer_data

__all__ = ["backbone", "encoder", "models", "pairs", "sentences", "student", "teacher", "transfer_data"]
