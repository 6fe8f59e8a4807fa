"""Rows of texts with ids, and of judgements: known columns, and errors that name the row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from dse.data.cells import as_id, is_absent
from dse.data.collection import Texts
from dse.data.tables import Table
from dse.data.text_files import is_text, open_text
from dse.errors import BadDataError

MAPPED = ', map it with --columns "{}"'
NAMED = ("id", "title", "text", "split", "query_id", "doc_id", "relevance")
ID_COLUMNS = ("id", "_id", "doc_id", "docid", "corpus-id", "query_id", "query-id", "qid")
TEXT_COLUMNS = ("text", "document", "passage", "contents", "body", "query", "question", "sentence")


Names = Mapping[str, str | Sequence[str]]  # of columns; of several each table has the first that is one of its own
Named = Callable[[Table], Table]  # gives the columns of a table the names that they are looked for by


@contextmanager
def named_columns(given: Names | None) -> Iterator[Named]:
    """Take names that a person gave; at the end each must have been a column of a table.

    Raises:
        BadDataError: If one was not, or is given for something that no table of a collection has.
    """
    names = {ours: [theirs] if isinstance(theirs, str) else list(theirs) for ours, theirs in (given or {}).items()}
    seen = dict[str, list[str]]()
    if unknown := [ours for ours in names if ours not in NAMED]:
        raise BadDataError(f"there is no column role {unknown[0]!r}; map {', '.join(NAMED)}")

    def named(table: Table) -> Table:
        seen[table.name] = table.columns
        found = {ours: [name for name in theirs if name in table.columns] or theirs for ours, theirs in names.items()}
        return table.renamed({ours: theirs[0] for ours, theirs in found.items() if theirs})

    yield named
    known = {name for columns in seen.values() for name in columns}
    if absent := [name for theirs in names.values() for name in theirs if name not in known]:
        raise BadDataError(f"no column is called {absent[0]!r} ({', '.join(seen)}); correct its name in --columns")


def texts_of_lines(path: Path, what: str) -> Texts:
    """The lines of a file as texts; the number of its line is the id of each."""
    with open_text(path) as file:
        rows = ((n, (str(n), line.rstrip("\r\n"), "", "")) for n, line in enumerate(file, start=1))
        return _checked(rows, str(path), what)


def texts_of_table(table: Table, what: str) -> Texts:
    """The texts of a table with columns of ids and texts, and perhaps title and split."""
    optional = [name for name in ("title", "split") if name in table.columns]
    lines = ", or give a .txt with one text a line, which needs no ids"
    names = [
        known_column(table, ID_COLUMNS, "ids", remedy=f"{MAPPED.format('id=NAME,text=NAME')}{lines}"),
        known_column(table, TEXT_COLUMNS, "texts", remedy=MAPPED.format("text=NAME")),
        *optional,
    ]

    def rows() -> Iterator[tuple[int, tuple[Any, ...]]]:
        for number, cells in rows_of(table, names):
            further = dict(zip(optional, cells[2:], strict=True))
            title, split = ("" if is_absent(cell) else cell for cell in map(further.get, ("title", "split")))
            yield number, (cells[0], cells[1], title, split)

    return _checked(rows(), table.name, what)


def _checked(rows: Iterable[tuple[int, tuple[Any, ...]]], source: str, what: str) -> Texts:
    first_row: dict[str, int] = {}
    texts, titles, splits = [], [], []
    for number, (key, text, title, split) in rows:
        name = as_id(key)
        if name is None:
            what_it_has = "no id" if is_absent(key) or key == "" else f"{key!r} for an id"
            refuse(source, number, f"has {what_it_has}; give every row a text or a whole number")
        if split != "" and as_id(split) is None:
            refuse(source, number, f"has {split!r} for a split; give its name")
        if not isinstance(text, str):
            what_it_has = "no text" if is_absent(text) else f"{text!r:.40} for a text"
            refuse(source, number, f"has {what_it_has}; give every row one")
        if not isinstance(title, str):
            refuse(source, number, f"has {title!r:.40} for a title; give a text, or leave it out")
        if not is_text(name + title + text):
            refuse(source, number, "is not valid text; save the file as UTF-8, without lone surrogates")
        joined = f"{title}\n{text}" if title and text else title or text
        if not joined.strip():
            refuse(source, number, "has an empty text; leave the row out")
        if name in first_row:
            refuse(source, number, f"repeats the id {name!r} of row {first_row[name]}; give each row its own")
        first_row[name] = number
        texts.append(joined)
        titles.append(title)
        splits.append(str(split))
    if not texts:
        raise BadDataError(f"{source} holds no {what}; give a file with one a row")
    return Texts(list(first_row), texts, titles, splits, source)


def rows_of(table: Table, names: Sequence[str]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the rows of a table with these columns; a row that cannot be read is an error."""
    for number, cells in table.read(names):
        if isinstance(cells, str):
            refuse(table.name, number, f"{cells}; correct it")
        yield number, cells


def trec_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file in TREC's layout, blank lines left out."""
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            cells = line.split()
            if cells and (len(cells) != len(columns) or not is_text(line)):
                refuse(path, number, f"is no row of TREC's layout; write {' '.join(columns)}")
            if cells:
                yield number, cells


def known_column(table: Table, known: Sequence[str], what: str, advised: str | None = None, *, remedy: str = "") -> str:
    """The first of the known names that a table has as a column, in whatever case; without any, one is advised.

    Raises:
        BadDataError: If it has none of them.
    """
    own = {name.lower(): name for name in table.columns}
    found = next((own[name] for name in known if name in own), None)
    if found is None:
        number, cells = next(iter(table.read(table.columns[:1])), (0, ""))
        if not number:
            raise BadDataError(f"{table.name} holds no rows; give a file with a column of {what}")
        if isinstance(cells, str):  # a row that is no JSON object, say, has no columns
            refuse(table.name, number, f"{cells}; correct it")
        asked = [f" called {table.absent[name]!r}" for name in known if name in table.absent]
        raise BadDataError(
            f"{table.name} has no column of {what}{''.join(asked[:1])}, only {', '.join(table.own) or 'nothing'}; name "
            f"it {(advised or known[0])!r}{remedy}"
        )
    return found


def refuse(source: str | Path, row: int, problem: str) -> NoReturn:
    """Raise an error about one row."""
    raise BadDataError(f"{source}:{row}: {problem}")
