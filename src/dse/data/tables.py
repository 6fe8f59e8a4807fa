"""Rows of a file, of standard input or of a hub data set, each with its number and what is wrong with it.

Text is decoded line by line: bytes that are no UTF-8 spoil their own row and no other.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dse.errors import BadDataError, need_extra

# A row's number, and its cells or what is wrong with it. Numbers start at 1: lines of a text file (the header
# counts), rows of anything else.
Row = tuple[int, "tuple[Any, ...] | str"]
_Cells = Iterator[tuple[int, "list[str] | str"]]

NOT_UTF8 = "is not valid UTF-8"
_NOT_TEXT = re.compile("[\ud800-\udfff]")  # what decoding leaves of undecodable bytes; no text has it


@dataclass(frozen=True)
class Table:
    """A source that has been opened: its columns are known, its rows are read on demand.

    Attributes:
        name: What messages call it.
        columns: Names of the columns.
        read: Takes names of columns, yields every row with just these cells.
    """

    name: str
    columns: list[str]
    read: Callable[[Sequence[str]], Iterable[Row]]


def is_text(value: str) -> bool:
    r"""Whether a string is text, rather than what is left of bytes that were not.

    Example:
        >>> is_text("café"), is_text(b"caf\xe9".decode("utf-8", "surrogateescape"))
        (True, False)
    """
    return value.isascii() or not _NOT_TEXT.search(value)


def text_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of a file with their line ends, less a byte order mark; see `is_text` for bad bytes."""
    for number, line in enumerate(stream):  # splits at \n alone: text may hold any other kind of line end
        yield line.decode("utf-8" if number else "utf-8-sig", "surrogateescape")


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
    while True:
        start = reader.line_num + 1  # a quoted cell may span lines
        try:
            yield start, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, f"is no valid CSV up to line {reader.line_num} ({error})"


def _tsv_cells(lines: Iterator[str]) -> _Cells:
    # No quoting: GLUE ships unbalanced quotation marks as plain text.
    for number, line in enumerate(lines, start=1):
        text = _without_end(line)
        yield number, text.split("\t") if text else []


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _open_delimited(path: Path, split: Callable[[Iterator[str]], _Cells]) -> Table:
    with path.open("rb") as file:
        header = next(split(text_lines(file)), (1, "is missing: the file is empty"))[1]
    if isinstance(header, list) and not all(map(is_text, header)):
        header = NOT_UTF8
    if isinstance(header, str):
        raise BadDataError(f"{path}:1: the header {header}; save the file as UTF-8 with its column names in line 1")

    def read(names: Sequence[str]) -> Iterator[Row]:
        wanted = [header.index(name) for name in names]
        with path.open("rb") as file:
            rows = split(text_lines(file))
            next(rows)
            for number, cells in rows:
                if isinstance(cells, str):
                    yield number, cells
                elif not cells and len(header) > 1:
                    continue  # a blank line; in a table of one column it is an empty text
                elif not all(map(is_text, row := cells or [""])):
                    yield number, NOT_UTF8
                elif len(row) != len(header):
                    yield number, f"has {len(row)} columns where the header has {len(header)}"
                else:
                    yield number, tuple(row[index] for index in wanted)

    return Table(str(path), header, read)


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
    records = [(n, _json_record(line)) for n, line in enumerate(text_lines(stream), start=1) if line.strip()]
    columns = dict.fromkeys(key for _, record in records if isinstance(record, dict) for key in record)

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, record in records:
            yield number, record if isinstance(record, str) else tuple(record.get(name) for name in names)

    # Where nothing could be parsed there are no keys: name some, so that the rows are found bad, not the columns.
    return Table(name, list(columns) or ["sentence1", "sentence2", "label"], read)


def _open_jsonl_file(path: Path) -> Table:
    return open_jsonl(io.BytesIO(path.read_bytes()), str(path))


def open_lines(stream: BinaryIO, name: str) -> Table:
    """Read plain text as one column, `sentence`: a line is a row, a blank line an empty sentence."""

    def read(names: Sequence[str]) -> Iterator[Row]:
        for number, line in enumerate(text_lines(stream), start=1):
            yield number, (_without_end(line),) * len(names)

    return Table(name, ["sentence"], read)


def _open_parquet(path: Path) -> Table:
    import pyarrow as arrow
    from pyarrow import parquet

    def parse(names: Sequence[str] | None) -> Any:  # a schema or a table
        try:
            with parquet.ParquetFile(path) as file:
                return file.schema_arrow if names is None else file.read(columns=list(names))
        except (arrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise BadDataError(f"{path} cannot be read as Parquet ({reason}); write it again") from error

    def read(names: Sequence[str]) -> Iterator[Row]:
        table = parse(names)
        return enumerate(zip(*(_arrow_cells(table.column(name)) for name in names), strict=True), start=1)

    return Table(str(path), list(parse(None).names), read)


def _arrow_cells(column: Any) -> list[Any]:  # a pyarrow.ChunkedArray
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


def open_hub(path: str, config: str | None, splits: Sequence[str]) -> Table:
    """Load a data set from the hub, in the first of these splits that it has.

    Class labels come as their names, so that no order of ids is taken for another; -1 comes as `-`, no label.

    Raises:
        BadDataError: If it cannot be loaded or has none of the splits.
        MissingExtraError: If `datasets` is not installed.
    """
    need_extra("datasets", "train")
    import datasets

    name = path if config is None else f"{path}:{config}"
    try:
        found = datasets.load_dataset(path, config)
    except Exception as error:  # a dozen kinds: offline, no such name, a config to choose, a script
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadDataError(
            f"{name!r} is no file or folder here and cannot be loaded from the hub ({reason}); "
            "check the name (NAME:CONFIG if it has several) and the connection, or pass a local file"
        ) from error
    split = next((split for split in splits if split in found), None)
    if split is None:
        raise BadDataError(f"hub data set {name} has no split {splits[0]!r}; choose one of {', '.join(found)}")
    data = found[split]
    class_names = {column: getattr(feature, "names", None) for column, feature in data.features.items()}

    def read(names: Sequence[str]) -> Iterator[Row]:
        row = 0
        for batch in data.select_columns(list(dict.fromkeys(names))).iter(1000):
            cells = [[_class_name(cell, class_names[column]) for cell in batch[column]] for column in names]
            yield from enumerate(zip(*cells, strict=True), start=row + 1)
            row += len(cells[0])

    return Table(f"{name}/{split}", list(data.column_names), read)


def _class_name(cell: Any, names: list[str] | None) -> Any:
    if names is None or cell is None:
        return cell
    if cell < 0:
        return "-"
    # No name: text, because a number would pass for an id of the task.
    return names[cell] if cell < len(names) else f"id {cell}"
