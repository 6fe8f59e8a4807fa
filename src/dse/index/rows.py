"""What an index takes: rows from files and from memory, cut into batches."""

from __future__ import annotations

import hashlib
import logging
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from dse.data.batches import ROWS, read_batches, record_batches, with_common_types
from dse.data.spool import Batch, Place, numbered
from dse.data.text_files import NOT_UTF8, is_text
from dse.errors import BadDataError
from dse.index.column_types import without_nan
from dse.index.layout import EMBEDDING, ID, RESERVED, SCOUT, TEXT
from dse.index.row_checks import CanWiden, checked_table, left_out

logger = logging.getLogger(__name__)

Rows: TypeAlias = str | os.PathLike[str] | pa.Table | pa.RecordBatchReader | Iterable[Mapping[str, Any]] | Iterable[str]


def text_id(text: str) -> str:
    """The id of a text that came without one: the same text has the same id.

    Example:
        >>> text_id("a red bicycle")
        '4bd60e89e78c05c57aa93360aedaf72a'
    """
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_rows(
    rows: Rows,
    batch_size: int,
    types: Mapping[str, pa.DataType],
    names: Mapping[str, str],
    can_widen: CanWiden = lambda name, kind: False,
) -> Iterator[tuple[pa.Table, Place]]:
    """Cut rows into batches.

    Args:
        rows: A file (.parquet .csv .tsv .jsonl .ndjson; ``"-"`` is jsonl on stdin), an Arrow table or reader (or a data
            frame that gives one), mappings with ``id``, ``text`` and columns of the user's, or texts, whose hash
            becomes their id.
        batch_size: Rows of a batch.
        types: Of the columns an index has already.
        names: What the source calls ``id``, ``text`` or ``embedding``.
        can_widen: Whether all stored values of a column fit a wider type. Asked where a value does not fit the type
            that the column has; if so, the column has the wider type from this table on.

    Yields:
        Checked tables with columns ``id``, ``text``, the user's and, where given, ``embedding`` (fp16), and where each
        of their rows came from.

    Raises:
        BadDataError: At the first row that cannot be used, naming it.
    """
    source = str(rows) if isinstance(rows, str | os.PathLike) else "rows"
    types = dict(types)
    warned: set[str] = set()
    for table, place in _cut(_batches(rows, types, names), batch_size):
        for name in left_out(table.column_names, names) - warned:
            warned.add(name)
            logger.warning(
                "%s: its column %r is left out, as %r gives the %s; to keep it, give it another name.",
                source,
                name,
                names[name],
                name,
            )
        table = checked_table(table, place, source, types, names, can_widen)
        yield table, place
        types |= {field.name: field.type for field in table.schema if field.name not in (ID, TEXT, EMBEDDING)}


def _batches(rows: Rows, types: Mapping[str, pa.DataType], names: Mapping[str, str]) -> Iterator[Batch]:
    if isinstance(rows, str | os.PathLike):
        text = {names.get(name, name): pa.string() for name in (ID, TEXT)}
        # Numbers and dates are read as what they are: they may need a wider type than the column has.
        own = {name: kind for name, kind in types.items() if name not in RESERVED and not _has_wider(kind)}
        return read_batches(os.path.expanduser(rows), own | text)
    if hasattr(rows, "__arrow_c_stream__"):
        if hasattr(rows, "columns") or hasattr(rows, "schema"):
            return _arrow_batches(rows)
        rows = pa.chunked_array(rows).to_pylist()  # one column of a data frame: texts
    if isinstance(rows, Mapping) or hasattr(rows, "columns") or not isinstance(rows, Iterable):
        kind = type(rows).__name__  # going through a mapping or a data frame would give its names
        raise BadDataError(f"Rows of type {kind} cannot be read; give a file, an Arrow table, mappings or texts.")
    return with_common_types(record_batches(enumerate(map(_record, rows), start=1), "row ", ROWS))


def _has_wider(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_date(kind))


def _arrow_batches(stream: Any) -> Iterator[Batch]:
    start = 1
    try:
        for rows in pa.RecordBatchReader.from_stream(stream):
            yield Batch(rows, numbered("row ", range(start, start + rows.num_rows)))
            start += rows.num_rows
    except (pa.ArrowException, UnicodeError) as error:  # a type that this Arrow does not know, text that is none
        problem = str(error).splitlines()[0]
        raise BadDataError(f"row {start}: the rows cannot be read as Arrow's ({problem}); convert them.") from error


def _record(row: object) -> Mapping[str, Any] | str:
    if isinstance(row, str):
        return {ID: text_id(row), TEXT: row} if is_text(row) else f"{reprlib.repr(row)} {NOT_UTF8}"
    if isinstance(row, Mapping) and all(isinstance(name, str) for name in row):
        return row
    return f"is {type(row).__name__}, not a text, nor a mapping of names to values with 'id' and 'text'"


def _cut(batches: Iterator[Batch], size: int) -> Iterator[tuple[pa.Table, Place]]:
    """Tables of exactly `size` rows, but for the last, with the places of their rows."""
    held: list[Batch] = []
    count = 0
    for batch, place in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, size - count)
            held.append(Batch(part, partial(_shifted, place, start)))
            start += part.num_rows
            count += part.num_rows
            if count == size:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _shifted(place: Place, start: int, position: int) -> str:
    return place(start + position)


def _joined(parts: list[Batch]) -> tuple[pa.Table, Place]:
    ends = np.cumsum([rows.num_rows for rows, _ in parts])
    starts, places = [0, *ends.tolist()], [place for _, place in parts]  # a place outlives the rows

    def place(position: int) -> str:
        part = int(np.searchsorted(ends, position, side="right"))
        return places[part](position - starts[part])

    return pa.Table.from_batches([rows for rows, _ in parts]), place


def without_repeats(table: pa.Table, keep: str, place: Place) -> tuple[pa.Table, Place]:
    """Each id once: its first row (``keep="first"``, the rows must agree) or its last (``keep="last"``)."""
    ids = table[ID].to_pylist()
    order: dict[str, int] = {}
    for row, name in enumerate(ids):
        if keep == "last":
            order[name] = row
        elif order.setdefault(name, row) != row and not same_rows(table.slice(row, 1), table.slice(order[name], 1)):
            raise different_rows(name, place(order[name]), place(row))
    if len(order) == len(ids):
        return table, place
    kept = np.array(list(order.values()))
    return table.take(pa.array(kept)), lambda position: place(int(kept[position]))


def different_rows(name: str, first: str, second: str) -> BadDataError:
    """The error about an id that occurs twice."""
    return BadDataError(
        f"{second}: the id {name!r:.200} stands for different rows, first for that at {first}; give each row its own."
    )


def same_rows(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables hold the same text and columns of the user's; columns that one lacks count as empty."""
    names = [
        name for name in dict.fromkeys([*left.column_names, *right.column_names]) if name not in (EMBEDDING, SCOUT)
    ]
    return all(_cells(left, name) == _cells(right, name) for name in names)


def _cells(table: pa.Table, name: str) -> list[Any]:
    return without_nan(table[name].to_pylist()) if name in table.column_names else [None] * table.num_rows


def select_ids(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    """Rows of a table in the order of these ids, all of which it has."""
    return table.take(pc.index_in(pa.array(ids, pa.string()), value_set=table[ID].combine_chunks()))
