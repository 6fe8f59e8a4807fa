"""Scores from elsewhere in a teacher's place: what they are compared on, and a scorer that looks them up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dse.data.collection import Texts
from dse.data.lists import Lists
from dse.evaluation.ranking.questions import Questions


class GivenScores:
    """Scores of pairs that were given; it knows no others.

    Args:
        lists: Queries, their documents and the scores.

    Example:
        >>> given = GivenScores(Lists(["a bike"], [["a red bicycle", "a tent"]], [np.array([4.1, -2.0])]))
        >>> given.predict([("a bike", "a tent")]).tolist()
        [-2.0]
    """

    def __init__(self, lists: Lists) -> None:
        self._scores = {
            (query, document): float(score)
            for query, documents, scores in zip(lists.queries, lists.candidates, lists.scores, strict=True)
            for document, score in zip(documents, scores, strict=True)
        }

    def predict(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """The score of each pair, (n,)."""
        return np.array([self._scores[query, document] for query, document in pairs])


def questions_of(lists: Lists, corpus: Texts) -> Questions:
    """The queries of lists, each with its documents as the pool that is ranked; none is judged."""
    places: dict[str, int] = {}
    for row, text in enumerate(corpus.texts):
        places.setdefault(text, row)
    return Questions(
        Texts([str(number) for number in range(len(lists))], lists.queries, source=lists.source),
        corpus,
        [{} for _ in lists.queries],
        [np.sort(np.array([places[text] for text in texts], dtype=np.intp)) for texts in lists.candidates],
        [-1] * len(lists),
    )
