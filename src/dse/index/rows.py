"""What an index takes: rows from files and from memory, with every id, text, embedding and type checked first."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from dse.data.batches import ROWS, read_batches, record_batches, with_common_types
from dse.data.columns import checked, common_type, convert
from dse.data.spool import Batch, Place, numbered
from dse.errors import BadDataError
from dse.index.column_types import check_names, finite, storable, without_nan
from dse.index.layout import EMBEDDING, ID, RESERVED, SCOUT, TEXT, vectors

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
    can_widen: Callable[[str, pa.DataType], bool] = lambda name, kind: False,
) -> Iterator[tuple[pa.Table, str]]:
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
        came from.

    Raises:
        BadDataError: At the first row that cannot be used, naming it.
    """
    source = str(rows) if isinstance(rows, str | os.PathLike) else "rows"
    types = dict(types)
    start = 1
    for table, place in _cut(_batches(rows, types, names), batch_size):
        where = f"{source}, rows {start} to {start + table.num_rows - 1}"
        table = _checked(table, place, source, types, names, can_widen)
        yield table, where
        types |= {field.name: field.type for field in table.schema if field.name not in (ID, TEXT, EMBEDDING)}
        start += table.num_rows


def _batches(rows: Rows, types: Mapping[str, pa.DataType], names: Mapping[str, str]) -> Iterator[Batch]:
    if isinstance(rows, str | os.PathLike):
        text = {names.get(name, name): pa.string() for name in (ID, TEXT)}
        return read_batches(
            os.path.expanduser(rows), {name: kind for name, kind in types.items() if name not in RESERVED} | text
        )
    if hasattr(rows, "__arrow_c_stream__"):
        return _arrow_batches(pa.RecordBatchReader.from_stream(rows))
    if isinstance(rows, Mapping) or hasattr(rows, "columns") or not isinstance(rows, Iterable):
        kind = type(rows).__name__  # going through a mapping or a data frame would give its names
        raise BadDataError(f"Rows of type {kind} cannot be read; give a file, an Arrow table, mappings or texts.")
    return with_common_types(record_batches(enumerate(map(_record, rows), start=1), "row ", ROWS))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def _arrow_batches(reader: pa.RecordBatchReader) -> Iterator[Batch]:
    start = 1
    for rows in reader:
        yield Batch(rows, numbered("row ", range(start, start + rows.num_rows)))
        start += rows.num_rows


def _record(row: object) -> Mapping[str, Any] | str:
    if isinstance(row, str):
        return {ID: text_id(row), TEXT: row}
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

    def place(position: int) -> str:
        part = int(np.searchsorted(ends, position, side="right"))
        return parts[part].place(position - int(ends[part]) + parts[part].rows.num_rows)

    return pa.Table.from_batches([rows for rows, _ in parts]), place


def _checked(
    table: pa.Table,
    place: Place,
    source: str,
    types: Mapping[str, pa.DataType],
    names: Mapping[str, str],
    can_widen: Callable[[str, pa.DataType], bool],
) -> pa.Table:
    table = _renamed(table, source, names)
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in (ID, TEXT):
            columns[name] = _text(column, name, place)
        elif name == EMBEDDING:
            columns[name] = _embeddings(column, place, types[EMBEDDING])
        elif (typed := _own(column, name, place, types.get(name), can_widen)) is not None:
            columns[name] = typed
    return pa.table(columns)


def _renamed(table: pa.Table, source: str, names: Mapping[str, str]) -> pa.Table:
    """The table with the index's own names; refused where one is missing or no name for a column."""
    for ours, theirs in names.items():
        if theirs != ours and theirs in table.column_names:
            table = table.drop_columns([ours]) if ours in table.column_names else table
            table = table.rename_columns([ours if name == theirs else name for name in table.column_names])
    for name in (ID, TEXT):
        if name not in table.column_names:
            raise BadDataError(
                f"{source} has no column {names.get(name, name)!r}, only {', '.join(table.column_names)}; name the one "
                f"that holds the {name} ({name}_column=, --{name}-column)."
            )
    check_names(table.column_names, source)
    return table


def _text(column: pa.ChunkedArray, name: str, place: Place) -> pa.ChunkedArray:
    """Ids or texts; integers may be ids."""
    if name == ID and pt.is_integer(column.type):
        column = column.cast(pa.string())
    checked(_validate, column, name, place, "text")
    column = _typed(column, name, place, pa.string())
    if column.null_count:
        raise BadDataError(f"{place(_first(pc.is_null(column)))}: {name} is missing; add it or leave the row out.")
    if name == ID and (empty := _first(pc.equal(column, ""))) >= 0:
        raise BadDataError(f"{place(empty)}: the id is empty; give every row one.")
    return column


def _first(is_true: pa.ChunkedArray) -> int:
    position: int = pc.index(is_true, True).as_py()
    return position


def _embeddings(column: pa.ChunkedArray, place: Place, kind: pa.DataType) -> pa.Array:
    """Prepared embeddings as fp16; refused where they have another width or cannot be represented."""
    width = kind.list_size
    column = pa.concat_arrays(column.chunks)
    lengths = checked(_lengths, column, EMBEDDING, place, str(kind))
    wrong = _first(pc.fill_null(pc.not_equal(lengths, width), True))
    if wrong >= 0:
        raise BadDataError(
            f"{place(wrong)}: the embedding has {lengths[wrong].as_py()} values, the index {width}; "
            "embed it with the student of the index."
        )
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), width)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(halves).all(axis=1))
    if len(bad):
        raise BadDataError(f"{place(int(bad[0]))}: the embedding holds NaN or values beyond 65,504.")
    return vectors(halves)


def _lengths(column: pa.Array) -> pa.Array:
    item = getattr(column.type, "value_type", pa.null())
    if not (pt.is_integer(item) or pt.is_floating(item)):
        raise TypeError(f"it is of type {column.type}")
    return pc.list_value_length(column)


def _own(
    column: pa.ChunkedArray,
    name: str,
    place: Place,
    kind: pa.DataType | None,
    can_widen: Callable[[str, pa.DataType], bool],
) -> pa.ChunkedArray | None:
    """A column of the user's in the type the index has, in a wider one, or, if it is new, in one that it can have.

    A new column without any value has no type, and is left out until a value comes: None.
    """
    checked(_validate, column, name, place, "text")
    column = finite(column, name, place)
    if kind is None:
        return None if pt.is_null(column.type) else _typed(column, name, place, _storable(column.type, name, place))
    try:
        return _typed(column, name, place, kind)
    except BadDataError:
        wider = _wider(kind, column.type)
        if wider is None or wider == kind or not can_widen(name, wider):
            raise
        return _typed(column, name, place, wider)


def _wider(kind: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    try:
        return storable(common_type(kind, other))
    except (ValueError, TypeError, pa.ArrowException):
        return None


def _storable(kind: pa.DataType, name: str, place: Place) -> pa.DataType:
    known = storable(kind)
    if known is None:
        raise BadDataError(
            f"{place(0)}: column {name!r} is of type {kind}, which no index can have; convert it or leave it out."
        )
    return known


def _typed(column: pa.ChunkedArray, name: str, place: Place, kind: pa.DataType) -> pa.ChunkedArray:
    return checked(partial(convert, kind=kind), column, name, place, str(kind))


def _validate(column: pa.ChunkedArray) -> None:
    column.validate(full=True)  # that text is UTF-8, which writers of Parquet and Arrow do not check


def without_repeats(table: pa.Table, keep: str, where: str) -> pa.Table:
    """Each id once: its first row (``keep="first"``, the rows must agree) or its last (``keep="last"``)."""
    ids = table[ID].to_pylist()
    order: dict[str, int] = {}
    for row, name in enumerate(ids):
        if keep == "last":
            order[name] = row
        elif order.setdefault(name, row) != row and not same_rows(table.slice(row, 1), table.slice(order[name], 1)):
            raise different_rows(where, name)
    return table if len(order) == len(ids) else table.take(pa.array(order.values()))


def different_rows(where: str, name: str) -> BadDataError:
    """The error about an id that occurs twice."""
    return BadDataError(f"{where}: the id {name!r} stands for different rows; give each row its own.")


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
