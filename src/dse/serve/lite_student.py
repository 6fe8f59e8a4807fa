"""A student of `dse-lite` as the server uses it: an exported one, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ROUND_TOKENS = 2048  # two batches


class LiteStudent:
    """A `dse.serve.students.Student`.

    Args:
        student: A `dse_lite.Student`.
    """

    label: int | None = None  # there is no index

    def __init__(self, student: Any) -> None:
        self._student = student
        self.fingerprint, self.dimension = student.fingerprint, student.dimension
        self.num_labels, self.label_names = student.num_labels, student.label_names
        self.threshold, self.head, self.dtype = student.threshold, student.head, student.dtype
        self.prompts, self.default_prompt_name = student.prompts, student.default_prompt_name
        self.pair_prompts = student.pair_prompts
        self.limit, self.round_tokens = student.max_length or 2**31, ROUND_TOKENS

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, none left out; for any thread."""
        counts: list[int] = self._student.count_tokens(texts)
        return counts

    def encode(self, texts: list[str], prompt: str) -> np.ndarray:
        """Embeddings (n, d) float32; called by one thread."""
        vectors: np.ndarray = self._student.encode(texts, prompt=prompt)
        return vectors

    def best(self, queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best candidates (n, d) of queries (q, d): raw scores and places (q, k)."""
        scores = np.stack(
            [self.pair_scores(np.broadcast_to(query, candidates.shape), candidates)[:, 0] for query in queries]
        )
        places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, places, axis=1), places

    def pair_scores(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Raw scores of pairs of embeddings (n, d), every class: (n, C)."""
        scores: np.ndarray = self._student.score(left, right)
        return scores

    def one_score(self, raw: np.ndarray) -> np.ndarray:
        """The one score of each pair, (n,)."""
        return raw[:, 0]

    def activate(self, raw: np.ndarray) -> np.ndarray:
        """Scores (n,) as `predict` returns them."""
        scores: np.ndarray = self._student.activation(raw)
        return scores
