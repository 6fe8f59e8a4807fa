"""Lists: a query, candidates and a teacher's score of each. Ranking is distilled from them.

Read from a file of pairs, from the list columns of sentence-transformers, or from a TREC run.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.data.cells import as_id, as_number
from dse.data.collection import Collection, Texts
from dse.data.collection_files import TREC, Source, local_file
from dse.data.collection_rows import known_column, refuse, rows_of, trec_rows
from dse.data.tables import Table, open_table
from dse.errors import BadDataError

logger = logging.getLogger(__name__)

QUERY_TEXTS = ("query", "question", "anchor", "sentence1")
QUERY_IDS = ("query_id", "query-id", "qid")
DOCUMENT_TEXTS = (
    "document",
    "documents",
    "doc",
    "docs",
    "passage",
    "passages",
    "candidates",
    "text",
    "answer",
    "sentence2",
)
DOCUMENT_IDS = ("doc_id", "corpus-id", "corpus_id", "docid", "document_id", "pid", "doc_ids", "corpus-ids")
SCORES = ("score", "scores", "label", "labels", "relevance")


@dataclass(frozen=True, eq=False)
class Lists:
    """Queries, each with candidates and a teacher's score of each candidate.

    Attributes:
        queries: The texts of the queries, distinct.
        candidates: For each query the texts of its candidates, distinct.
        scores: For each query the scores of its candidates, float64, (m,); higher is better, on any scale.
        source: Where they come from, for messages and reports.

    Example:
        >>> lists = Lists(["a bike"], [["a red bicycle", "a tent"]], [np.array([4.1, -2.0])])
        >>> len(lists), lists.pairs
        (1, 2)
    """

    queries: list[str]
    candidates: list[list[str]]
    scores: list[NDArray[np.float64]]
    source: str = "memory"

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.queries)

    @property
    def pairs(self) -> int:
        """The number of scored pairs."""
        return sum(map(len, self.candidates))


def load_lists(source: Source, collection: Collection | None = None) -> Lists:
    r"""Read lists from a file.

    Args:
        source: A table (.parquet .csv .tsv .jsonl .ndjson) with columns of queries, documents and scores: one pair a
            row, or one query a row with a list of documents and a list of scores, as sentence-transformers has them.
            Or a TREC run (.run, .trec, .txt): ``query Q0 document rank score tag``.
        collection: Where the ids, or the texts, of queries and documents are looked up. Without one, or for queries
            without any in it, the table holds the texts themselves.

    Returns:
        The lists, queries and candidates in the order of their first row. A pair that occurs more than once, which
        documents of equal text make it do, has the mean of its scores.

    Raises:
        BadDataError: If a query or document is not in the collection, a score is no finite number, or no list has two
            candidates of different scores.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "scores.jsonl")
        ...     _ = file.write_text('{"query": "a bike", "docs": ["a bicycle", "a tent"], "scores": [4, -2]}\n')
        ...     load_lists(file).candidates
        [['a bicycle', 'a tent']]
    """
    path = local_file(source, "scores")
    if path is None:
        raise BadDataError(f"there is no file {source}; check the path")
    queries, corpus = (None, None) if collection is None else (collection.queries or None, collection.corpus)
    query_of, document_of = (str if texts is None else _lookup(texts) for texts in (queries, corpus))
    lists: dict[str, dict[str, list[float]]] = {}
    for number, (query, document, cell) in _rows(path, queries is not None, corpus is not None):
        score = _number(cell)
        if score is None:
            refuse(path, number, f"has the score {cell!r}; give a finite number, of labels 1 for right and 0 for wrong")
        try:
            query, document = query_of(query), document_of(document)
        except KeyError as error:
            refuse(path, number, f"scores {error.args[0]}; add it there, or leave the row out")
        lists.setdefault(query, {}).setdefault(document, []).append(score)
    if not lists:
        raise BadDataError(f"{path} holds no scores; give a file with a scored pair, or a list, a row")
    differ = sum(len(set(values)) > 1 for scored in lists.values() for values in scored.values())
    if differ:
        logger.warning("%s scores %d pairs more than once, not alike; each has the mean of its scores", path, differ)
    scores = [np.array([np.mean(values) for values in scored.values()]) for scored in lists.values()]
    if not any(np.ptp(values) > 0 for values in scores):
        raise BadDataError(
            f"{path} gives all candidates of a query the same score, for every query, so nothing can be learned from "
            "it; give the teacher's raw scores of several candidates a query"
        )
    return Lists(list(lists), [list(scored) for scored in lists.values()], scores, str(path))


def _rows(path: Path, query_ids: bool, document_ids: bool) -> Iterator[tuple[int, tuple[str, str, Any]]]:
    """Number, query, document and score of each scored pair; queries and documents as the file names them."""
    if path.suffix.lower() in TREC:
        if not query_ids:
            raise BadDataError(f"{path} names queries and documents by id; give the corpus and the queries too")
        for number, cells in trec_rows(path, ("query", "Q0", "document", "rank", "score", "tag")):
            yield number, (cells[0], cells[2], cells[4])
        return
    table = open_table(path)
    for number, (query, documents, scores) in rows_of(table, _columns(table, query_ids, document_ids)):
        if not isinstance(documents, list) and not isinstance(scores, list):
            documents, scores = [documents], [scores]
        if not isinstance(documents, list) or not isinstance(scores, list) or len(documents) != len(scores):
            refuse(path, number, "does not have one score for each document; give lists of equal length")
        for document, score in zip(documents, scores, strict=True):
            yield number, (_name(path, number, query, query_ids), _name(path, number, document, document_ids), score)


def _columns(table: Table, query_ids: bool, document_ids: bool) -> list[str]:
    """The columns of queries, documents and scores; those of ids only where ids can be looked up."""
    return [
        known_column(table, (*QUERY_IDS, *QUERY_TEXTS) if query_ids else QUERY_TEXTS, "queries", QUERY_TEXTS[0]),
        known_column(
            table,
            (*DOCUMENT_IDS, *DOCUMENT_TEXTS) if document_ids else DOCUMENT_TEXTS,
            "documents",
            DOCUMENT_TEXTS[0],
        ),
        known_column(table, SCORES, "scores"),
    ]


def _name(path: Path, number: int, cell: Any, ids: bool) -> str:
    """A cell as the text or id that it is."""
    name = as_id(cell) if ids or isinstance(cell, str) else None
    if not name or not name.strip():
        refuse(path, number, f"has {cell!r} for a query or document; give its text{' or id' if ids else ''}")
    return name


def _lookup(texts: Texts) -> Callable[[str], str]:
    """From an id, or a text, of these texts to the text."""
    by_name = dict(zip(texts.texts, texts.texts, strict=True)) | dict(zip(texts.ids, texts.texts, strict=True))

    def text_of(name: str) -> str:
        if name not in by_name:
            raise KeyError(f"{name!r}, which is not in {texts.source}")
        return by_name[name]

    return text_of


def _number(cell: Any) -> float | None:
    value = as_number(cell)
    return value if math.isfinite(value) else None
