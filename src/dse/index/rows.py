"""Rows from files and from memory, as Arrow tables an index can take; every row is checked before it is written."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dse.errors import BadDataError
from dse.index.layout import EMBEDDING, ID, RESERVED, SCOUT, TEXT, vectors

Rows: TypeAlias = str | os.PathLike[str] | pa.Table | pa.RecordBatchReader | Iterable[Mapping[str, Any]] | Iterable[str]
FORMATS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")


def text_id(text: str) -> str:
    """The id of a text that came without one: the same text has the same id.

    Example:
        >>> text_id("a red bicycle")
        '4bd60e89e78c05c57aa93360aedaf72a'
    """
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_rows(
    rows: Rows, batch_size: int, types: Mapping[str, pa.DataType], names: Mapping[str, str]
) -> Iterator[tuple[pa.Table, str]]:
    """Cut rows into batches.

    Args:
        rows: A file (.parquet .csv .tsv .jsonl .ndjson; ``"-"`` is jsonl on stdin), an Arrow table or reader,
            mappings with ``id``, ``text`` and columns of the user's, or texts, whose hash becomes their id.
        batch_size: Rows of a batch.
        types: Of the columns an index has already; files are read accordingly.
        names: What the source calls ``id``, ``text`` or ``embedding``.

    Yields:
        Checked tables with columns ``id``, ``text``, the user's and, where given, ``embedding`` (fp16), and where each
        came from.

    Raises:
        BadDataError: At the first row that cannot be used, naming it.
    """
    if isinstance(rows, str | os.PathLike):
        source, tables = str(rows), _file(rows, types, names)
    elif isinstance(rows, pa.Table):
        source, tables = "rows", iter(rows.to_reader(max_chunksize=batch_size))
    elif isinstance(rows, pa.RecordBatchReader):
        source, tables = "rows", iter(rows)
    else:
        source, tables = "rows", _records(rows, batch_size, types)
    start = 1
    for table in _cut(tables, batch_size):
        where = f"{source}, rows {start} to {start + table.num_rows - 1}"
        yield _checked(table, source, start, types, names), where
        start += table.num_rows


def _cut(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Tables of exactly `size` rows, but for the last."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, size - count)
            batch = batch.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count == size:
                yield pa.Table.from_batches(held)
                held, count = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _records(rows: Iterable[Any], batch_size: int, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    held: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str):
            row = {ID: text_id(row), TEXT: row}
        elif not isinstance(row, Mapping):
            raise BadDataError(f"row {number} is {type(row).__name__}; give texts, or mappings with 'id' and 'text'.")
        held.append(dict(row))
        if len(held) == batch_size:
            yield from _batch(held, number, types).to_batches()
            held = []
    if held:
        yield from _batch(held, number, types).to_batches()


def _batch(rows: list[dict[str, Any]], last: int, types: Mapping[str, pa.DataType]) -> pa.Table:
    columns = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values, types.get(name) if name != EMBEDDING else None)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            first = last - len(rows) + 1
            raise BadDataError(
                f"rows {first} to {last}: column {name!r} cannot be read"
                f"{' as ' + str(types[name]) if name in types else ''} ({str(error).splitlines()[0]}); correct it."
            ) from error
    return pa.table(columns)


def _file(
    path: str | os.PathLike[str], types: Mapping[str, pa.DataType], names: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    text = {names.get(name, name): pa.string() for name in (ID, TEXT)}
    known = {name: kind for name, kind in types.items() if name not in (*RESERVED, *text)} | text
    suffix = ".jsonl" if path == "-" else Path(path).suffix.lower()
    if path != "-" and not Path(path).is_file():
        raise BadDataError(f"there is no file {path}; check the path.")
    if suffix not in FORMATS:
        raise BadDataError(f"{path} is in no known format; convert it to one of {' '.join(FORMATS)}.")
    stream = sys.stdin.buffer if path == "-" else str(path)
    try:
        if suffix == ".parquet":
            from pyarrow import parquet

            with parquet.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=8192)
        elif suffix in (".csv", ".tsv"):
            from pyarrow import csv

            quoted = {} if suffix == ".csv" else {"delimiter": "\t", "quote_char": False}
            yield from csv.open_csv(
                stream,
                parse_options=csv.ParseOptions(newlines_in_values=suffix == ".csv", **quoted),
                convert_options=csv.ConvertOptions(
                    column_types=known, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
                ),
            )
        else:
            from pyarrow import json

            yield from json.open_json(stream, parse_options=json.ParseOptions(explicit_schema=pa.schema(known.items())))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadDataError(f"{path} cannot be read ({str(error).splitlines()[0]}); correct it.") from error


def _checked(
    table: pa.Table, source: str, start: int, types: Mapping[str, pa.DataType], names: Mapping[str, str]
) -> pa.Table:
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
        column = table[name]
        if name == ID and pa.types.is_integer(column.type):
            column = column.cast(pa.string())
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise BadDataError(f"{source}: column {name!r} holds {column.type}, not text.")
        if column.null_count:
            row = start + pc.index(pc.is_null(column), True).as_py()
            raise BadDataError(f"{source}, row {row}: {name} is missing; add it or leave the row out.")
        table = table.set_column(table.column_names.index(name), name, column.cast(pa.string()))
    empty = pc.index(pc.equal(table[ID], ""), True).as_py()
    if empty >= 0:
        raise BadDataError(f"{source}, row {start + empty}: the id is empty; give every row one.")
    if EMBEDDING in table.column_names:
        at = table.column_names.index(EMBEDDING)
        table = table.set_column(at, EMBEDDING, _embeddings(table[EMBEDDING], source, start, types[EMBEDDING]))
    return _typed(table, source, start, types)


def _embeddings(column: pa.ChunkedArray, source: str, start: int, kind: pa.DataType) -> pa.Array:
    """Prepared embeddings as fp16; refused where they have another width or cannot be represented."""
    width = kind.list_size
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    lengths = pc.list_value_length(column)
    wrong = pc.index(pc.fill_null(pc.not_equal(lengths, width), True), True).as_py()
    if wrong >= 0:
        raise BadDataError(
            f"{source}, row {start + wrong}: the embedding has {lengths[wrong].as_py()} values, the index {width}; "
            "embed it with the student of the index."
        )
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), width)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(halves).all(axis=1))
    if len(bad):
        raise BadDataError(f"{source}, row {start + bad[0]}: the embedding holds NaN or values beyond 65,504.")
    return vectors(halves)


def _typed(table: pa.Table, source: str, start: int, types: Mapping[str, pa.DataType]) -> pa.Table:
    """The user's columns in the types the index has.

    What it has not yet keeps its own type; a column without any value has none, and is left out until one comes.
    """
    for name in table.column_names:
        if name in (ID, TEXT, EMBEDDING):
            continue
        if name in (SCOUT, "score") or name.startswith("_"):
            raise BadDataError(f"{source}: the name {name!r} is taken; call that column something else.")
        column, kind = table[name], types.get(name)
        if kind is None and pa.types.is_null(column.type):
            table = table.drop_columns([name])
        elif kind is not None and column.type != kind:
            try:
                table = table.set_column(table.column_names.index(name), name, column.cast(kind))
            except pa.ArrowException as error:
                raise BadDataError(
                    f"{source}, from row {start}: column {name!r} holds {column.type} ({str(error).splitlines()[0]}), "
                    f"the index {kind}; convert it."
                ) from error
    return table


def without_repeats(table: pa.Table, keep: str, where: str) -> pa.Table:
    """Each id once: its first row (``keep="first"``, the rows must agree) or its last (``keep="last"``)."""
    ids = table[ID].to_pylist()
    order: dict[str, int] = {}
    for row, name in enumerate(ids):
        if keep == "last":
            order[name] = row
        elif order.setdefault(name, row) != row and not same_rows(table.slice(row, 1), table.slice(order[name], 1)):
            raise BadDataError(f"{where}: the id {name!r} stands for different rows; give each row its own.")
    return table if len(order) == len(ids) else table.take(pa.array(order.values()))


def same_rows(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables hold the same text and columns of the user's; columns that one lacks count as empty."""
    names = [
        name for name in dict.fromkeys([*left.column_names, *right.column_names]) if name not in (EMBEDDING, SCOUT)
    ]
    return all(_cells(left, name) == _cells(right, name) for name in names)


def _cells(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows


def select_ids(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    """Rows of a table in the order of these ids, all of which it has."""
    return table.take(pc.index_in(pa.array(ids, pa.string()), value_set=table[ID].combine_chunks()))
