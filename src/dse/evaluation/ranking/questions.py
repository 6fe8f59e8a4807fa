"""Which queries of a collection are ranked for, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dse.data.collection import Collection, Texts
from dse.errors import BadDataError
from dse.evaluation.ranking.rankings import Ranking, Rows


@dataclass(frozen=True)
class Questions:
    """The queries of a collection that are evaluated, and what is known of each.

    Attributes:
        queries: The queries.
        corpus: The documents.
        grades: For each query the grades by document id; empty dictionaries without judgements.
        judged: For each query the rows of its judged documents, in the order of the corpus.
        own: For each query the row of the document that is the query itself; -1 without.
    """

    queries: Texts
    corpus: Texts
    grades: list[dict[str, int]]
    judged: list[Rows]
    own: list[int]

    @property
    def has_judgements(self) -> bool:
        """Whether metrics can be computed."""
        return any(self.grades)

    def ids(self, ranking: Ranking) -> list[list[str]]:
        """The ids of ranked documents."""
        return [[self.corpus.ids[row] for row in rows] for rows in ranking.rows]


def ask(collection: Collection, split: str, pool: bool) -> Questions:
    """Choose the queries of a collection and look up what is known of each.

    Args:
        collection: The collection; queries without a relevant document are left out if it has judgements.
        split: Without judgements: which queries are taken, where the source names splits.
        pool: Whether the judged documents are what is ranked.

    Raises:
        BadDataError: If no query is left, or pools are asked for and there are no judgements.
    """
    corpus, judgements = collection.corpus, collection.judgements
    if pool and not judgements:
        raise BadDataError(f"{collection.name} has no judgements, so there are no judged documents to rank; give them")
    queries = collection.judged() if judgements else _of_split(collection.queries, split)
    if not len(queries):
        raise BadDataError(f"no query of {collection.queries.source} has a relevant document; check the judgements")
    rows = {name: row for row, name in enumerate(corpus.ids)}
    grades = [judgements.get(name, {}) for name in queries.ids]
    return Questions(
        queries,
        corpus,
        grades,
        [np.sort(np.array([rows[document] for document in judged], dtype=np.intp)) for judged in grades],
        [
            own_row(name, text, corpus, rows.get(name, -1)) if name not in judged else -1
            for name, text, judged in zip(queries.ids, queries.texts, grades, strict=True)
        ],
    )


def _of_split(queries: Texts, split: str) -> Texts:
    """The queries of a split; all of them where the source names no splits."""
    if not any(queries.splits):
        return queries
    chosen = queries.of_splits([split])
    if not len(chosen):
        others = ", ".join(sorted(set(queries.splits)))
        raise BadDataError(f"{queries.source} has no query of split {split!r}, only of {others}; choose another split")
    return chosen


def own_row(name: str, text: str, corpus: Texts, row: int) -> int:
    """The row of a document if it is the query itself: the same id, and the query's text in it; else -1.

    The same id alone says nothing, as both sides may be numbered from 1.
    """
    return row if row >= 0 and " ".join(text.split()) in " ".join(corpus.texts[row].split()) else -1
