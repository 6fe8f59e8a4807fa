"""Rows of ids and texts from one or several files, read in constant memory, as strictly as by `dse.data.batches`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from dse.data.batches import ROWS, read_batches
from dse.data.columns import check_text, checked, convert
from dse.data.sources import sentence_column
from dse.data.spool import Batch, Place, numbered
from dse.data.tables import Table
from dse.data.text_files import NOT_UTF8, is_text, open_text
from dse.errors import BadDataError

ID = "id"


class TextRows(NamedTuple):
    """Consecutive rows.

    Attributes:
        ids: One each.
        texts: One each.
        place: From a position among these rows to the name of the row in messages: `file:12`.
    """

    ids: list[str]
    texts: list[str]
    place: Place


def read_texts(
    files: Sequence[str | os.PathLike[str]], id_column: str | None = None, text_column: str | None = None
) -> Iterator[TextRows]:
    r"""Read the rows of files, one after the other; each id is to occur once, see `refuse_repeated_ids`.

    Args:
        files: .parquet .csv .tsv .jsonl .ndjson, or .txt with one text a line.
        id_column: Column of the ids. By default `id`; without such a column rows are numbered from 1, over all files.
        text_column: Column of the texts; by default the only one, or one called `text`, `sentence`, ...

    Raises:
        BadDataError: If a file cannot be read, lacks a column, or a row cannot be used; the message names the row.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "bikes.csv")
        ...     _ = file.write_text("id,text\nb1,a red bicycle\nb2,a tent\n")
        ...     [(rows.ids, rows.texts) for rows in read_texts([file])]
        [(['b1', 'b2'], ['a red bicycle', 'a tent'])]
    """
    start = 1
    for file in files:
        if os.fspath(file) == "-":
            raise BadDataError("standard input can be read once, and texts are read twice; write them to a file")
        is_lines = Path(file).suffix.lower() == ".txt" and Path(file).is_file()
        names = {name: pa.string() for name in (id_column or ID, text_column) if name}
        for batch in _lines(Path(file)) if is_lines else read_batches(file, names):
            yield _checked(batch, str(file), id_column, text_column, start)
            start += batch.rows.num_rows


def _lines(path: Path) -> Iterator[Batch]:
    with open_text(path) as file:
        lines = enumerate((line.rstrip("\r\n") for line in file), start=1)
        while held := list(islice(lines, ROWS)):
            place = numbered(f"{path}:", [number for number, _ in held])
            for position, (_, text) in enumerate(held):
                if not is_text(text):
                    raise BadDataError(f"{place(position)}: {NOT_UTF8}; save the file as UTF-8")
            yield Batch(pa.record_batch([pa.array([text for _, text in held], pa.string())], names=["text"]), place)


def _checked(batch: Batch, source: str, id_column: str | None, text_column: str | None, start: int) -> TextRows:
    rows, place = batch
    names = rows.schema.names
    if id_column is not None and id_column not in names:
        raise BadDataError(f"{source} has no column {id_column!r}, only {', '.join(names)}; name that of the ids")
    own = [name for name in names if name != (id_column or ID)]  # an id is no text, whatever its column is called
    text = text_column or sentence_column(Table(source, own, lambda _: ()), None, "--text-column")
    if text not in names:
        raise BadDataError(f"{source} has no column {text!r}, only {', '.join(names)}; name that of the texts")
    texts = _column(rows, text, place)
    if (id_column or ID) not in names:
        ids = [str(number) for number in range(start, start + rows.num_rows)]
    else:
        ids = _column(rows, id_column or ID, place, is_id=True)
    return TextRows(ids, texts, place)


def _column(rows: pa.RecordBatch, name: str, place: Place, is_id: bool = False) -> list[str]:
    column = rows.column(name)
    if is_id and pt.is_integer(column.type):
        column = column.cast(pa.string())
    if not pt.is_null(column.type):
        check_text(column, name, place)
        column = checked(lambda part: convert(part, pa.string()), column, name, place, "text")
    if column.null_count:
        raise BadDataError(f"{place(pc.index(pc.is_null(column), True).as_py())}: {name} is missing; add it")
    values: list[str] = column.to_pylist()
    if is_id and "" in values:
        raise BadDataError(f"{place(values.index(''))}: the id is empty; give every row one")
    return values


class IdCheck:
    """Notices ids that occur twice, in eight bytes an id.

    Example:
        >>> check = IdCheck()
        >>> check.add(["a", "b"]); check.add(["b"])
        >>> check.repeated
        True
    """

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []

    def add(self, ids: Sequence[str]) -> None:
        """Note the ids of further rows."""
        self._hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))

    @property
    def repeated(self) -> bool:
        """Whether two ids are equal, or, hardly ever, have the same hash."""
        hashes = np.sort(np.concatenate(self._hashes)) if self._hashes else np.empty(0, np.int64)
        return bool((hashes[1:] == hashes[:-1]).any())


def refuse_repeated_ids(rows: Iterator[TextRows]) -> None:
    """Find the first id that occurs twice.

    Raises:
        BadDataError: Naming both of its rows.
    """
    first: dict[str, str] = {}
    for part in rows:
        for position, name in enumerate(part.ids):
            where = part.place(position)
            if name in first:
                raise BadDataError(f"{where}: repeats the id {name!r} of {first[name]}; give each row its own")
            first[name] = where
