"""Rows with embeddings, made without torch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dse.data.arrow_vectors import vectors


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
