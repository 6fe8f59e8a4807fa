from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dse.index import CandidateIndex, scout
from dse.index.layout import vectors


@pytest.fixture
def index(student, tmp_path):
    return CandidateIndex.create(tmp_path / "index", student)


@pytest.fixture
def small_scout(monkeypatch):
    """Two passes from 300 rows on, as otherwise from 10,000."""
    monkeypatch.setattr(scout, "EXACT_ROWS", 300)
    monkeypatch.setattr(scout, "DEFAULT_SHORTLIST", 128)


def make_embeddings(n: int, seed: int = 0, d: int = 32) -> np.ndarray:
    """Clustered vectors, as sentences are: (n, d) fp16."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((40, d))
    return (centres[generator.integers(0, 40, n)] + 0.4 * generator.standard_normal((n, d))).astype(np.float16)


def prepared(n: int, first: int = 0, seed: int = 0) -> pa.Table:
    """Rows with embeddings; number is the row's own."""
    numbers = range(first, first + n)
    return pa.table(
        {
            "id": [f"row {i}" for i in numbers],
            "text": [f"text of {i}" for i in numbers],
            "number": list(numbers),
            "embedding": vectors(make_embeddings(n, seed)),
        }
    )
