"""Read retrieval collections: three files (corpus, queries, judgements), the folder layout of BEIR, or the hub.

Every row is checked before any work starts; a bad one is reported as `file:row: what is wrong`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dse.data.cells import as_id, as_number, is_absent
from dse.data.collection import Collection, Judgements, Texts
from dse.data.collection_rows import (
    MAPPED,
    Named,
    Names,
    known_column,
    named_columns,
    refuse,
    rows_of,
    texts_of_lines,
    texts_of_table,
    trec_rows,
)
from dse.data.hub import open_hub
from dse.data.tables import FORMATS, Table, open_table
from dse.errors import BadDataError

Source = str | os.PathLike[str]

QUERY_ID_COLUMNS = ("query_id", "query-id", "qid", "query")
DOCUMENT_ID_COLUMNS = ("doc_id", "corpus-id", "corpus_id", "docid", "document_id", "pid", "document")
GRADE_COLUMNS = ("relevance", "score", "label", "grade", "rel")
TREC = (".trec", ".qrels", ".run", ".txt")  # files in TREC's layout: columns between blanks, no header


def load_corpus(source: Source, columns: Names | None = None) -> Texts:
    r"""Read a corpus: columns id, title (optional) and text.

    Args:
        source: A file (.parquet .csv .tsv .jsonl .ndjson, or .txt with one text a line, whose number is its id), a
            folder with ``corpus.*``, or the name of a hub data set with a configuration ``corpus``.
        columns: Names of columns where the source has others: ``{"id": "number", "text": "answer"}``.

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
    with named_columns(columns) as named:
        return _load_texts(source, "corpus", "documents", named)


def load_queries(source: Source, columns: Names | None = None) -> Texts:
    """Read queries: columns id and text, optionally split (train, dev, test, unlabelled).

    Args:
        source: As `load_corpus` takes it, with ``queries`` for ``corpus``.
        columns: As `load_corpus` takes them.

    Returns:
        The queries in the order of the source.

    Raises:
        BadDataError: As `load_corpus`.
    """
    with named_columns(columns) as named:
        return _load_texts(source, "queries", "queries", named)


def load_judgements(
    source: Source, collection: Collection, split: str | None = None, columns: Names | None = None
) -> Judgements:
    r"""Read judgements: columns query_id, doc_id, relevance, optionally split; or a TREC file of qrels.

    Args:
        source: A file, of which ``.trec``, ``.qrels`` and ``.txt`` are read as TREC's ``query 0 document grade``; a
            folder with ``qrels.*`` or, as BEIR has it, ``qrels/SPLIT.tsv``; or the name of a hub data set, whose
            judgements are in ``NAME-qrels``.
        collection: The documents and queries that are judged.
        split: Only judgements of this split, where the source names splits, or else the queries do. If the queries of
            all judgements are of others, ``"test"`` means all of them.
        columns: Names of columns where the source has others, for ``query_id``, ``doc_id``, ``relevance``, ``split``.

    Returns:
        Grades by query and document.

    Raises:
        BadDataError: If a judgement names an unknown query or document, a grade is no whole number or contradicts an
            earlier one, or the split has no judgements.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> collection = Collection(Texts(["d1", "d2"], ["a red bicycle", "a tent"]), Texts(["q1"], ["a bike"]))
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "test.qrels")
        ...     _ = file.write_text("q1 0 d1 2\n")
        ...     load_judgements(file, collection)
        {'q1': {'d1': 2}}
    """
    with named_columns(columns) as named:
        return _load_judgements(source, collection, split, named)


def _load_judgements(source: Source, collection: Collection, split: str | None, named: Named) -> Judgements:
    name, rows = _judgement_rows(source, split, named)
    queries, documents = set(collection.queries.ids), set(collection.corpus.ids)
    judgements: Judgements = {}
    splits: dict[str, None] = {}
    of_no_split: set[str] = set()
    for number, (query, document, cell, own_split) in rows:
        splits[own_split] = None
        if split is not None and own_split not in ("", split):
            continue
        if not own_split:
            of_no_split.add(query)
        if query not in queries:
            refuse(name, number, f"judges query {query!r}, {_unknown(collection.queries)}")
        if document not in documents:
            refuse(name, number, f"judges document {document!r}, {_unknown(collection.corpus)}")
        grade = _grade(cell)
        if grade is None:
            refuse(name, number, f"has the grade {cell!r}; give a whole number, 0 for not relevant")
        if judgements.setdefault(query, {}).setdefault(document, grade) != grade:
            refuse(name, number, f"judges document {document!r} for query {query!r} again, differently; leave one out")
    if split is not None and of_no_split and collection.queries.splits:
        split_of = dict(zip(collection.queries.ids, collection.queries.splits, strict=True))
        splits |= {split_of[query]: None for query in judgements}
        judgements = _by_query(judgements, of_no_split, split_of, split)
    if not judgements:
        others = ", ".join(repr(other) for other in splits if other)
        which = f" of split {split!r}, only of {others}" if others else ""
        raise BadDataError(f"{name} holds no judgements{which}; choose another split or file")
    return judgements


def _unknown(texts: Texts) -> str:
    return f"which is not in {texts.source}; add it there, or leave the row out"


def _by_query(judgements: Judgements, of_no_split: set[str], split_of: Mapping[str, str], split: str) -> Judgements:
    """Without those of queries of other splits, where the judgement names none."""
    kept = {q: grades for q, grades in judgements.items() if q not in of_no_split or split_of[q] in ("", split)}
    return kept if kept or split != "test" else judgements


def load_collection(
    corpus: Source,
    queries: Source | None = None,
    judgements: Source | None = None,
    *,
    split: str = "test",
    columns: Names | None = None,
) -> Collection:
    r"""Read corpus, queries and judgements: each from a source of its own, or all from one folder or hub data set.

    Args:
        corpus: As `load_corpus` takes it.
        queries: As `load_queries` takes it; by default the same folder or hub data set.
        judgements: As `load_judgements` takes it; by default the same folder or hub data set as ``queries`` if that
            is given, else as ``corpus``, and none where it holds no judgements.
        split: Whose judgements are read. Without judgements, queries of it must be there, unless it is ``"test"``.
        columns: Names of columns, in whichever of the sources has them: for ``id``, ``title``, ``text`` and ``split``,
            and of judgements for ``query_id``, ``doc_id`` and ``relevance``. Of several, as in
            ``{"id": ["sku", "number"]}``, each source takes the first that it has.

    Raises:
        BadDataError: As `load_corpus` and `load_judgements`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "corpus.csv").write_text("id,text\nd1,a red bicycle\nd2,a tent\n")
        ...     _ = Path(folder, "queries.txt").write_text("a bike\n")
        ...     _ = Path(folder, "qrels.csv").write_text("query_id,doc_id,relevance,split\n1,d1,1,test\n")
        ...     load_collection(folder).judgements
        {'1': {'d1': 1}}
    """
    shared = corpus if queries is None else queries
    if queries is None and Path(corpus).is_file():
        raise BadDataError(f"{corpus} is a file of documents; name the queries too, or a folder that holds both")
    name = collection_name(corpus)
    with named_columns(columns) as named:
        documents = _load_texts(corpus, "corpus", "documents", named)
        unjudged = Collection(documents, _load_texts(shared, "queries", "queries", named), name=name)
        if judgements is None:
            judgements = next((source for source in (shared, corpus) if _has_judgements(source)), None)
        if judgements is None:
            _need_split(unjudged.queries, split)
            return unjudged
        return replace(unjudged, judgements=_load_judgements(judgements, unjudged, split, named))


def _need_split(queries: Texts, split: str) -> None:
    """Refuse a split that was asked for and that no query belongs to."""
    if split != "test" and split not in queries.splits:
        others = ", ".join(repr(name) for name in dict.fromkeys(queries.splits) if name)
        known = f"only of {others}" if others else "and no column names splits"
        raise BadDataError(f"{queries.source} holds no queries of split {split!r}, {known}; choose another split")


def collection_name(corpus: Source) -> str:
    """Name of a collection: of its file, of the folder of a file that is called corpus, or of the hub data set.

    Example:
        >>> collection_name("some/hub-name")
        'hub-name'
    """
    path = Path(corpus)
    if path.is_file():
        return path.resolve().parent.name if path.stem.lower() == "corpus" else path.stem
    return path.resolve().name if path.is_dir() else path.name


# ------------------------------------------------------------------------------------------------------- sources


def local_file(source: Source, stem: str) -> Path | None:
    """The file of a source that lies here; None for the name of a hub data set."""
    path = Path(source)
    if source == "-":
        raise BadDataError(f"standard input is not read for {stem}; write it to a file")
    if path.is_dir():
        suffixes = dict.fromkeys([*FORMATS, *(TREC if stem == "qrels" else ())])
        files = [path / f"{stem}{suffix}" for suffix in suffixes if (path / f"{stem}{suffix}").is_file()]
        if len(files) != 1:
            problem = f"no {stem}.*" if not files else f"{files[0].name} and {files[1].name}"
            raise BadDataError(f"{path} has {problem}; give one file of {' '.join(suffixes)}")
        return files[0]
    if path.is_file():
        return path
    if path.is_absolute() or path.suffix.lower() in (*FORMATS, *TREC) or not isinstance(source, str):
        raise BadDataError(f"there is no file or folder {path}; check the path")
    return None


def _load_texts(source: Source, stem: str, what: str, named: Named) -> Texts:
    path = local_file(source, stem)
    if path is not None and path.suffix.lower() == ".txt":
        return texts_of_lines(path, what)
    table = open_hub(str(source), stem, (stem, "train")) if path is None else open_table(path)
    return texts_of_table(named(table), what)


def _has_judgements(source: Source) -> bool:
    path = Path(source)
    if path.is_dir():
        return (path / "qrels").is_dir() or any(path.glob("qrels.*"))
    return local_file(source, "qrels") is None  # a hub data set


def _judgement_rows(
    source: Source, split: str | None, named: Named
) -> tuple[str, Iterator[tuple[int, tuple[str, str, Any, str]]]]:
    """Name of a source, and its rows of query, document, grade and split; the split is empty where none is named."""
    folder = Path(source) / "qrels"
    if folder.is_dir():  # BEIR
        path: Path | None = folder / f"{split or 'test'}.tsv"
        if path and not path.is_file():
            names = " ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
            raise BadDataError(f"{folder} has no {path.name}, only {names}; choose another split")
    else:
        path = local_file(source, "qrels")
    if path is not None and path.suffix.lower() in TREC:
        cells = trec_rows(path, ("query", "0", "document", "grade"))
        return str(path), ((number, (row[0], row[2], row[3], "")) for number, row in cells)
    table = open_table(path) if path is not None else open_hub(f"{source}-qrels", None, (split or "test",))
    of_one = path is None or folder.is_dir()  # which is the split that was asked for
    return table.name, _table_judgements(named(table), (split or "test") if of_one else "")


def _table_judgements(table: Table, default: str) -> Iterator[tuple[int, tuple[str, str, Any, str]]]:
    names = [
        known_column(table, QUERY_ID_COLUMNS, "ids of queries", remedy=MAPPED.format("query_id=NAME")),
        known_column(table, DOCUMENT_ID_COLUMNS, "ids of documents", remedy=MAPPED.format("doc_id=NAME")),
        known_column(table, GRADE_COLUMNS, "grades", remedy=MAPPED.format("relevance=NAME")),
        *(name for name in ("split",) if name in table.columns),
    ]
    for number, cells in rows_of(table, names):
        query, document = as_id(cells[0]), as_id(cells[1])
        if query is None or document is None:
            refuse(table.name, number, f"has {cells[document is None]!r} for an id; give a text or a whole number")
        split = default if len(cells) < 4 or is_absent(cells[3]) or cells[3] == "" else as_id(cells[3])
        if split is None:
            refuse(table.name, number, f"has {cells[3]!r} for a split; give its name")
        yield number, (query, document, cells[2], split)


def _grade(cell: Any) -> int | None:
    value = as_number(cell)
    return int(value) if math.isfinite(value) and value == int(value) else None
