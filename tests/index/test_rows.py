from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dse.errors import BadDataError
from dse.index.layout import matrix
from dse.index.rows import read_rows, text_id

TYPES = {"id": pa.string(), "text": pa.string(), "embedding": pa.list_(pa.float16(), 4)}


def rows_of(source, batch_size=2, types=TYPES, **names):
    tables = [table for table, _ in read_rows(source, batch_size, types, {"id": "id", "text": "text"} | names)]
    assert all(table.num_rows == batch_size for table in tables[:-1])
    return [row for table in tables for row in table.to_pylist()]


RECORDS = [
    {"id": "007", "text": 'a "red" bicycle, new', "price": 9.5, "lang": "en"},
    {"id": "8", "text": "das Fahrrad\nzwei Zeilen", "price": None, "lang": "de"},
    {"id": "ü", "text": "", "price": 3.0, "lang": None},
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    file = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        file.write_text(
            'id,text,price,lang\n007,"a ""red"" bicycle, new",9.5,en\n8,"das Fahrrad\nzwei Zeilen",,de\nü,"",3,\n',
            encoding="utf-8",
        )
    elif suffix == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in RECORDS), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(RECORDS), file)
    assert rows_of(file) == RECORDS
    assert rows_of(RECORDS, batch_size=3) == RECORDS
    assert rows_of(pa.Table.from_pylist(RECORDS)) == RECORDS


def test_other_names_and_numbers_as_ids(tmp_path):
    file = tmp_path / "rows.tsv"
    file.write_text('sku\ttitle\tn\n0012\tan "unbalanced quote\t1\n', encoding="utf-8")
    assert rows_of(file, id="sku", text="title") == [{"id": "0012", "text": 'an "unbalanced quote', "n": 1}]
    assert rows_of(pa.table({"id": [1, 2], "text": ["a", "b"]}))[1]["id"] == "2"


def test_texts_alone():
    assert rows_of(["one", "two"]) == [{"id": text_id("one"), "text": "one"}, {"id": text_id("two"), "text": "two"}]


def test_embeddings_become_fp16():
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float64(), 4), pa.list_(pa.float16(), 4)):
        values = pa.array([[0.1, 2, 3, 4]] * 3, pa.list_(pa.float64())).cast(kind)
        table = pa.table({"id": ["a", "b", "c"], "text": ["", "", ""], "embedding": values})
        [(found, _)] = read_rows(table.slice(1), 5, TYPES, {})
        assert matrix(found["embedding"]).dtype == np.float16 and matrix(found["embedding"]).shape == (2, 4)


BAD = [
    ([{"id": "a", "text": "x"}, {"id": None, "text": "x"}], "row 2: id is missing"),
    ([{"id": "a", "text": "x"}, {"id": "b"}], "row 2: text is missing"),
    ([{"id": "", "text": "x"}], "row 1: the id is empty"),
    ([{"id": "a", "text": 3}], "'text' cannot be read as string"),
    ([{"text": "x"}], "no column 'id'"),
    (
        [{"id": "a", "text": "x", "embedding": [1, 2, 3, 4]}, {"id": "b", "text": "x", "embedding": [1, 2]}],
        "row 2: .* 2 values",
    ),
    ([{"id": "a", "text": "x", "embedding": [1, 2, float("nan"), 4]}], "row 1: .*NaN"),
    ([{"id": "a", "text": "x", "embedding": [1, 2, 1e9, 4]}], "row 1: .*65,504"),
    ([{"id": "a", "text": "x", "n": 1}, {"id": "b", "text": "x", "n": "many"}], "column 'n'"),
    ([5], "row 1: is int"),
]


@pytest.mark.parametrize(("rows", "said"), BAD)
def test_bad_rows_are_named(rows, said):
    with pytest.raises(BadDataError, match=said):
        rows_of(rows)


def test_bad_rows_of_later_batches_are_counted_from_the_start(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"id": str(i), "text": "x" if i != 6 else None}) for i in range(9)))
    with pytest.raises(BadDataError, match=rf"{file}:7: text is missing"):
        rows_of(file)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"id,text\n1,x\n2\n"),
        ("a.jsonl", b'{"id": "1", "text": "x"}\n{nonsense\n'),
        ("a.parquet", b"PAR1 no"),
        ("a.xml", b""),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadDataError, match=name):
        rows_of(tmp_path / name)
    with pytest.raises(BadDataError, match="no file"):
        rows_of(tmp_path / "absent.csv")
