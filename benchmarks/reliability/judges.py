"""What pandas and pyarrow make of a mutated row, and what the library should then make of it."""

from __future__ import annotations

import io
import json
import math
import numbers
import re
import unicodedata
import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from benchmarks.reliability.mutations import CLASSES, Case, Cells

MARK, STAND_IN = "\ufeff", "\ue0fe"  # the byte order mark, and a sign that no row has


class MeaninglessError(ValueError):
    """A row that means nothing, and must be refused."""


def readings(case: Case) -> list[list[Cells]]:
    """What the mutated row alone may be read as, each reading a list of rows; none if it cannot be read."""
    if case.before and not case.after and not case.raw.strip(b"\n") and not case.content.endswith(b"\n\n"):
        return [[]]  # an empty line without an end, after the last one
    opens = case.first_line == 1 and case.suffix in (".csv", ".tsv", ".txt")  # then the mark is no part of the text
    if case.row is not None:
        first = case.row[0]
        return [[[first.removeprefix(MARK) if opens and isinstance(first, str) else first, *case.row[1:]]]]
    # The readers read the row alone, and would take the mark at its beginning for that of a file.
    raw = (case.raw.removeprefix(MARK.encode()) if opens else case.raw).replace(MARK.encode(), STAND_IN.encode())
    readers = {".csv": [_csv], ".tsv": [_tsv], ".txt": [_lines], ".trec": [_trec], ".jsonl": [_json]}
    found = []
    for reader in readers[case.suffix]:
        try:
            rows = reader(raw, case.columns)
            found.append([[c.replace(STAND_IN, MARK) if isinstance(c, str) else c for c in row] for row in rows])
        except MeaninglessError:
            return []
        except (pa.ArrowException, ValueError, OverflowError, RecursionError):
            continue
    return found


def _csv(raw: bytes, columns: list[str]) -> list[Cells]:
    options = pc.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    parse = pc.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(columns) > 1)
    table = pc.read_csv(io.BytesIO(raw), pc.ReadOptions(column_names=columns), parse, options)
    return [list(row.values()) for row in table.to_pylist()]


def _tsv(raw: bytes, columns: list[str]) -> list[Cells]:
    rows = []
    for line in raw.decode().removesuffix("\n").split("\n"):
        if line.count("\t") + 1 != len(columns) and line.strip("\r"):
            raise MeaninglessError
        given = {"sep": "\t", "quoting": 3, "lineterminator": "\n", "dtype": str, "na_filter": False, "header": None}
        if "\0" in line or not line.strip(" \r"):  # which pandas drops
            rows += [line.split("\t")] if line.strip("\r") or len(columns) == 1 else []
        else:
            rows += pd.read_csv(io.StringIO(line), names=columns, index_col=False, **given).to_numpy().tolist()
    return [[*row[:-1], row[-1].removesuffix("\r")] for row in rows]


def _lines(raw: bytes, columns: list[str]) -> list[Cells]:
    return [[line.rstrip("\r")] for line in raw.decode().removesuffix("\n").split("\n")]


def _trec(raw: bytes, columns: list[str]) -> list[Cells]:
    if not raw.strip():
        return []
    given = {"sep": r"\s+", "quoting": 3, "dtype": str, "na_filter": False, "header": None, "engine": "python"}
    table = pd.read_csv(io.StringIO(raw.decode()), names=list(range(9)), **given)
    rows = [[cell for cell in row if isinstance(cell, str) and cell] for row in table.to_numpy().tolist()]
    if any(len(row) != 4 for row in rows):
        raise MeaninglessError
    return [[row[0], row[2], row[3]] for row in rows]


def _json(raw: bytes, columns: list[str]) -> list[Cells]:
    # Of a name that occurs twice pandas takes the last value; from names it drops halves of surrogate pairs.
    rows = [json.loads(line, object_pairs_hook=_each_once) for line in raw.split(b"\n") if line.strip()]
    if b"\\ud" in raw.lower():
        return [[row.get(name) for name in columns] for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = pd.read_json(io.BytesIO(raw), lines=True, dtype=False, convert_dates=False, precise_float=True)
    return [[row.get(name) for name in columns] for row in table.to_dict("records")]


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise MeaninglessError
    return dict(pairs)


def parquet_rows(case: Case) -> list[Cells]:
    """All rows of a Parquet file.

    Raises:
        MeaninglessError: If it holds bytes that are no text.
    """
    try:
        table = pq.read_table(io.BytesIO(case.content))
        table.validate(full=True)
        columns = [table[name].to_pylist() for name in case.columns]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise MeaninglessError from error
    return [list(row) for row in zip(*columns, strict=True)]


def meant(kind: str, cells: Cells, number: int) -> tuple[Any, ...]:
    """What the library should read from a row.

    Args:
        kind: What it is read as.
        cells: As the other reader has them.
        number: Of the line, which is the id where there is none.

    Raises:
        MeaninglessError: If it must refuse the row.
    """
    if kind in ("pairs", "classes"):
        label = _grade(cells[2], 0, 5) if kind == "pairs" else _class(cells[2])
        return _text(cells[0]), _text(cells[1]), np.float32(label)
    if kind == "sentences":
        return (_text(cells[0]),)
    if kind == "judgements":
        grade = _grade(float(cells[2]) if isinstance(cells[2], bool) else cells[2], -math.inf, math.inf)
        if grade != int(grade):
            raise MeaninglessError
        return _id(cells[0]), _id(cells[1]), int(grade)
    if kind == "index":
        return _id(cells[0]), _text(cells[1]), cells[2], cells[3]
    name = str(number) if len(cells) == 1 else _id(cells[0])
    title, text = _text(cells[1]) if len(cells) == 3 and not _missing(cells[1]) else "", _text(cells[-1])
    return name, f"{title}\n{text}" if title and text else title or text


def _missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: Any) -> str:
    if not isinstance(cell, str) or any("\ud800" <= character <= "\udfff" for character in cell):
        raise MeaninglessError
    return cell


def _id(cell: Any) -> str:
    if isinstance(cell, numbers.Integral) and not isinstance(cell, bool):
        return str(cell)
    if not _text(cell):
        raise MeaninglessError
    return str(cell)


def _grade(cell: Any, low: float, high: float) -> float:
    if isinstance(cell, bool) or not isinstance(cell, str | numbers.Real | Decimal):
        raise MeaninglessError
    try:
        if isinstance(cell, str):  # digits of any script
            cell = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in cell.strip())
        value = float(pd.to_numeric(cell if isinstance(cell, str) else float(cell)))
    except (ValueError, TypeError, OverflowError) as error:
        raise MeaninglessError from error
    if not low <= value <= high or not math.isfinite(value):
        raise MeaninglessError
    return value


def _class(cell: Any) -> int:
    if isinstance(cell, str) and (name := re.sub(r"[\s_-]", "", cell).lower()) in CLASSES:
        return CLASSES.index(name)
    value = _grade(cell, 0, 2)
    if value != int(value):
        raise MeaninglessError
    return int(value)


def is_kept(cell: Any, value: Any, from_text: bool) -> bool:
    """Whether a column's value is what a cell holds; in csv and tsv every cell is text."""
    if isinstance(cell, pd.Timestamp | np.generic):
        cell = cell.item() if isinstance(cell, np.generic) else cell.to_pydatetime()
    if from_text and isinstance(cell, str):
        return _text_is_kept(cell, value)
    if value is None:
        return _missing(cell)
    if isinstance(cell, Mapping):
        names = cell.keys() | (value.keys() if isinstance(value, dict) else set())
        return isinstance(value, dict) and all(is_kept(cell.get(n), value.get(n), False) for n in names)
    if isinstance(cell, list):
        return (
            isinstance(value, list)
            and len(cell) == len(value)
            and all(is_kept(one, other, False) for one, other in zip(cell, value, strict=True))
        )
    if isinstance(cell, bool) or isinstance(value, bool) or isinstance(cell, str):
        return type(cell) is type(value) and cell == value
    return bool(cell == value)


def _text_is_kept(cell: str, value: Any) -> bool:
    bare = cell.strip()
    if value is None:
        return bare == "" or bare.lower() in ("nan", "-nan")
    if isinstance(value, str):
        return cell == value
    if isinstance(value, bool):
        return bare.lower() in (("true", "1") if value else ("false", "0"))
    try:
        if isinstance(value, int | float):
            return bool(Decimal(bare) == value if isinstance(value, int) else float(pd.to_numeric(bare)) == value)
        return bool(pd.Timestamp(bare) == pd.Timestamp(str(value)))
    except (ValueError, ArithmeticError):
        return False
