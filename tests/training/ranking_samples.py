"""Texts on five subjects, and a teacher's vectors that a tiny student can learn to follow."""

from __future__ import annotations

import itertools

import numpy as np

from tests.samples import SUBJECT_OF, SUBJECTS

CORPUS = [
    *SUBJECT_OF,
    *(f"{a} {b}" for texts in SUBJECTS.values() for a, b in itertools.combinations(texts, 2)),
]  # 75 documents
QUERIES = [f"{b} {a}" for texts in SUBJECTS.values() for a, b in itertools.combinations(texts, 2)][::2]  # 25


def make_vectors(texts: list[str], seed: int = 0) -> np.ndarray:
    """Texts of one subject point the same way, (m, 6)."""
    random = np.random.default_rng(seed)
    subjects = np.array([next(s for known, s in SUBJECT_OF.items() if text.startswith(known)) for text in texts])
    vectors = np.concatenate([2 * np.eye(5)[subjects], np.ones((len(texts), 1))], axis=1)
    return (vectors + 0.2 * random.normal(size=vectors.shape)).astype(np.float32)


VECTORS = make_vectors([*CORPUS, *QUERIES])
