"""Retrieval collections: a corpus, queries, and judgements of which document answers which query.

Read from parquet, csv, tsv, jsonl, TREC qrels, a folder in the layout of BEIR, or the hub; every row is checked before
any work starts, and a bad one is reported as `file:row: what is wrong`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from dse.data.sources import column_names
from dse.data.tables import FORMATS, Table, is_text, open_table, open_text
from dse.errors import BadDataError

ID_COLUMNS = ("id", "_id", "doc_id", "docid", "corpus-id", "query_id", "query-id", "qid")
TEXT_COLUMNS = ("text", "document", "passage", "contents", "body", "query", "question", "sentence")
QUERY_ID_COLUMNS = ("query_id", "query-id", "qid", "query")
DOCUMENT_ID_COLUMNS = ("doc_id", "corpus-id", "corpus_id", "docid", "document_id", "pid")
GRADE_COLUMNS = ("relevance", "score", "label", "grade", "rel")
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
        """Fill the columns that are optional; refuse unequal lengths and ids that occur twice."""
        for name in ("titles", "splits"):
            if not getattr(self, name):
                object.__setattr__(self, name, [""] * len(self.ids))
        if len({len(column) for column in (self.ids, self.texts, self.titles, self.splits)}) > 1:
            raise BadDataError(f"{self.source} has {len(self.ids)} ids and {len(self.texts)} texts; give one id a text")

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.ids)

    def select(self, rows: Sequence[int]) -> Texts:
        """Return the texts at these positions, in this order."""
        columns = ([column[row] for row in rows] for column in (self.ids, self.texts, self.titles, self.splits))
        return Texts(*columns, source=self.source)

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


def load_corpus(source: str | os.PathLike[str]) -> Texts:
    r"""Read a corpus: columns id, title (optional) and text.

    Args:
        source: A file (.parquet .csv .tsv .jsonl .ndjson), or a folder with ``corpus.*``.

    Returns:
        The documents in the order of the source; title and text are joined by a line end.

    Raises:
        BadDataError: If the source cannot be read, has no texts, or an id or text is missing or occurs twice.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "corpus.jsonl")
        ...     _ = file.write_text('{"_id": "1", "title": "Returns", "text": "within 30 days"}\n')
        ...     load_corpus(file).texts
        ['Returns\nwithin 30 days']
    """
    return _load_texts(_file(source, "corpus"), "documents")


def load_queries(source: str | os.PathLike[str]) -> Texts:
    """Read queries: columns id and text, optionally split (train, dev, test, unlabelled).

    Args:
        source: A file as `load_corpus` takes it, a .txt file with one query a line, or a folder with ``queries.*``.

    Returns:
        The queries in the order of the source.

    Raises:
        BadDataError: As `load_corpus`.
    """
    path = _file(source, "queries")
    if path.suffix.lower() == ".txt":
        with open_text(path) as lines:
            texts = [line.rstrip("\r\n") for line in lines]
        rows = ((number, (str(number), text, "", "")) for number, text in enumerate(texts, start=1))
        return _checked_texts(rows, str(path), "queries")
    return _load_texts(path, "queries")


def load_judgements(source: str | os.PathLike[str], collection: Collection, split: str | None = None) -> Judgements:
    r"""Read judgements: columns query_id, doc_id, relevance, optionally split; or a TREC file of qrels.

    Args:
        source: A file; ``.trec``, ``.qrels`` and ``.txt`` are read as TREC's ``query 0 document grade``; a folder with
            ``qrels.*`` or, as BEIR has it, ``qrels/SPLIT.tsv``.
        collection: The documents and queries that are judged.
        split: Only judgements of this split, where the source names splits.

    Returns:
        Grades by query and document.

    Raises:
        BadDataError: If a judgement names an unknown query or document, or a grade is no whole number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> collection = Collection(Texts(["d1", "d2"], ["a red bicycle", "a tent"]), Texts(["q1"], ["a bike"]))
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "test.qrels")
        ...     _ = file.write_text("q1 0 d1 2\n")
        ...     load_judgements(file, collection)
        {'q1': {'d1': 2}}
    """
    path = _judgement_file(source, split)
    rows = _trec_rows(path) if path.suffix.lower() in (".trec", ".qrels", ".txt") else _judgement_rows(path, split)
    queries, documents = set(collection.queries.ids), set(collection.corpus.ids)
    judgements: Judgements = {}
    for number, (query, document, grade) in rows:
        if query not in queries:
            _refuse(path, number, f"judges query {query!r}, which {collection.queries.source} does not hold; add it")
        if document not in documents:
            _refuse(
                path, number, f"judges document {document!r}, which {collection.corpus.source} does not hold; add it"
            )
        try:
            judgements.setdefault(query, {})[document] = int(float(grade))
        except (TypeError, ValueError):
            _refuse(path, number, f"has the grade {grade!r}; give a whole number, 0 for not relevant")
    if not judgements:
        raise BadDataError(f"{path} holds no judgement{f' of split {split!r}' if split else ''}; give another file")
    return judgements


def load_collection(folder: str | os.PathLike[str], split: str = "test") -> Collection:
    """Read corpus, queries and judgements from one folder: BEIR's layout, or three files corpus, queries, qrels.

    Args:
        folder: Holds ``corpus.*``, ``queries.*`` and ``qrels.*`` or ``qrels/SPLIT.tsv``.
        split: Whose judgements are read.

    Raises:
        BadDataError: As `load_corpus` and `load_judgements`.
    """
    collection = Collection(load_corpus(folder), load_queries(folder), name=Path(folder).name)
    return Collection(
        collection.corpus, collection.queries, load_judgements(folder, collection, split), collection.name
    )


def _file(source: str | os.PathLike[str], stem: str) -> Path:
    path = Path(source)
    if not path.is_dir():
        if not path.is_file():
            raise BadDataError(f"there is no file or folder {path}; check the path")
        return path
    files = [path / f"{stem}{suffix}" for suffix in FORMATS if (path / f"{stem}{suffix}").is_file()]
    if len(files) != 1:
        what = f"no {stem}.*" if not files else f"{files[0].name} and {files[1].name}"
        raise BadDataError(f"{path} has {what}; give one file of {' '.join(FORMATS)}")
    return files[0]


def _judgement_file(source: str | os.PathLike[str], split: str | None) -> Path:
    of_split = Path(source) / "qrels" / f"{split}.tsv"  # BEIR
    return of_split if of_split.is_file() else _file(source, "qrels")


def _load_texts(path: Path, what: str) -> Texts:
    table = open_table(path)
    names = [
        column_names(table, ID_COLUMNS, "ids"),
        column_names(table, TEXT_COLUMNS, "texts"),
        *(name for name in ("title", "split") if name in table.columns),
    ]
    optional = [name for name in ("title", "split") if name in table.columns]

    def rows() -> Iterator[tuple[int, Any]]:
        for number, cells in table.read(names):
            if isinstance(cells, str):
                _refuse(path, number, f"{cells}; correct it")
            more = dict(zip(optional, cells[2:], strict=True))
            yield number, (cells[0], cells[1], more.get("title") or "", more.get("split") or "")

    return _checked_texts(rows(), str(path), what)


def _checked_texts(rows: Iterator[tuple[int, Any]], source: str, what: str) -> Texts:
    first_row: dict[str, int] = {}
    texts, titles, splits = [], [], []
    for number, (name, text, title, split) in rows:
        if name is None or str(name) == "":
            _refuse(source, number, "has no id; give every row one")
        if not isinstance(text, str) or not isinstance(title, str) or not is_text(text + title):
            _refuse(source, number, "has no text; give text in every row" if text is None else "holds no valid text")
        joined = f"{title}\n{text}" if title and text else title or text
        if not joined.strip():
            _refuse(source, number, "has an empty text; leave the row out")
        if str(name) in first_row:
            _refuse(source, number, f"repeats the id {name!r} of row {first_row[str(name)]}; give each row its own")
        first_row[str(name)] = number
        texts.append(joined)
        titles.append(title)
        splits.append(str(split))
    if not texts:
        raise BadDataError(f"{source} holds no {what}; give a file with one a row")
    return Texts(list(first_row), texts, titles, splits, source)


def _judgement_rows(path: Path, split: str | None) -> Iterator[tuple[int, tuple[str, str, Any]]]:
    table: Table = open_table(path)
    names = [
        column_names(table, QUERY_ID_COLUMNS, "ids of queries"),
        column_names(table, DOCUMENT_ID_COLUMNS, "ids of documents"),
        column_names(table, GRADE_COLUMNS, "grades"),
    ]
    names += ["split"] if split is not None and "split" in table.columns else []
    for number, cells in table.read(names):
        if isinstance(cells, str):
            _refuse(path, number, f"{cells}; correct it")
        if len(cells) == 3 or cells[3] == split:
            yield number, (str(cells[0]), str(cells[1]), cells[2])


def _trec_rows(path: Path) -> Iterator[tuple[int, tuple[str, str, Any]]]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            cells = line.split()
            if len(cells) == 4:
                yield number, (cells[0], cells[2], cells[3])
            elif cells:
                _refuse(path, number, f"has {len(cells)} columns where TREC's qrels have 4: query 0 document grade")


def _refuse(source: Path | str, row: int, problem: str) -> NoReturn:
    raise BadDataError(f"{source}:{row}: {problem}")
