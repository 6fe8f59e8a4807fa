"""Small files of every format with one mutated row each."""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NAN = float("nan")
TEXTS = ["a red bicycle", "", " ", " a tent ", 'a 27" screen', '"quoted"', '"', '""', "it's", "a, b", "a\tb", "a;b|c"]
TEXTS += ["two\nlines", "two\r\nlines", "a\rb", "a\\b", "\\", '\\"', "=1+1", "#no", "NA", "null", "None", "nan", "N/A"]
TEXTS += [
    "true",
    "007",
    "1e5",
    "-",
    "東京 😀",
    "é",
    "e\u0301",
    "\u2028",
    "\x85",
    "\x0b\x0c",
    "\x1f",
    "\0",
    "a\0b",
    "\ufeff",
]
TEXTS += ["\ufeffa", "\u200f", "{}", "[1]", "<b>", "sentence1", "x" * 20_000, '""' * 3_000, "\U0010ffff", "\xa0", "%s"]
NUMBERS = [
    "0",
    "1",
    "2",
    "3.5",
    "5",
    "-1",
    "6",
    "1.0",
    " 2",
    "2 ",
    "+2",
    "02",
    "1_0",
    "0_1",
    "2,5",
    "1e0",
    "1e400",
    "nan",
]
NUMBERS += ["inf", "", "NA", "null", "٣", "²", "0x2", "true", "9007199254740993", "12345678901234567890", "2020-01-01"]
NUMBERS += [
    "12:30:00",
    "2020-01-01T00:00:00Z",
    "1.255",
    "0.1",
    "-0",
    ".5",
    "5.",
    "1 2",
    "1\n",
    "1\0",
    "NaN",
    "entailment",
]
NUMBERS += ["Neutral", "contradiction", "neutral ", "LABEL_0"]
VALUES = [None, True, False, 0, 1, 2, 3, -1, 5, 6, 2**53 + 1, 2**63, 2**70, 10**400, 1.0, 2.5, -0.0, 1e300, NAN]
VALUES += [float("inf"), [], [1], [1.5], ["a"], [[1]], [None], {}, {"a": 1}, {"a": {"b": [1]}}, [{"a": 1}, {"b": 2}]]
BYTES = [b"\xff", b"caf\xe9", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88", b"\xc0\xaf", b"\x80", b"\xfe\xff\x00a"]
EDITS = [
    b'"',
    b'""',
    b",",
    b"\t",
    b"\r",
    b"\\",
    b"'",
    b";",
    b"\0",
    b" ",
    b"\n",
    b"\r\n",
    b"{",
    b"}",
    b"[",
    b":",
    b"null",
]
EDITS += [
    b"NaN",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"//",
    b"1",
    b"-",
    b".",
    b"e",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    *BYTES,
]
KINDS = {  # columns of what the library reads
    "pairs": ["sentence1", "sentence2", "label"],
    "classes": ["sentence1", "sentence2", "label"],
    "sentences": ["sentence"],
    "corpus": ["id", "title", "text"],
    "queries": ["id", "text"],
    "judgements": ["query_id", "doc_id", "relevance"],
    "index": ["id", "text", "price", "lang"],
}
NUMERIC = ("label", "relevance", "price")
CLASSES = ("entailment", "neutral", "contradiction")
Cells = list[Any]


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        kind: What it is read as, a key of `KINDS`.
        suffix: Of its format.
        columns: Their names.
        before: The rows before the mutated one.
        row: The mutated row's cells, where it was written by the format's own writer; else None.
        raw: Its bytes, in a text format.
        after: The rows after it.
        content: Of the file.
        first_line: Number of the mutated row.
        is_text: Whether the row holds texts that every reader keeps: then it must not be refused.
    """

    kind: str
    suffix: str
    columns: list[str]
    before: list[Cells]
    row: Cells | None
    raw: bytes
    after: list[Cells]
    content: bytes
    first_line: int
    is_text: bool


def good_row(kind: str, number: int, suffix: str) -> Cells:
    """A row that is right."""
    label: Any = {"classes": CLASSES[number % 3], "pairs": number % 5 + 0.5}.get(kind, number % 3)
    price: Any = [90, 40, 49.99, 7][number % 4]
    cells = {
        "sentence1": f"a dog {number}",
        "sentence2": f'a "cat", {number}',
        "sentence": f"a house, {number}",
        "label": label,
        "id": f"d{number}",
        "query_id": f"q{number}",
        "doc_id": f"d{number}",
        "relevance": label,
        "title": f"Title {number}",
        "text": f"a text {number}",
        "price": price,
        "lang": ["en", "de"][number % 2],
    }
    row = [cells[name] for name in KINDS[kind]]
    return row if suffix in (".jsonl", ".parquet") else [str(cell) for cell in row]


def encoded(row: Cells, columns: list[str], suffix: str) -> bytes:
    """A row as the format's own writer writes it."""
    if suffix == ".jsonl":
        return (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n").encode(
            "utf-8", "surrogatepass"
        )
    if suffix == ".csv":
        out = io.StringIO()
        csv.writer(out).writerow(row)
        return out.getvalue().removesuffix("\r\n").encode() + b"\n"
    between = " 0 " if suffix == ".trec" else "\t"
    cells = [row[0] + between + row[1], row[2]] if suffix == ".trec" else row
    return ((" " if suffix == ".trec" else between).join(cells) + "\n").encode()


def _mutated_cells(generator: random.Random, row: Cells, columns: list[str], suffix: str) -> tuple[Cells, bool]:
    """One cell replaced, and whether the row is still one of texts."""
    position = generator.randrange(len(row))
    is_number = columns[position] in NUMERIC
    typed = suffix in (".jsonl", ".parquet")
    value: Any
    if typed and generator.random() < (0.7 if is_number else 0.3):
        value = generator.choice(VALUES)
    else:
        value = generator.choice(NUMBERS if is_number or generator.random() < 0.1 else TEXTS)
    unwritable = {".tsv": "\t\n\r", ".trec": " \t\n\r\x0b\x0c\x1f\x85\u2028\xa0", ".txt": "\n\r"}.get(suffix, "")
    if isinstance(value, str):
        value = "".join(character for character in value if character not in unwritable)
    kept = isinstance(value, str) and value.strip("\ufeff \xa0\u2028\x85\x0b\x0c\x1f") != "" and not is_number
    return [*row[:position], value, *row[position + 1 :]], kept and suffix != ".trec" and columns != KINDS["judgements"]


def _edited(generator: random.Random, raw: bytes) -> bytes:
    """Bytes inserted, removed or repeated."""
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        body, end = raw.removesuffix(b"\n"), generator.randrange(len(raw))
        start = generator.randrange(end + 1)
        edit = generator.choice(EDITS)
        raw = generator.choice(
            [
                lambda body=body, start=start, edit=edit: body[:start] + edit + body[start:],
                lambda body=body, start=start, edit=edit: body[:start] + edit + body[start + 1 :],
                lambda body=body, start=start, end=end: body[:start] + body[end:],
                lambda body=body, start=start: body[:start],
                lambda body=body, start=start, end=end: body + body[start:end],
                lambda body=body, edit=edit: body.replace(generator.choice([b'"', b",", b"\t", b" ", b":"]), edit, 1),
            ]
        )()
        raw += b"\n"
    return raw


def text_case(generator: random.Random, kind: str, suffix: str) -> Case:
    """A csv, tsv, jsonl, txt or TREC file with one mutated row."""
    columns = KINDS[kind]
    rows = [good_row(kind, number, suffix) for number in range(5)]
    if suffix == ".txt" and kind != "sentences":  # the text alone; the number of its line is its id
        columns, rows = ["text"], [[row[-1]] for row in rows]
    position = generator.randrange(5)
    row, is_text = _mutated_cells(generator, rows[position], columns, suffix)
    raw = encoded(row, columns, suffix)
    written: Cells | None = row
    if generator.random() < 0.6:
        written, is_text, raw = None, False, _edited(generator, encoded(rows[position], columns, suffix))
    before, after = rows[:position], rows[position + 1 :]
    header = b"" if suffix in (".jsonl", ".trec", ".txt") else encoded(columns, columns, suffix)
    parts = [header, *(encoded(row, columns, suffix) for row in before)]
    content = b"".join([*parts, raw, *(encoded(row, columns, suffix) for row in after)])
    if not after and written is not None and generator.random() < 0.5:
        content = content.removesuffix(b"\n")
    line = 1 + b"".join(parts).count(b"\n")
    return Case(kind, suffix, columns, before, written, raw, after, content, line, is_text)


def parquet_case(generator: random.Random, kind: str) -> Case:
    """A Parquet file with one mutated row; its column has a type that holds it."""
    columns = KINDS[kind]
    rows = [good_row(kind, number, ".parquet") for number in range(5)]
    position = generator.randrange(5)
    while True:
        row, is_text = _mutated_cells(generator, rows[position], columns, ".parquet")
        written = [*rows[:position], row, *rows[position + 1 :]]
        try:
            arrays = [_array(generator, [cells[i] for cells in written]) for i in range(len(columns))]
            out = io.BytesIO()
            pq.write_table(pa.table(arrays, names=columns), out, row_group_size=generator.choice([2, 100]))
        except (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeError):
            continue
        changed = [array.to_pylist() if array.type != pa.binary() else None for array in arrays]
        lossless = all(cells is not None for cells in changed)
        before, after = rows[:position], rows[position + 1 :]
        content = out.getvalue()
        if is_text and lossless and generator.random() < 0.15:  # bytes that are no text in a column of texts
            content = content.replace(b"a dog 1", b"a \xff\xfe 1").replace(b"a text 1", b"a \xff\xfe\xfd 1")
            is_text = False
        return Case(kind, ".parquet", columns, before, None, b"", after, content, position + 1, is_text and lossless)


def _array(generator: random.Random, values: list[Any]) -> pa.Array:
    array = pa.array(values)
    others: list[pa.DataType] = []
    if pa.types.is_string(array.type):
        others = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary()]
    elif pa.types.is_integer(array.type):
        others = [pa.int8(), pa.float64(), pa.decimal128(20, 2), pa.uint64(), pa.string(), pa.float16()]
    elif pa.types.is_floating(array.type):
        others = [pa.float32(), pa.string(), pa.decimal128(20, 2)]
    elif pa.types.is_list(array.type):
        others = [pa.large_list(array.type.value_type)]
    return array.cast(generator.choice(others)) if others and generator.random() < 0.4 else array


def score_rows(generator: random.Random) -> list[dict[str, Any]]:
    """Rows of a file of teacher scores, one of them mutated."""
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "scores": [i / 4, -i / 2]} for i in range(5)]
    values: list[Any] = [None, [], [NAN, 1.0], [None, 1.0], [1.0], [1.0, 2.0, 3.0], [float("inf"), 0.0], [0.1, 0.2]]
    values += [[1e300, 0.0], [1, 2], [NAN, NAN], [None, None], [-0.0, 0.0]]
    rows[generator.randrange(5)]["scores"] = generator.choice(values)
    return rows
