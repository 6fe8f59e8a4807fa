"""A refused call leaves the index as it was, byte for byte; one that succeeds is one commit a batch."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dse.data.arrow_vectors import vectors
from dse.errors import BadDataError, DSEError
from dse.index import rows, staged
from dse.index import write as write_module
from dse.index.store import Store
from dse.index.write import Writer
from tests.index.tables import make_embeddings, prepared
from tests.index.worker import create


@pytest.fixture
def store(tmp_path):
    create(str(tmp_path / "index"))
    store = Store(tmp_path / "index")
    write(store, prepared(20))
    return store


def write(store, rows, replace=False, batch_size=5):
    def embed(texts):
        return make_embeddings(len(texts))

    try:
        return Writer(store.latest(), embed, replace).write(rows, "id", "text", batch_size, False)
    finally:
        store.refresh()


def content(store):
    files = sorted(path for path in Path(store.path).rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def named(n, first=100, **more):
    return [{"id": f"row {i}", "text": f"text of {i}"} | more for i in range(first, first + n)]


REFUSED = {
    "a column without a name": [{"id": "x", "text": "y", "": 1}],
    "a map": pa.table({"id": ["x"], "text": ["y"], "m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}),
    "the last row": [*named(12), {"id": "z", "text": None}],
    "a type in the last batch": [*named(12, price=1), {"id": "z", "text": "x", "price": "much"}],
    "an infinite number": [*named(12, price=1.0), {"id": "z", "text": "x", "price": float("inf")}],
    "a stored id in the last batch": [*named(12), {"id": "row 1", "text": "another"}],
    "an id of an earlier batch": [*named(12), {"id": "row 100", "text": "another"}],
    "a stored type": [*named(12), {"id": "z", "text": "x", "number": "many"}],
    "a name that is taken": named(12, score=1),
}


@pytest.mark.parametrize("rows", REFUSED.values(), ids=list(REFUSED))
@pytest.mark.parametrize("as_iterator", [False, True])
def test_a_refused_add_changes_no_byte(store, rows, as_iterator):
    before = content(store)
    with pytest.raises(BadDataError):
        write(store, iter(rows) if as_iterator and isinstance(rows, list) else rows)
    assert content(store) == before
    assert write(store, named(2)) == {"added": 2, "unchanged": 0}


def in_file(folder, kind, rows):
    """The rows in a file, and the name of each in messages; a first line names the columns or is blank."""
    path = folder / f"rows.{kind}"
    if kind == "memory":
        return rows, [f"row {i + 1}" for i in range(len(rows))]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
        return path, [f"{path}:{i + 1}" for i in range(len(rows))]
    lines = [json.dumps(row) if kind == "jsonl" else f"{row['id']},{row['text']}" for row in rows]
    path.write_text("\n".join(["" if kind == "jsonl" else "id,text", *lines]) + "\n")
    return path, [f"{path}:{i + 2}" for i in range(len(rows))]


@pytest.mark.parametrize("batch_size", [1, 4, 50])
@pytest.mark.parametrize("kind", ["memory", "jsonl", "csv", "parquet"])
def test_an_id_that_stands_for_two_rows_is_told_with_both(store, tmp_path, kind, batch_size):
    generator = np.random.default_rng(batch_size)
    for _ in range(5):
        rows = [*named(1, 200), *named(1, 200), *named(9)]  # the same row again is no fault
        first, second = sorted(generator.choice(np.arange(2, 11), 2, replace=False).tolist())
        rows[second] |= {"id": rows[first]["id"]}
        given, places = in_file(tmp_path, kind, rows)
        told = f"{places[second]}: the id {rows[first]['id']!r} stands for different rows, first for that at "
        with pytest.raises(BadDataError, match=f"^{re.escape(told + places[first])}; give each row its own"):
            write(store, given, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
@pytest.mark.parametrize("kind", ["memory", "jsonl", "csv", "parquet"])
def test_an_id_that_is_stored_with_other_content_is_told_with_its_row(store, tmp_path, kind, batch_size):
    for place in range(9):
        rows = named(9)
        rows[place]["id"] = "row 1"
        given, places = in_file(tmp_path, kind, rows)
        with pytest.raises(BadDataError, match=f"^{re.escape(places[place])}: the id 'row 1' is stored with other"):
            write(store, given, batch_size=batch_size)


def test_ids_that_are_repeated_do_not_hold_their_batches(store, monkeypatch):
    """Ids that stand twice, their rows alike, one in each of many batches of long texts."""
    text, held = "x" * 100_000, []

    def same_rows(*tables):
        held.append(pa.total_allocated_bytes())
        return rows.same_rows(*tables)

    monkeypatch.setattr(write_module, "same_rows", same_rows)
    given = [{"id": f"short {i}", "text": "a tent"} for i in range(20)]
    given = [row for short in given for row in (short, {"id": f"long {short['id']}", "text": text})]
    before = pa.total_allocated_bytes()
    assert write(store, [*given, *given[::2]], batch_size=2) == {"added": 40, "unchanged": 20}
    assert len(held) >= 40 and max(held) - before < 10 * len(text)


def test_a_csv_with_the_index_of_a_data_frame(store, tmp_path):
    before = content(store)
    (tmp_path / "rows.csv").write_text(",id,text\n0,a,x\n")
    with pytest.raises(BadDataError, match="no column can be called ''"):
        write(store, tmp_path / "rows.csv")
    assert content(store) == before


@pytest.mark.parametrize("replace", [False, True])
def test_new_and_wider_columns_come_in_the_commit_of_their_rows(store, replace):
    version = store.data.version
    rows = [{"id": "new", "text": "x", "number": 0.5, "price": 3}]
    if replace:
        rows.append({"id": "row 3", "text": "text of 3", "number": 7.25})
    write(store, rows, replace)
    assert store.data.version == version + 1 and store.manifest.dimension == 32
    found = store.find(["new", "row 3", "row 4"], ["id", "number", "price"]).sort_by("id").to_pylist()
    assert found == [
        {"id": "new", "number": 0.5, "price": 3},
        {"id": "row 3", "number": 7.25 if replace else 3.0, "price": None},
        {"id": "row 4", "number": 4.0, "price": None},
    ]
    assert store.count("number < 1") == 2 and store.count() == 21
    assert not list(Path(store.path).glob("staged*"))
    store.data.validate()


@pytest.mark.parametrize("replaced", [range(5), range(5, 15), range(20)], ids=["one file", "two", "all four"])
@pytest.mark.parametrize("more", [{"price": 3}, {"number": 0.5}, {"number": 0.5, "price": 3}])
def test_wider_columns_where_every_row_of_a_file_is_replaced(store, replaced, more):
    """Lance commits no columns together with the loss of a file: the columns come first, and change no value."""
    before = {row["id"]: row for row in store.find([f"row {i}" for i in range(20)], ["id", "number"]).to_pylist()}
    write(store, [{"id": f"row {i}", "text": f"anew {i}"} | more for i in replaced], replace=True, batch_size=20)
    assert store.count() == 20 and not list(Path(store.path).glob("staged*"))
    for row in store.find(list(before), ["id", "text", "number", *(["price"] if "price" in more else [])]).to_pylist():
        anew = int(row["id"].split()[1]) in replaced
        assert row["text"].startswith("anew") == anew
        assert row["number"] == (more.get("number") if anew else before[row["id"]]["number"])
        assert row.get("price") == (more.get("price") if anew else None)
    store.data.validate()


def test_rows_that_fail_after_their_columns_leave_the_others(store, monkeypatch):
    monkeypatch.setattr(store.__class__, "_replaced", fails_outside(Store._replaced, store))
    with pytest.raises(DSEError, match="no more space"):
        write(store, [{"id": f"row {i}", "text": "x", "price": 3} for i in range(20)], replace=True, batch_size=20)
    assert store.count() == 20 and store.count("price is null") == 20 and store.count("text = 'x'") == 0
    store.data.validate()


def fails_outside(change, store):
    """The change works on a copy and fails on the index itself."""

    def changed(self, data, table):
        if "staged" not in data.uri:
            raise RuntimeError("no more space")
        return change(self, data, table)

    return changed


@pytest.mark.parametrize("name", ["my index", "50%", "a#b", "a?b", "é 日本", "a%20b", "a'b"])
def test_folders_of_any_name(tmp_path, name):
    create(str(tmp_path / name))
    store = Store(tmp_path / name)
    write(store, prepared(8))
    write(store, [{"id": "row 1", "text": "x", "number": 0.5, "price": 3}], replace=True)
    assert store.find(["row 1", "row 2"], ["number"]).sort_by("number")["number"].to_pylist() == [0.5, 2.0]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_commit_that_fails_leaves_no_file(store, monkeypatch):
    def failing(*args, **kwargs):
        raise OSError("No space left on device")

    before = content(store)
    monkeypatch.setattr(staged.lance.LanceDataset, "commit", failing)
    with pytest.raises(Exception, match="No space left"):
        write(store, [{"id": "new", "text": "x", "price": 3}])
    assert content(store) == before


def test_stored_values_that_the_wider_type_would_change_are_kept(store):
    write(store, [{"id": "big", "text": "x", "number": 2**53 + 1}])
    before = content(store)
    with pytest.raises(BadDataError, match=r"row 2: column 'number' cannot be read as int64: it holds 0.5"):
        write(store, [{"id": "y", "text": "x", "number": 7}, {"id": "z", "text": "x", "number": 0.5}])
    assert content(store) == before


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([], ["a"]),
        ([1], [1.5]),
        ({"a": None}, {"a": "x"}),
        ({"a": 1}, {"a": 1.5, "b": ["x"]}),
        ([{"a": 1}], [{"a": 2, "b": "x"}]),
        (True, None),
        (np.float32(0.1), 0.1),
    ],
)
def test_columns_are_widened_and_keep_what_they_have(store, first, then):
    write(store, [{"id": "x", "text": "x", "own": first}])
    write(store, [{"id": "y", "text": "x", "own": then}])
    found = {row["id"]: row["own"] for row in store.find(["x", "y"], ["id", "own"]).to_pylist()}
    assert contains(found["x"], first) and contains(found["y"], then)
    assert write(store, [{"id": "x", "text": "x", "own": first}]) == {"added": 0, "unchanged": 1}
    write(store, named(5))
    assert store.find(["row 100"], ["own"]).to_pylist() == [{"own": None}]


def contains(found, given):
    """Whether a value is the one given, but for fields that came later."""
    if isinstance(given, dict):
        return all(contains(found[name], value) for name, value in given.items())
    if isinstance(given, list):
        return len(found) == len(given) and all(map(contains, found, given))
    return found == (float(given) if isinstance(given, np.floating) else given)


def test_an_index_without_rows_is_widened_too(tmp_path):
    create(str(tmp_path / "index"))
    store = Store(tmp_path / "index")
    table = pa.table({"id": ["a"], "text": ["x"], "embedding": vectors(make_embeddings(1)), "n": [1]})
    write(store, table)
    with store.writing():
        store.delete(["a"])
    write(store, [{"id": "b", "text": "x", "n": 0.5}])
    assert store.find(["b"], ["n"]).to_pylist() == [{"n": 0.5}]


@pytest.mark.parametrize("letters", range(16))
def test_decimals_are_stored_wherever_they_lie_in_memory(store, letters):
    """Lance needs numbers of 16 bytes at multiples of 16, which the spool did not give."""
    prices = [Decimal("1.25"), None, Decimal("99999999.99")]
    texts = ["a" * letters, "b", "c"]
    rows = pa.table({"id": ["x", "y", "z"], "text": texts, "price": pa.array(prices, pa.decimal128(10, 2))})
    write(store, rows, batch_size=5)
    found = {row["id"]: row["price"] for row in store.data.to_table(columns=["id", "price"]).to_pylist()}
    assert [found[name] for name in "xyz"] == prices


LEAVES = [
    (pa.uint8(), 200),
    (pa.uint64(), 2**63),
    (pa.float16(), 1.5),
    (pa.large_string(), "x"),
    (pa.large_binary(), b"x"),
    (pa.binary(2), b"xy"),
    (pa.date64(), date(2026, 1, 31)),
    (pa.time32("s"), time(10)),
    (pa.timestamp("ns", "Europe/Berlin"), datetime(2026, 1, 31, tzinfo=UTC)),
    (pa.decimal128(5, 2), Decimal("1.25")),
    (pa.dictionary(pa.int8(), pa.string()), "x"),
]


def test_rows_are_found_again_whatever_the_types_of_their_columns(store):
    """Lance reads back some types of Arrow only where they are not within others."""
    kinds = {f"{i} plain": (kind, value) for i, (kind, value) in enumerate(LEAVES)}
    kinds |= {f"{i} list": (pa.list_(kind), [value]) for i, (kind, value) in enumerate(LEAVES)}
    kinds |= {f"{i} struct": (pa.struct([("a", kind)]), {"a": value}) for i, (kind, value) in enumerate(LEAVES)}
    columns = {name: pa.array([value, None], kind) for name, (kind, value) in kinds.items()}
    rows = pa.table({"id": ["x", "it's"], "text": ["a", "b"]} | columns)
    assert write(store, rows) == {"added": 2, "unchanged": 0}
    assert write(store, rows) == {"added": 0, "unchanged": 2}
    found = store.find(["x", "it's", "none"], ["id", *columns]).to_pylist()
    assert sorted(row["id"] for row in found) == ["it's", "x"]
    assert next(row for row in found if row["id"] == "x")["1 list"] == [2**63]
    assert write(store, [{"id": "x", "text": "anew"}], replace=True)["updated"] == 1
    with store.writing():
        assert store.delete(["x", "it's"]) == 2
    assert store.count() == 20


@pytest.mark.parametrize("name", ["it's", "a\\'b", "\\", "a\nb", "a\0b", "?", "--", '"', "`", "%", "é😀", "' or true"])
def test_rows_of_any_id_are_found_again(store, name):
    write(store, [{"id": name, "text": "x"}])
    assert store.find([name, "none"], ["id"])["id"].to_pylist() == [name]
    assert store.find([], ["id"]).num_rows == 0 and store.find(pa.array([], pa.string()), ["id"]).num_rows == 0


def test_a_column_is_widened_beside_one_of_nearly_its_name(store):
    write(store, [{"id": "x", "text": "x", "price": 1, "price~": 5}])
    write(store, [{"id": "y", "text": "x", "price": 1.5, "price~": 6.5}])
    found = {row.pop("id"): row for row in store.find(["x", "y"], ["id", "price", "price~"]).to_pylist()}
    assert found == {"x": {"price": 1.0, "price~": 5.0}, "y": {"price": 1.5, "price~": 6.5}}
