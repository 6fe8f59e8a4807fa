"""Rankings, as positions in the corpus, and what makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dse.evaluation.ranking.metrics import Floats

Rows = NDArray[np.intp]  # positions in the corpus


@dataclass(frozen=True)
class Ranking:
    """For each query the documents, best first, as positions in the corpus, and their scores."""

    rows: list[Rows]
    scores: list[Floats]

    def first(self, k: int) -> Ranking:
        """The first k documents of each query."""
        return Ranking([rows[:k] for rows in self.rows], [scores[:k] for scores in self.scores])

    def without(self, left_out: Sequence[int]) -> Ranking:
        """The same without one document of each query; -1 leaves out none."""
        kept = [rows != row for rows, row in zip(self.rows, left_out, strict=True)]
        return Ranking(
            [rows[mask] for rows, mask in zip(self.rows, kept, strict=True)],
            [scores[mask] for scores, mask in zip(self.scores, kept, strict=True)],
        )


def ranked(candidates: Sequence[Rows], scores: Sequence[Floats]) -> Ranking:
    """Order the candidates of each query by score, those of equal score by their place in the corpus."""
    orders = [np.lexsort((rows, -values)) for rows, values in zip(candidates, scores, strict=True)]
    return Ranking(
        [rows[order] for rows, order in zip(candidates, orders, strict=True)],
        [values[order] for values, order in zip(scores, orders, strict=True)],
    )


class Ranker(Protocol):
    """Scores documents for fixed queries and a fixed corpus."""

    def scores(self, candidates: Sequence[Rows]) -> list[Floats]:
        """Scores of each query with its own candidates."""
        ...


@runtime_checkable
class CorpusRanker(Ranker, Protocol):
    """A ranker that is cheap enough for the whole corpus."""

    def best(self, k: int, within: Rows | None = None) -> Ranking:
        """The k best documents of the corpus, or of these rows of it, for each query."""
        ...
