"""Files and records as Arrow batches, read as strictly as by `dse.data.tables`, in constant memory.

The type of a csv, tsv or jsonl column fits the whole file, so such a file is read to its end before the first batch is
returned. Parquet has types and is read batch by batch.
"""

from __future__ import annotations

import csv
import os
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from dse.data.columns import TextColumn, checked, common_type, convert, parse_text
from dse.data.mixtures import refuse_mixtures
from dse.data.spool import Batch, Place, Spool, numbered
from dse.data.tables import Table, json_records, open_table, parquet_batches
from dse.data.text_files import check_plain, is_text, need_file, open_text
from dse.errors import BadDataError

FORMATS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
ROWS = 8192  # in a batch
_BLOCK = 8 << 20  # bytes that Arrow parses at a time; a row must fit

Record = tuple[int, "Mapping[str, Any] | str"]  # a row's number, and its cells or what is wrong with it


def read_batches(source: str | os.PathLike[str], types: Mapping[str, pa.DataType]) -> Iterator[Batch]:
    """Read a file.

    Args:
        source: A file (.parquet .csv .tsv .jsonl .ndjson), or ``"-"`` for jsonl on standard input.
        types: Types to read columns of csv and tsv files as; the types of other columns are inferred.

    Yields:
        The rows in their order, with the same columns in each batch.

    Raises:
        BadDataError: If the source cannot be read or a row cannot be used; the message names the row.
    """
    path = Path(source)
    need_file(source)
    if source == "-":
        yield from _json_batches(json_records(sys.stdin.buffer), "standard input")
    elif (suffix := path.suffix.lower()) not in FORMATS:
        raise BadDataError(f"{path} is in no known format; convert it to one of {' '.join(FORMATS)}")
    elif suffix == ".parquet":
        start = 1
        for rows in parquet_batches(path):
            yield Batch(rows, numbered(f"{path}:", range(start, start + rows.num_rows)))
            start += rows.num_rows
    elif suffix in (".csv", ".tsv"):
        yield from _delimited_batches(path, types)
    else:
        check_plain(path)
        with path.open("rb") as file:
            yield from _json_batches(json_records(file), str(path))


def _json_batches(records: Iterable[Record], name: str) -> Iterator[Batch]:
    return with_common_types(record_batches(records, f"{name}:", ROWS))


def record_batches(records: Iterable[Record], prefix: str, size: int) -> Iterator[Batch]:
    """Make batches of mappings, each with the types of its own values; a key that a row lacks is null there.

    Args:
        records: Rows with their numbers.
        prefix: What messages put before a row's number.
        size: Rows of a batch.

    Raises:
        BadDataError: If a value does not fit those before it in the batch.
    """
    records = iter(records)
    while held := list(islice(records, size)):
        place = numbered(prefix, array("q", [number for number, _ in held]))
        rows: list[Mapping[str, Any]] = []
        for position, (_, record) in enumerate(held):
            if isinstance(record, str):
                raise BadDataError(f"{place(position)}: {record}; correct the row")
            rows.append(record)
        names = list(dict.fromkeys(name for row in rows for name in row))
        if broken := [name for name in names if not is_text(name)]:
            position = next(position for position, row in enumerate(rows) if broken[0] in row)
            raise BadDataError(f"{place(position)}: the name {broken[0]!r} is no text; correct it")
        if not names:
            raise BadDataError(f"{place(0)}: the row has no columns; leave it out")
        columns = [
            checked(_array, [row.get(name) for row in rows], name, place, "one type of values") for name in names
        ]
        yield Batch(pa.record_batch(columns, names=names), place)


def _array(values: list[Any]) -> pa.Array:
    array = pa.array(values, from_pandas=True)  # NaN is a missing value, beside text as well
    refuse_mixtures(values, array.type)
    if pt.is_timestamp(array.type) and any(getattr(value, "nanosecond", 0) > 0 for value in values):
        return pa.array(values, pa.timestamp("ns", array.type.tz), from_pandas=True)
    return array


def with_common_types(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Give every column the type that keeps its values in all the batches.

    Raises:
        BadDataError: If there is no such type, at the first row that does not fit those before it.
    """
    kinds: dict[str, pa.DataType] = {}
    changed = set()
    with Spool() as spool:
        for batch in batches:
            for name, column in zip(batch.rows.schema.names, batch.rows.columns, strict=True):
                before = kinds.get(name, pa.null())
                kinds[name] = _widened(before, column, name, batch.place)
                changed |= {name} if not pa.types.is_null(before) and before != column.type else set()
            spool.add(batch)
        for batch in spool if changed else ():  # whether all values fit is known before the first batch is handed out
            _typed(batch, {name: kinds[name] for name in changed}, convert)
        for batch in spool:
            yield _typed(batch, kinds, convert)


def _widened(kind: pa.DataType, column: pa.Array, name: str, place: Place) -> pa.DataType:
    def widen(part: pa.Array) -> pa.DataType:
        return kind if part.null_count == len(part) < len(column) else common_type(kind, part.type)

    widened: pa.DataType = checked(widen, column, name, place, str(kind))
    return widened


def _typed(batch: Batch, kinds: Mapping[str, pa.DataType], read: Callable[..., pa.Array]) -> Batch:
    """These columns in these types, as `read` converts them; nulls where the batch has no such column."""
    columns = []
    for name, kind in kinds.items():
        if name in batch.rows.schema.names:
            column = batch.rows.column(name)
            columns.append(checked(partial(read, kind=kind), column, name, batch.place, str(kind)))
        else:
            columns.append(pa.nulls(batch.rows.num_rows, kind))
    return Batch(pa.record_batch(columns, names=list(kinds)), batch.place)


def _delimited_batches(path: Path, types: Mapping[str, pa.DataType]) -> Iterator[Batch]:
    table = open_table(path)
    if repeated := [name for name, count in Counter(table.columns).items() if count > 1]:
        raise BadDataError(f"{path}:1: two columns are called {repeated[0]!r}; rename one")
    finders = {name: TextColumn() for name in table.columns if name not in types}
    with Spool() as spool:
        for batch in _csv_texts(path, table) if path.suffix.lower() == ".csv" else _tsv_texts(table):
            for name, finder in finders.items():
                finder.add(batch.rows.column(name))
            spool.add(batch)
        kinds = {name: finders[name].kind if name in finders else types[name] for name in table.columns}
        not_checked = {name: kind for name, kind in kinds.items() if name in types or kind == pa.float64()}
        for batch in spool:  # before the first batch is handed out
            _typed(batch, not_checked, parse_text)
        for batch in spool:
            yield _typed(batch, kinds, parse_text)


def _csv_texts(path: Path, table: Table) -> Iterator[Batch]:
    """Cells as text, null where one is empty and not quoted.

    Python's strict parser checks the rows. Arrow's, lax but fast, reads them: it tells `""` from an empty cell.
    """
    import pyarrow.csv as arrow_csv

    width = len(table.columns)
    try:
        with open_text(path) as file:
            widths = Counter(map(len, csv.reader(file, strict=True)))
        if set(widths) - {width, 0}:
            raise csv.Error("rows differ in their columns")
        start = 0
        for rows in arrow_csv.open_csv(
            str(path),
            read_options=arrow_csv.ReadOptions(block_size=_BLOCK),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=width > 1),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(table.columns, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        ):
            yield Batch(rows, partial(_csv_place, table, start))
            start += rows.num_rows
        blank = widths[0] if width == 1 else 0  # in a table of one column a blank line is an empty cell
        if start != widths[width] + blank - 1:
            raise csv.Error(f"two parsers count {widths[width] + blank - 1} and {start} rows")
    except (csv.Error, pa.ArrowException, UnicodeDecodeError) as error:
        _refuse_bad_row(table)
        raise BadDataError(f"{path} cannot be read ({str(error).splitlines()[0]}); correct it") from error


def _csv_place(table: Table, start: int, position: int) -> str:
    number, _ = next(islice(table.read(()), start + position, None))  # asked for at an error only
    return f"{table.name}:{number}"


def _refuse_bad_row(table: Table) -> None:
    for number, cells in table.read(()):
        if isinstance(cells, str):
            raise BadDataError(f"{table.name}:{number}: {cells}; correct the row")


def _tsv_texts(table: Table) -> Iterator[Batch]:
    rows = iter(table.read(table.columns))
    while held := list(islice(rows, ROWS)):
        if any(isinstance(cells, str) for _, cells in held):
            _refuse_bad_row(table)
        columns = zip(*(cells for _, cells in held), strict=True)
        arrays = [pa.array([cell or None for cell in column], pa.string()) for column in columns]
        place = numbered(f"{table.name}:", array("q", [number for number, _ in held]))
        yield Batch(pa.record_batch(arrays, names=table.columns), place)
