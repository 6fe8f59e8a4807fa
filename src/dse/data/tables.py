"""The strict reader of csv, tsv, jsonl, Parquet and plain lines: each row with its number, or what is wrong with it.

Text is decoded line by line: bytes that are not valid UTF-8 spoil their own row and no other. `dse.data.batches` gives
the same rows as Arrow batches.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from dse.data.text_files import NOT_UTF8, check_plain, is_text, open_text, text_lines
from dse.errors import BadDataError

# A row's number, and its cells or what is wrong with it. Numbers start at 1: lines of a text file (the header
# counts), rows of anything else.
Row = tuple[int, "tuple[Any, ...] | str"]
_Cells = Iterator[tuple[int, "list[str] | str"]]

# The limit of the csv module is one of the process, 131,072 characters by default; documents may be longer.
csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))


@dataclass(frozen=True)
class Table:
    """A source that has been opened: its columns are known, its rows are read on demand.

    Attributes:
        name: What messages call it.
        columns: Names of the columns.
        read: Takes names of columns, yields every row with just these cells.
        own: What the source calls its columns, for messages.
        absent: Names that were asked for by `renamed` and are none of its columns, by ours.
    """

    name: str
    columns: list[str]
    read: Callable[[Sequence[str]], Iterable[Row]]
    own: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Unless they are renamed, columns are called as in the source."""
        object.__setattr__(self, "own", self.own or self.columns)

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same table under other names of columns: those it has among the values are called as their keys.

        Example:
            >>> table = Table("t.csv", ["nr", "answer", "text"], lambda names: [(1, tuple(names))])
            >>> renamed = table.renamed({"id": "nr", "text": "answer"})
            >>> renamed.columns, list(renamed.read(["id", "text"]))
            (['id', 'text'], [(1, ('nr', 'answer'))])
        """
        theirs = {ours: name for ours, name in names.items() if name in self.columns}
        kept = [name for name in self.columns if name not in theirs.values() and name not in theirs]
        order = [*theirs, *kept]
        absent = {ours: name for ours, name in names.items() if ours not in theirs}
        return replace(
            self, columns=order, read=lambda wanted: self.read([theirs.get(n, n) for n in wanted]), absent=absent
        )


def open_table(path: Path) -> Table:
    """Open a file by its extension.

    Raises:
        BadDataError: If the extension is unknown or the file has no readable header.
    """
    opener = FORMATS.get(path.suffix.lower())
    if opener is None:
        raise BadDataError(f"{path} is in no known format; convert it to one of {' '.join(FORMATS)}")
    return opener(path)


def _csv_cells(lines: Iterator[str]) -> _Cells:
    reader = csv.reader(lines, strict=True)
    start = 1  # a quoted cell may span lines; a row has the number of its first one
    while True:
        try:
            for cells in reader:
                yield start, cells
                start = reader.line_num + 1
            return
        except csv.Error as error:
            yield start, f"is no valid CSV up to line {reader.line_num} ({error})"
            start = reader.line_num + 1


def _tsv_cells(lines: Iterator[str]) -> _Cells:
    # No quoting: GLUE ships unbalanced quotation marks as plain text.
    for number, line in enumerate(lines, start=1):
        text = _without_end(line)
        yield number, text.split("\t") if text else []


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _open_delimited(path: Path, split: Callable[[Iterator[str]], _Cells]) -> Table:
    with open_text(path) as file:
        header = next(split(file), (1, "is missing: the file is empty"))[1]
    if isinstance(header, list) and not all(map(is_text, header)):
        header = NOT_UTF8
    if isinstance(header, str):
        raise BadDataError(f"{path}:1: the header {header}; save the file as UTF-8 with its column names in line 1")

    def read(names: Sequence[str]) -> Iterator[Row]:
        for name in names:
            if header.count(name) > 1:
                raise BadDataError(f"{path}:1: the header has {header.count(name)} columns {name!r}; rename them")
        positions = [header.index(name) for name in names]
        with open_text(path) as file:
            rows = split(file)
            next(rows)
            for number, cells in rows:
                if not cells and len(header) > 1:
                    continue  # a blank line; in a table of one column it is an empty text
                problem = _problem(cells := cells or [""], len(header))
                yield number, problem or tuple([cells[position] for position in positions])

    return Table(str(path), header, read)


def _problem(cells: list[str] | str, width: int) -> str | None:
    """What is wrong with a row of a delimited file."""
    if isinstance(cells, str):
        return cells
    if not all(map(str.isascii, cells)) and not all(map(is_text, cells)):
        return NOT_UTF8
    return None if len(cells) == width else f"has {len(cells)} columns where the header has {width}"


def json_records(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield JSON objects, one a line, each with the number of its line, or what is wrong with it; skip blank lines."""
    for number, line in enumerate(text_lines(stream), start=1):
        if line.strip():
            yield number, _json_record(line)


def _json_record(line: str) -> dict[str, Any] | str:
    if not is_text(line):
        return NOT_UTF8
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is no valid JSON ({error})"
    return record if isinstance(record, dict) else "is no JSON object"


def open_jsonl(stream: BinaryIO, name: str) -> Table:
    """Read JSON objects, one a line. Columns are the keys of all; a key that a row lacks is None there."""
    records = list(json_records(stream))
    columns = dict.fromkeys(key for _, record in records if isinstance(record, dict) for key in record)

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, record in records:
            yield number, record if isinstance(record, str) else tuple(record.get(name) for name in names)

    # Where nothing could be parsed there are no keys; with these names the rows are refused, and not the columns.
    return Table(name, list(columns) or ["sentence1", "sentence2", "label"], read)


def _open_jsonl_file(path: Path) -> Table:
    check_plain(path)
    with path.open("rb") as file:
        return open_jsonl(file, str(path))


def open_lines(stream: BinaryIO, name: str) -> Table:
    """Read plain text as one column, `sentence`: a line is a row, a blank line an empty sentence."""

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, line in enumerate(text_lines(stream), start=1):
            yield number, (_without_end(line),) * len(names)

    return Table(name, ["sentence"], read)


def parquet_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the ``pyarrow.RecordBatch``es of a Parquet file, one at a time in memory.

    Raises:
        BadDataError: If the file is damaged or not Parquet.
    """
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=8192, columns=columns)
    except (arrow.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from error


def _not_parquet(path: Path, error: Exception) -> BadDataError:
    return BadDataError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}); write it again")


def _open_parquet(path: Path) -> Table:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        columns = list(parquet.read_schema(path).names)
    except (arrow.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from error

    def read(names: Sequence[str]) -> Iterator[Row]:
        start = 1
        for batch in parquet_batches(path, list(dict.fromkeys(names))):
            cells = [_arrow_cells(batch.column(name)) for name in names]
            yield from enumerate(zip(*cells, strict=True), start=start)
            start += batch.num_rows

    return Table(str(path), columns, read)


def _arrow_cells(column: Any) -> list[Any]:  # a pyarrow.Array
    try:
        cells: list[Any] = column.to_pylist()
    except UnicodeDecodeError:  # Parquet promises UTF-8, but writers do not check
        raw = column.cast("large_binary").to_pylist()
        cells = [value if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    return cells


FORMATS: dict[str, Callable[[Path], Table]] = {
    ".parquet": _open_parquet,
    ".csv": lambda path: _open_delimited(path, _csv_cells),
    ".tsv": lambda path: _open_delimited(path, _tsv_cells),
    ".txt": lambda path: _open_delimited(path, _tsv_cells),  # how MRPC, SICK and SNLI name their tsv
    ".jsonl": _open_jsonl_file,
    ".ndjson": _open_jsonl_file,
}
