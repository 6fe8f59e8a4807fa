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


def score_of(query: str, document: str) -> float:
    """A teacher's score of a pair: whether both are on one subject, and how many words they share."""
    one, other = (
        next((s for known, s in SUBJECT_OF.items() if text.startswith(known)), -1) for text in (query, document)
    )
    return 3.0 * (one == other) + 0.1 * len(set(query.split()) & set(document.split()))


class SubjectTeacher:
    """An object with ``predict``, which notes what it was asked."""

    def __init__(self, slope: float = 1.0, fingerprint: str | None = None) -> None:
        self.slope, self.asked = slope, []
        if fingerprint is not None:
            self.fingerprint = fingerprint

    def predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        """The scores, as a list."""
        self.asked += pairs
        return [self.slope * score_of(*pair) for pair in pairs]


def make_lists(size: int = 12, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of the queries some documents and their scores."""
    random = np.random.default_rng(seed)
    rows = [random.permutation(len(CORPUS))[:size] for _ in QUERIES]
    return [(own, np.array([score_of(q, CORPUS[row]) for row in own])) for q, own in zip(QUERIES, rows, strict=True)]


LISTS = make_lists()
