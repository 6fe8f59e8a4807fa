"""Files as Arrow batches: any rows come back equal, types fit the whole file, and a broken row is named."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dse.data import batches as reader
from dse.data.batches import read_batches
from dse.data.tables import open_table
from dse.errors import BadDataError
from tests.pair_files import write

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        '"',
        '""',
        "a\nb",
        "\r\n",
        "\u2028",
        "\x85",
        "\x1c",
        "\ufeff",
        ',"",',
        "007",
        "null",
        "nan",
        "2024-01-01",
        " 5",
    ]
)
LINE = TEXT.map(lambda text: re.sub("[\t\n\r]", "", text))
NUMBER = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
MARKED = ("", "\ufeff")  # without and with a byte order mark


def read(path, types=None):
    """All rows, as dicts."""
    return [row for batch in read_batches(path, types or {}) for row in batch.rows.to_pylist()]


def types_of(path, types=None):
    [schema] = {batch.rows.schema for batch in read_batches(path, types or {})}
    return {field.name: str(field.type) for field in schema}


def error_of(path, types=None):
    with pytest.raises(BadDataError) as caught:
        read(path, types)
    return str(caught.value)


def csv_file(folder, content):
    path = Path(folder, "x.csv")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- rows come back equal ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]), st.sampled_from(MARKED), st.integers(1, 3))
def test_any_text_comes_back_equal(data, suffix, mark, size):
    text = LINE if suffix == ".tsv" else TEXT
    rows = data.draw(st.lists(st.tuples(text, text), min_size=1, max_size=8))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ROWS", size)
        path = write(Path(folder, f"x{suffix}"), rows, ("one", "two"))
        if suffix != ".parquet":
            path.write_bytes(mark.encode() + path.read_bytes())
        table = open_table(path)
        assert [cells for _, cells in table.read(["one", "two"])] == rows
        empty = "" if suffix in (".jsonl", ".parquet") else None  # an empty cell of csv and tsv holds no value
        expected = [{"one": a or empty, "two": b or empty} for a, b in rows]
        assert read(path, {"one": pa.string(), "two": pa.string()}) == expected


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(NUMBER | st.none(), st.booleans() | st.none()), min_size=1, max_size=8), st.integers(1, 3))
@example([(90, True), (49.99, None)], 1)
@example([(None, None), (2**53, False), (0.5, True)], 1)
def test_numbers_come_back_equal(rows, size):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ROWS", size)
        expected = [{"id": str(i), "number": a, "flag": b} for i, (a, b) in enumerate(rows)]
        cells = [(str(i), "" if a is None else a, "" if b is None else b) for i, (a, b) in enumerate(rows)]
        for suffix in (".csv", ".tsv"):
            path = write(Path(folder, f"x{suffix}"), cells, ("id", "number", "flag"))
            assert read(path, {"id": pa.string()}) == expected
        path = Path(folder, "x.jsonl")
        path.write_text("\n".join(json.dumps(row) for row in expected))
        assert read(path) == expected


def test_a_quoted_empty_cell_is_a_text_and_an_unquoted_one_none(tmp_path):
    path = csv_file(tmp_path, 'id,note\n1,""\n2,\n3,x\n')
    assert [row["note"] for row in read(path)] == ["", None, "x"]
    assert [row["n"] for row in read(csv_file(tmp_path, '"id","n"\n"1","5"\n"2",""\n'))] == [5, None]
    assert [row["n"] for row in read(csv_file(tmp_path, '"id","n"\n"1",\n"2",""\n'))] == [None, ""]


def test_a_cell_longer_than_the_csv_module_allows_by_default(tmp_path):
    text = "long " * 40_000
    path = csv_file(tmp_path, f"id,text\n1,{text}\n")
    assert read(path)[0]["text"] == text
    assert next(iter(open_table(path).read(["text"])))[1] == (text,)


def test_parquet_is_never_read_whole(tmp_path, monkeypatch):
    pq.write_table(pa.table({"id": list(range(30_000))}), tmp_path / "x.parquet")
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    monkeypatch.setattr(pq, "read_table", None)
    batches = list(read_batches(tmp_path / "x.parquet", {}))
    assert max(batch.rows.num_rows for batch in batches) <= reader.ROWS
    assert batches[-1].place(0) == f"{tmp_path}/x.parquet:{30_000 - batches[-1].rows.num_rows + 1}"
    assert sum(1 for _ in open_table(tmp_path / "x.parquet").read(["id"])) == 30_000


# --- types ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["", ""], "null"),
        (["90", "40"], "int64"),
        (["90", "49.99"], "double"),
        (["", "5"], "int64"),
        (["nan", "0.5"], "double"),
        (["90", "cheap"], "string"),
        (["007", "12"], "string"),
        (["+49", "1"], "string"),
        (["12345678901234567890", "1"], "string"),
        (["true", "False"], "bool"),
        (["true", "5"], "string"),
        (["2024-01-01", ""], "date32[day]"),
        (["2024-01-01", "2024-01-01 10:00"], "timestamp[s]"),
        (["2024-01-01T10:00:00.5", "2024-01-01"], "timestamp[ns]"),
        (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+02:00"], "timestamp[s, tz=UTC]"),
        (["10:30", "11:00:05"], "time32[s]"),
        (["10:30", "later"], "string"),
        (["5", " ", " 6 "], "int64"),
        ([" ", " "], "string"),
    ],
)
@pytest.mark.parametrize("rows", [1, 8192])
def test_the_type_of_a_text_column_fits_the_whole_file(tmp_path, monkeypatch, cells, kind, rows):
    monkeypatch.setattr(reader, "ROWS", rows)
    path = write(tmp_path / "x.tsv", [("a", cell) for cell in cells], ("id", "value"))
    assert types_of(path)["value"] == kind
    assert types_of(write(tmp_path / "x.csv", [("a", cell) for cell in cells], ("id", "value")))["value"] == kind


def test_types_fit_the_whole_csv_beyond_the_first_block(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_BLOCK", 64)
    path = write(tmp_path / "x.csv", [(i, "") for i in range(100)] + [(100, 7), (101, 49.99)], ("id", "price"))
    assert [row["price"] for row in read(path)] == [None] * 100 + [7.0, 49.99]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([90, 49.99], "double"),
        ([None, 5], "int64"),
        ([[], ["a"]], "list<item: string>"),
        ([[1], [1.5]], "list<item: double>"),
        ([{"a": 1}, {"b": "x"}], "struct<a: int64, b: string>"),
        (["2024-01-01", "x"], "string"),
        (["2024-01-01", "2024-01-02"], "string"),  # text is text in json
    ],
)
@pytest.mark.parametrize("rows", [1, 8192])
def test_the_type_of_a_json_column_fits_the_whole_file(tmp_path, monkeypatch, values, kind, rows):
    monkeypatch.setattr(reader, "ROWS", rows)
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"id": "a", "value": value}) for value in values))
    assert types_of(path)["value"] == kind
    fields = dict.fromkeys(["a", "b"]) if kind.startswith("struct") else {}
    assert [row["value"] for row in read(path)] == [fields | v if fields else v for v in values]


@pytest.mark.parametrize("rows", [1, 8192])
@pytest.mark.parametrize(
    ("values", "row", "shown"),
    [
        ([1, "many"], 2, "'many'"),
        ([1, None, [2]], 3, r"\[2\]"),
        ([["a"], "b"], 2, "'b'"),
        ([1, True], 2, "True"),
        ([1, 2**70], 2, "118059162"),
        (["ok", "\ud800"], 2, "ud800"),
    ],
)
def test_json_values_that_fit_no_one_type_are_refused(tmp_path, monkeypatch, rows, values, row, shown):
    monkeypatch.setattr(reader, "ROWS", rows)
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"id": "a", "value": value}) for value in values))
    assert re.match(rf"{path}:{row}: column 'value' cannot be read as .*it holds .*{shown}", error_of(path))


@pytest.mark.parametrize("rows", [1, 8192])
def test_an_integer_that_a_decimal_column_would_round_is_refused_before_the_first_batch(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(reader, "ROWS", rows)
    values = [1, 2**53 + 1, 0.5]
    for suffix, line in ((".csv", 3), (".tsv", 3), (".jsonl", 2)):
        path = write(tmp_path / f"x{suffix}", [(i, v) for i, v in enumerate(values)], ("id", "value"))
        with pytest.raises(BadDataError) as caught:
            next(read_batches(path, {}))
        if (suffix, rows) == (".jsonl", 8192):  # Arrow meets the decimal after the integer
            line = 3
        assert str(caught.value).startswith(f"{path}:{line}: column 'value' cannot be read as ")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (pa.int64(), "007", "49.99"),
        (pa.float64(), "5", str(2**53 + 1)),
        (pa.float32(), "0.5", "cheap"),
        (pa.bool_(), "true", "maybe"),
        (pa.date32(), "2024-02-29", "2023-02-29"),
        (pa.time32("s"), "10:30", "25:00"),
        (pa.time64("us"), "10:30:00.5", "x"),
        (pa.decimal128(5, 2), "1.50", "1.555"),
        (pa.timestamp("us", "UTC"), "2024-01-01T10:00Z", "2024-01-01T10:00"),
        (pa.list_(pa.string()), "", "['a']"),
    ],
)
def test_text_is_read_as_the_type_that_is_asked_for_or_refused(tmp_path, kind, good, bad):
    path = write(tmp_path / "good.csv", [("a", good), ("b", "")], ("id", "value"))
    assert types_of(path, {"value": kind})["value"] == str(kind)
    path = write(tmp_path / "bad.csv", [("a\nb", good), ("c", bad)], ("id", "value"))
    with pytest.raises(BadDataError, match=rf"bad.csv:4: column 'value' cannot be read as {re.escape(str(kind))}: .*"):
        next(read_batches(path, {"value": kind}))


# --- broken rows ------------------------------------------------------------------------------------------------

BROKEN = {
    ".csv": [b'"a"b,c', b"a", b"a,b,c", b"a\xff,b", b"\xe2\x80,b"],
    ".tsv": [b"a", b"a\tb\tc", b"a\xff\tb"],
    ".jsonl": [b'{"one": "a", "two": "b"', b'["a", "b"]', b'{"one": "\xe9", "two": "b"}', b'{"one": "\\ud800"}'],
}


@settings(deadline=None, max_examples=150)
@given(st.data(), st.sampled_from(list(BROKEN)), st.sampled_from(MARKED), st.integers(1, 8))
def test_exactly_the_broken_row_is_named(data, suffix, mark, size):
    text = LINE.filter(bool) if suffix == ".tsv" else TEXT.filter(bool)
    rows = data.draw(st.lists(st.tuples(text, text), min_size=1, max_size=8))
    broken = data.draw(st.sampled_from(BROKEN[suffix]))
    before = data.draw(st.integers(0, len(rows)))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ROWS", size)
        head = write(Path(folder, f"head{suffix}"), rows[:before], ("one", "two")).read_bytes()
        tail = write(Path(folder, f"tail{suffix}"), rows[before:], ("one", "two")).read_bytes()
        tail = tail if suffix == ".jsonl" else tail.split(b"\n", 1)[1]
        path = Path(folder, f"x{suffix}")
        path.write_bytes(mark.encode() + head + broken + b"\n" + tail)
        assert error_of(path, {"one": pa.string(), "two": pa.string()}).startswith(f"{path}:{head.count(10) + 1}: ")


def test_a_lone_quote_swallows_no_row(tmp_path):
    content = 'id,text\n10,"a chair"\n11,"a 27"" screen\n12,"a lamp"\n13,a desk\n14,"a ""big"" bed"\n'
    path = csv_file(tmp_path, content)
    assert error_of(path).startswith(f"{path}:3: is no valid CSV")
    assert error_of(csv_file(tmp_path, 'id,text\n1,a\n2,"b\n3,c\n')).startswith(f"{path}:3: is no valid CSV")


def test_other_line_ends_in_a_tsv_cell_start_no_row(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes("id\ttext\r\n1\ta\rb\u2028c\x85d\r\n".encode())
    assert read(path) == [{"id": 1, "text": "a\rb\u2028c\x85d"}]


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = csv_file(tmp_path, "id,text,text\n1,a,b\n")
    assert error_of(path).startswith(f"{path}:1: two columns are called 'text'")


def test_missing_and_unknown_files(tmp_path):
    (tmp_path / "x.txt").write_text("a\n")
    (tmp_path / "x.csv").write_bytes(b"")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "x.jsonl").write_text("{}\n{}\n")
    assert "x.txt is in no known format; convert it to one of .parquet .csv" in error_of(tmp_path / "x.txt")
    assert "there is no file" in error_of(tmp_path / "none.csv")
    assert "x.csv:1: the header is missing" in error_of(tmp_path / "x.csv")
    assert "x.parquet cannot be read as Parquet" in error_of(tmp_path / "x.parquet")
    assert "x.jsonl:1: the row has no columns" in error_of(tmp_path / "x.jsonl")
    assert read(csv_file(tmp_path, "id,text\n")) == []


def test_a_blank_line_is_an_empty_cell_of_one_column_and_no_row_of_several(tmp_path):
    assert [row["id"] for row in read(csv_file(tmp_path, 'id\n1\n\n""\n2\n'))] == [1, None, None, 2]
    path = csv_file(tmp_path, "id,n\n\n1,2\n\r\n3,4\n\n5\n")
    assert error_of(path).startswith(f"{path}:7: has 1 columns")
    assert [row["n"] for row in read(csv_file(tmp_path, "id,n\n\n1,2\n\r\n3,4\n\n"))] == [2, 4]


def test_parsers_that_disagree_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("pyarrow.csv.open_csv", lambda *_, **__: [])
    assert "x.csv cannot be read (two parsers count 1 and 0 rows)" in error_of(csv_file(tmp_path, "id,n\n1,2\n"))
