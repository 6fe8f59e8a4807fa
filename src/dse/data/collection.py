"""Retrieval collections: a corpus, queries, and judgements of which document answers which query.

`dse.data.collection_files` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dse.errors import BadDataError

HELD_BACK = ("test",)  # splits that nothing is trained on

Judgements = dict[str, dict[str, int]]  # query id -> document id -> grade; above 0 is relevant


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts with ids: a corpus or a set of queries.

    Attributes:
        ids: One each, distinct.
        texts: What a model reads; a document's title and text joined.
        titles: The titles alone, empty where there is none.
        splits: Which split each belongs to; empty strings where the source names none.
        source: Where they come from, for messages and reports.

    Example:
        >>> queries = Texts(["q1", "q2"], ["open on sunday?", "where is my refund"], splits=["train", "test"])
        >>> len(queries), queries.of_splits(["train"]).ids
        (2, ['q1'])
    """

    ids: list[str]
    texts: list[str]
    titles: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    source: str = "memory"

    def __post_init__(self) -> None:
        """Fill the columns that are optional; refuse columns of unequal lengths."""
        for name in ("titles", "splits"):
            if not getattr(self, name):
                object.__setattr__(self, name, [""] * len(self.ids))
        if len({len(column) for column in (self.ids, self.texts, self.titles, self.splits)}) > 1:
            raise BadDataError(
                f"{self.source} has {len(self.ids)} ids and {len(self.texts)} texts; give each text one id"
            )

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.ids)

    def select(self, rows: Sequence[int]) -> Texts:
        """Return the texts at these positions, in this order."""
        ids, texts, titles, splits = (
            [column[row] for row in rows] for column in (self.ids, self.texts, self.titles, self.splits)
        )
        return Texts(ids, texts, titles, splits, self.source)

    def of_splits(self, names: Sequence[str]) -> Texts:
        """Return the texts of these splits."""
        return self.select([row for row, split in enumerate(self.splits) if split in names])

    def for_training(self) -> Texts:
        """Return the texts of every split but test."""
        return self.select([row for row, split in enumerate(self.splits) if split not in HELD_BACK])


@dataclass(frozen=True, eq=False)
class Collection:
    """A corpus, queries, and judgements of them.

    Attributes:
        corpus: The documents.
        queries: The queries.
        judgements: Grades of documents by query id; empty without any.
        name: For reports.

    Example:
        >>> corpus, queries = Texts(["d1", "d2"], ["a red bicycle", "a tent"]), Texts(["q1"], ["a bike"])
        >>> collection = Collection(corpus, queries, {"q1": {"d1": 1}}, "shop")
        >>> collection.judged().ids
        ['q1']
    """

    corpus: Texts
    queries: Texts
    judgements: Judgements = field(default_factory=dict)
    name: str = "collection"

    def judged(self) -> Texts:
        """Return the queries that have a relevant document: those that ranking metrics are computed on."""
        relevant = {query for query, grades in self.judgements.items() if any(grade > 0 for grade in grades.values())}
        return self.queries.select([row for row, name in enumerate(self.queries.ids) if name in relevant])
