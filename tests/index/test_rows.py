from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.data.arrow_vectors import matrix
from dse.errors import BadDataError
from dse.index.rows import read_rows, text_id

INT = pa.field("b", pa.int64())
VIEWS = pa.struct([("a", pa.string_view()), INT])
VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        st.binary(max_size=3),
        st.dates(),
        st.datetimes(timezones=st.just(None) | st.just(UTC)),
        st.decimals(-1000, 1000, places=2),
    ),
    lambda part: st.lists(part, min_size=1, max_size=2) | st.fixed_dictionaries({"a": part}),
    max_leaves=3,
)
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


def test_a_column_of_a_data_frame_is_texts():
    pandas = pytest.importorskip("pandas")
    for column in (pandas.Series(["one", "two"]), pa.chunked_array([["one"], ["two"]])):
        assert rows_of(column) == rows_of(["one", "two"])
    with pytest.raises(BadDataError, match="row 2: is NoneType, not a text"):
        rows_of(pa.chunked_array([["one", None]]))


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


@pytest.mark.parametrize(("rows", "message"), BAD)
def test_bad_rows_are_named(rows, message):
    with pytest.raises(BadDataError, match=message):
        rows_of(rows)


def test_bad_rows_of_later_batches_are_counted_from_the_start(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"id": str(i), "text": "x" if i != 6 else None}) for i in range(9)))
    with pytest.raises(BadDataError, match=rf"{file}:7: text is missing"):
        rows_of(file)


@pytest.mark.parametrize("bad", range(7))
def test_rows_keep_their_numbers_where_batches_are_cut_and_joined(bad):
    texts = ["x" if i != bad else None for i in range(7)]
    table = pa.table({"id": [str(i) for i in range(7)], "text": pa.array(texts, pa.string())})
    for chunks in (1, 2, 3, 7):
        for batch_size in (1, 2, 5, 10):
            with pytest.raises(BadDataError, match=f"^row {bad + 1}: text is missing"):
                list(read_rows(table.to_reader(max_chunksize=chunks), batch_size, TYPES, {}))


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


# --- types of an index that has rows already ------------------------------------------------------------------------

KNOWN = TYPES | {
    "price": pa.int64(),
    "weight": pa.float64(),
    "tags": pa.list_(pa.string()),
    "size": pa.struct([("width", pa.int64())]),
}
SOURCES = ["dicts", "iterator", "table", "reader", "frame", "jsonl", "parquet"]


def as_source(kind, rows, folder):
    """The same rows in every form that an index takes."""
    if kind in ("dicts", "iterator"):
        return rows if kind == "dicts" else iter(rows)
    if kind == "jsonl":
        (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        return folder / "rows.jsonl"
    table = pa.Table.from_pylist(rows)
    if kind == "parquet":
        pq.write_table(table, folder / "rows.parquet")
        return folder / "rows.parquet"
    return {"table": table, "reader": table.to_reader(), "frame": Frame(table)}[kind]


class Frame:
    """A data frame, as far as a reader is concerned."""

    def __init__(self, table):
        self.__arrow_c_stream__ = table.__arrow_c_stream__


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("price", 90.0, 49.99),
        ("price", 90, "90"),
        ("price", 90, True),
        ("weight", 5, 2**53 + 1),
        ("tags", ["a"], [1.5]),
        ("tags", ["a"], "b"),
        ("tags", [], {"a": 1}),
        ("size", {"width": 5.0}, {"width": 5.5}),
        ("size", {}, {"width": 5, "height": 6}),
    ],
)
def test_a_value_that_the_type_would_change_is_refused_with_its_row(tmp_path, source, name, good, bad):
    rows = [{"id": "a", "text": "x", name: good}, {"id": "b", "text": "y", name: bad}]
    if good != {} or source in ("dicts", "iterator", "jsonl"):  # Parquet has no struct without fields
        assert rows_of(as_source(source, rows[:1], tmp_path), types=KNOWN) == [
            rows[0] | ({name: {"width": None}} if good == {} else {})
        ]
    place = f"{tmp_path}/rows.{source}:1" if source in ("jsonl", "parquet") else "row 1"
    with pytest.raises(BadDataError, match=rf"^{place}: column '{name}' cannot be read as "):
        rows_of(as_source(source, rows[1:], tmp_path), types=KNOWN)


@pytest.mark.parametrize("source", [*SOURCES, "csv"])
def test_whole_prices_and_then_one_that_is_not(tmp_path, source):
    prices = [90, 40, 49.99]
    if source == "csv":
        rows = tmp_path / "rows.csv"
        rows.write_text("id,text,price\n" + "".join(f"{i},x,{price}\n" for i, price in enumerate(prices)))
    else:
        rows = as_source(source, [{"id": str(i), "text": "x", "price": p} for i, p in enumerate(prices)], tmp_path)
    assert [row["price"] for row in rows_of(rows)] == prices
    with pytest.raises(BadDataError, match=r"(row 3|csv:4|jsonl:3|parquet:3): column 'price' .*49.99"):
        rows_of(
            as_source("dicts", [{"id": str(i), "text": "x", "price": p} for i, p in enumerate(prices)], tmp_path)
            if source != "csv"
            else rows,
            types=KNOWN,
        )


def test_a_column_that_comes_later_has_one_type_in_all_batches():
    rows = [{"id": str(i), "text": "x"} | ({"n": i} if i > 2 else {}) for i in range(6)]
    rows.append({"id": "7", "text": "x", "n": 0.5})
    tables = [table for table, _ in read_rows(iter(rows), 2, TYPES, {})]
    assert {table.schema.field("n").type for table in tables} == {pa.float64()}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("name", "value", "wider"),
    [
        ("price", 49.99, pa.float64()),
        ("size", {"width": 5.5}, pa.struct([("width", pa.float64())])),
        ("size", {"width": 5, "height": 6}, pa.struct([("width", pa.int64()), ("height", pa.int64())])),
        ("nothing", ["a"], pa.list_(pa.string())),
        ("single", 0.1, pa.float64()),
    ],
)
def test_a_column_is_widened_where_the_stored_values_allow_it(tmp_path, source, name, value, wider):
    types = KNOWN | {"nothing": pa.list_(pa.null()), "single": pa.float32()}
    rows = [{"id": str(i), "text": "x", name: value} for i in range(3)]
    asked = []
    for allowed in (True, False):
        tables = read_rows(
            as_source(source, rows, tmp_path),
            2,
            types,
            {},
            lambda *ask: asked.append(ask) or allowed,  # noqa: B023
        )
        if allowed:
            assert [table.schema.field(name).type for table, _ in tables] == [wider, wider]
            assert asked == [(name, wider)]  # once
        else:
            with pytest.raises(BadDataError, match=rf"(row |:)1: column '{name}' cannot be read as "):
                list(tables)


def test_a_csv_widens_a_column_too(tmp_path):
    (tmp_path / "rows.csv").write_text("id,text,price\na,x,5\nb,y,49.99\n")
    [(table, _)] = read_rows(tmp_path / "rows.csv", 5, KNOWN, {}, lambda name, kind: True)
    assert table["price"].to_pylist() == [5.0, 49.99]
    with pytest.raises(BadDataError, match=r"csv:3: column 'price' cannot be read as int64: it holds 49.99"):
        list(read_rows(tmp_path / "rows.csv", 5, KNOWN, {}))


def test_a_name_that_is_no_text(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "y", "\\ud800": 1}\n')
    with pytest.raises(BadDataError, match=r"rows.jsonl:2: the name .* is no text"):
        rows_of(tmp_path / "rows.jsonl")


def test_a_value_that_is_exact_in_fewer_digits_does_not_widen_a_column():
    [(table, _)] = read_rows([{"id": "a", "text": "x", "single": 1.5}], 2, TYPES | {"single": pa.float32()}, {})
    assert table.schema.field("single").type == pa.float32()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([["a"]], pa.large_list(pa.large_string())), pa.list_(pa.large_string())),
        (pa.array([b"a"], pa.binary_view()), pa.binary()),
        (pa.array(["a"], pa.string_view()), pa.string()),
        (pa.array([{"a": "b"}], pa.struct([("a", pa.string_view())])), pa.struct([("a", pa.string())])),
        (pa.array([["a"]], pa.list_(pa.string(), 1)), pa.list_(pa.string())),
        (pa.array([[{"a": 1}]], pa.list_(pa.struct([("a", pa.int8())]), 1)), pa.list_(pa.struct([("a", pa.int8())]))),
        (pa.array([[1.5]], pa.list_(pa.float32(), 1)), pa.list_(pa.float32(), 1)),
        (pa.RunEndEncodedArray.from_arrays([1], ["a"]), None),
        (pa.array([[1]], pa.list_view(pa.int64())), None),
        (pa.array([[["a"]]], pa.large_list(pa.large_list(pa.string()))), pa.list_(pa.list_(pa.string()))),
        (pa.array([time(10)], pa.time64("us")), None),
        (pa.array([timedelta(1)]), None),
        (pa.array([Decimal("1.5")], pa.decimal256(50, 2)), None),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), None),
        (pa.array([[time(10)]]), None),
        (pa.array([{"at": time(10)}]), None),
        (pa.array([[]]), pa.list_(pa.null())),
        (pa.array([{"a": None}]), pa.struct([("a", pa.null())])),
        (pa.array([{}], pa.struct([])), None),
    ],
)
def test_types_whose_rows_could_not_be_found_again_are_converted_or_refused(values, kind):
    table = pa.table({"id": ["a"], "text": ["x"], "own": values})
    if kind is None:
        with pytest.raises(BadDataError, match=r"row 1: column 'own' is of type .*, which no index can have"):
            rows_of(table)
    else:
        [(checked, _)] = read_rows(table, 5, TYPES, {})
        assert checked.schema.field("own").type == kind
        assert checked["own"].to_pylist() == values.to_pylist()


@pytest.mark.parametrize("name", ["", "a.b", "a`b", "_a", "scout", "score", "*", "a\0b"])
def test_names_that_no_column_can_have(tmp_path, name):
    with pytest.raises(BadDataError, match=r"is taken|no column can be called"):
        rows_of([{"id": "a", "text": "x", name: 1}])
    (tmp_path / "rows.csv").write_text(f"{name},id,text\n0,a,x\n")  # as a data frame writes its index
    with pytest.raises(BadDataError, match=r"rows.csv: .*(is taken|no column can be called)"):
        rows_of(tmp_path / "rows.csv")


def test_two_columns_of_one_name():
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "text", "text"])
    with pytest.raises(BadDataError, match="two columns are called 'text'"):
        rows_of(table)


def test_bytes_that_are_no_text(tmp_path):
    broken = pa.array([b"ok", b"caf\xe9"]).cast(pa.binary()).view(pa.string())
    table = pa.table({"id": ["a", "b"], "text": ["x", "y"], "lang": broken})
    pq.write_table(table, tmp_path / "rows.parquet")
    for source in (table, tmp_path / "rows.parquet"):
        with pytest.raises(BadDataError, match=r"(row 2|parquet:2): column 'lang' cannot be read as text"):
            rows_of(source, batch_size=5)
    (tmp_path / "rows.jsonl").write_bytes(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "y", "lang": "caf\xe9"}\n')
    with pytest.raises(BadDataError, match=r"rows.jsonl:2: is not valid UTF-8"):
        rows_of(tmp_path / "rows.jsonl")
    with pytest.raises(BadDataError, match=r"row 1: column 'lang' cannot be read as one type of values"):
        rows_of([{"id": "a", "text": "x", "lang": "\ud800"}])
    with pytest.raises(BadDataError, match=r"row 2: 'caf.udce9' is not valid UTF-8"):
        rows_of(["ok", "caf\udce9"])


def test_bytes_that_are_no_text_within_others_are_named_by_their_row():
    """A part of a list, struct or dictionary is valid only where the whole is."""
    broken = pa.array([b"a", b"b", b"c", b"caf\xe9", b"e"]).view(pa.string())
    offsets = pa.array(range(6), pa.int32())
    structs = pa.StructArray.from_arrays([broken], ["a"])
    dictionary = pa.DictionaryArray.from_arrays(pa.array(range(5)), broken)
    for own in (
        structs,
        dictionary,
        pa.ListArray.from_arrays(offsets, broken),
        pa.ListArray.from_arrays(offsets, structs),
    ):
        with pytest.raises(BadDataError, match=r"row 4: column 'own' cannot be read as text: it holds bytes"):
            rows_of(pa.table({"id": list("abcde"), "text": list("abcde"), "own": own}), batch_size=5)
    unused = pa.DictionaryArray.from_arrays(pa.array([0, 1]), broken)
    with pytest.raises(BadDataError, match=r"row 1: column 'own' is damaged beside its rows"):
        rows_of(pa.table({"id": list("ab"), "text": list("ab"), "own": unused}))


def test_a_data_frame_whose_text_is_none_is_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "text": ["x", "y"], "lang": ["en", "de"]}, dtype=object)
    frame.loc[1, "lang"] = "caf\udce9"
    with pytest.raises(BadDataError, match=r"row 1: the rows cannot be read as Arrow's .*surrogates"):
        rows_of(frame)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("source", [*SOURCES, "csv"])
def test_nan_is_a_missing_value(tmp_path, source):
    rows = [{"id": "a", "text": "x", "price": 1.5}, {"id": "b", "text": "y", "price": NAN}]
    if source == "csv":
        given = tmp_path / "rows.csv"
        given.write_text("id,text,price\na,x,1.5\nb,y,NaN\n")
    else:
        given = as_source(source, rows, tmp_path)
    assert rows_of(given) == [rows[0], rows[1] | {"price": None}]


@pytest.mark.parametrize("value", [[1.0, NAN], {"width": NAN}, [{"width": [NAN, 1.0]}]])
def test_nan_within_lists_and_structs(value):
    [row] = rows_of(pa.Table.from_pylist([{"id": "a", "text": "x", "own": value}]))
    assert repr(row["own"]) == repr(value).replace("nan", "None")
    assert rows_of([{"id": "a", "text": "x", "own": value}]) == [row]


def test_nan_beside_text_as_data_frames_have_it():
    rows = [{"id": "a", "text": "x", "lang": "en"}, {"id": "b", "text": "y", "lang": NAN}]
    assert [row["lang"] for row in rows_of(rows)] == ["en", None]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("value", [INF, -INF, [1.0, INF], {"width": INF}])
def test_infinite_numbers_are_refused(tmp_path, source, value):
    rows = [{"id": "a", "text": "x", "own": value}]
    with pytest.raises(BadDataError, match=r"(row |:)1: column 'own' holds an infinite number"):
        rows_of(as_source(source, rows, tmp_path))


def test_texts_that_look_like_nan_stay_texts(tmp_path):
    (tmp_path / "rows.csv").write_text("id,text,name\na,x,Nan\nb,y,inf\n")
    assert [row["name"] for row in rows_of(tmp_path / "rows.csv")] == ["Nan", "inf"]


@pytest.mark.parametrize("rows", [{"id": "a", "text": "x"}, 5, None])
def test_what_is_no_list_of_rows_is_refused(rows):
    with pytest.raises(BadDataError, match=r"^Rows of type .* cannot be read"):
        rows_of(rows)


def test_embeddings_that_are_no_numbers():
    for embedding in ("1 2 3 4", ["1", "2", "3", "4"], 5):
        with pytest.raises(BadDataError, match=r"row 1: column 'embedding' cannot be read"):
            rows_of([{"id": "a", "text": "x", "embedding": embedding}])


@pytest.mark.parametrize("source", [*SOURCES, "csv"])
def test_text_is_read_as_the_date_or_time_of_the_index(tmp_path, source):
    types = TYPES | {"day": pa.date32(), "at": pa.timestamp("s")}
    row = {"id": "a", "text": "x", "day": "2024-02-29", "at": "2024-02-29 10:30:00"}
    (tmp_path / "rows.csv").write_text("\n".join([",".join(row), ",".join(row.values())]))
    rows = tmp_path / "rows.csv" if source == "csv" else as_source(source, [row], tmp_path)
    assert rows_of(rows, types=types) == [row | {"day": date(2024, 2, 29), "at": datetime(2024, 2, 29, 10, 30)}]
    with pytest.raises(BadDataError, match="column 'day' cannot be read as date32"):
        rows_of([row | {"day": "2023-02-29"}], types=types)


UTC_NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "then", "problem"),
    [
        (date(2026, 1, 31), datetime(2026, 1, 31, 12), "a time where others are dates"),
        (date(2026, 1, 31), 5, "a number where others are dates"),
        (datetime(2026, 1, 31), 5, "a number where others are times"),
        (time(10), 5, "a number where others are times"),
        (1.5, True, "true or false where others are numbers"),
        (b"a", "a", "text where others are bytes"),
        ("a", b"a", "text where others are bytes"),
        (datetime(2026, 1, 31, 12), UTC_NOON, "a time zone where others have none"),
        (UTC_NOON, datetime(2026, 1, 31, 12), "a time zone where others have none"),
    ],
)
@pytest.mark.parametrize("nest", [lambda v: v, lambda v: [v], lambda v: {"a": v}, lambda v: [{"a": [v]}]])
def test_values_that_arrow_would_change_beside_others_are_refused(first, then, problem, nest):
    rows = [{"id": "a", "text": "x", "own": nest(first)}, {"id": "b", "text": "x", "own": nest(then)}]
    with pytest.raises(BadDataError, match=rf"row 2: column 'own' .*({problem}|tried to convert)"):
        rows_of(rows)


def test_bytes_beside_text_in_a_list_are_refused():
    for own in (["a", b"b"], [b"", ""], {"a": ["", b""]}, [[""], [b""]]):
        with pytest.raises(BadDataError, match=r"row 1: column 'own' .*(bytes where others are text|text where)"):
            rows_of([{"id": "a", "text": "x", "own": own}])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.none() | VALUES, min_size=1, max_size=4))
def test_values_in_mappings_come_back_equal_or_are_refused(values):
    """Whatever stands beside what: nothing is turned into something else."""
    try:
        rows = rows_of([{"id": str(i), "text": "x", "own": value} for i, value in enumerate(values)], 10)
    except BadDataError:
        return
    for row, value in zip(rows, values, strict=True):
        assert row.get("own") == value and (isinstance(row.get("own"), bool) == isinstance(value, bool))


def test_missing_times_stand_beside_any_times_and_nanoseconds_are_kept():
    pandas = pytest.importorskip("pandas")
    for value in (date(2026, 1, 31), UTC_NOON, pandas.Timestamp("2026-01-31 12:00:00.123456789")):
        rows = rows_of([{"id": "a", "text": "x", "own": value}, {"id": "b", "text": "x", "own": pandas.NaT}])
        assert [row["own"] for row in rows] == [value, None]


@pytest.mark.parametrize(
    ("kind", "values", "stored"),
    [
        (pa.decimal128(2, 1), pa.array([1.15]), pa.float64()),
        (pa.decimal128(2, 1), pa.array([1.5]), pa.decimal128(2, 1)),
        (pa.float64(), pa.array([Decimal("1.12345678901234567890")]), None),
        (pa.float64(), pa.array([Decimal("49.99")]), pa.float64()),
        (pa.int64(), pa.array([Decimal("1.25")]), pa.decimal128(22, 2)),
        (pa.decimal128(38, 1), pa.array([Decimal("1.25")], pa.decimal128(38, 2)), pa.decimal128(38, 2)),
        (pa.decimal128(3, 2), pa.array([Decimal("1000.5")]), pa.decimal128(6, 2)),
        (pa.date32(), pa.array([datetime(2026, 1, 31, 12)]), pa.timestamp("us")),
        (pa.date32(), pa.array(["2026-01-31"], pa.string_view()), pa.date32()),
        (pa.struct([("a", pa.string())]), pa.array([{"a": "x", "b": 1}], VIEWS), pa.struct([("a", pa.string()), INT])),
        (pa.list_(pa.string()), pa.array([["x"]], pa.large_list(pa.string_view())), pa.list_(pa.string())),
    ],
)
def test_numbers_dates_and_views_keep_their_values_or_are_refused(kind, values, stored):
    rows = pa.table({"id": ["a"], "text": ["x"], "own": values})
    if stored is None:
        with pytest.raises(BadDataError, match=r"row 1: column 'own' cannot be read as "):
            list(read_rows(rows, 5, TYPES | {"own": kind}, {}, lambda name, kind: True))
        return
    [(table, _)] = read_rows(rows, 5, TYPES | {"own": kind}, {}, lambda name, kind: True)
    assert table.schema.field("own").type == stored
    assert table["own"].cast(values.type).to_pylist() == values.to_pylist()


def test_a_csv_with_times_widens_a_column_of_dates(tmp_path):
    (tmp_path / "rows.csv").write_text("id,text,day\na,x,2026-01-31 12:00:00\n")
    [(table, _)] = read_rows(tmp_path / "rows.csv", 5, TYPES | {"day": pa.date32()}, {}, lambda name, kind: True)
    assert table["day"].to_pylist() == [datetime(2026, 1, 31, 12)]


def test_rows_of_a_type_that_arrow_does_not_know_are_refused():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"id": ["a"], "text": ["x"], "n": polars.Series([2**70], dtype=polars.Int128)})
    with pytest.raises(BadDataError, match=r"row 1: the rows cannot be read as Arrow's"):
        rows_of(frame)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"id": "text", "text": "id"}, {"id": ["b"], "text": ["a"], "nr": ["c"]}),
        ({"id": "nr", "text": "id"}, {"id": ["c"], "text": ["a"]}),
        ({"id": "text", "text": "nr"}, {"id": ["b"], "text": ["c"]}),
        ({"id": "nr", "text": "text"}, {"id": ["c"], "text": ["b"]}),
    ],
)
def test_columns_may_be_called_as_others_are_here(names, expected):
    [(table, _)] = read_rows([{"id": "a", "text": "b", "nr": "c"}], 5, TYPES, names)
    assert table.to_pydict() == expected


def test_a_column_that_is_left_out_is_pointed_out_once(caplog):
    """The first rows lack it."""
    rows = [{"nr": str(row), "text": "b", **({"id": "a"} if row > 2 else {})} for row in range(8)]
    assert rows_of(rows, id="nr") == [{"id": str(row), "text": "b"} for row in range(8)]
    message = "rows: its column 'id' is left out, as 'nr' gives the id; to keep it, give it another name."
    assert [record.getMessage() for record in caplog.records] == [message]


def test_swapped_names_leave_nothing_out(caplog):
    assert rows_of([{"id": "a", "text": "b"}], id="text", text="id") == [{"id": "b", "text": "a"}]
    assert not caplog.records


@pytest.mark.parametrize(("name", "own"), [("id", "sku"), ("text", "title")])
def test_a_name_that_is_no_column_is_refused_beside_a_column_of_the_usual_name(name, own):
    with pytest.raises(BadDataError, match=f"no column '{own}', only id, text; name the one that holds the {name}"):
        list(read_rows([{"id": "a", "text": "b"}], 5, TYPES, {name: own}))
