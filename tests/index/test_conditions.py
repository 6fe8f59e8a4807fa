"""Conditions are read to their end: what is not understood is refused before anything is touched."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from benchmarks.reliability.conditions import judge, make_rows, random_condition
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.data.arrow_vectors import vectors
from dse.errors import BadDataError
from dse.index.conditions import lance_condition
from dse.index.layout import Manifest
from dse.index.store import Store
from tests.index.tables import make_embeddings
from tests.index.worker import writer

ROWS = [
    {"id": "1", "text": "a tent", "Lang": "en", "price": 90, "order": 1},
    {"id": "2", "text": "a bike", "Lang": "en", "price": 5, "order": 2},
    {"id": "3", "text": "ein Zelt", "Lang": "de", "price": 7, "order": None},
]
CUT_SHORT = [
    "lang = 'en' AMD price < 50",
    "price > 5,0 and lang = 'de'",
    "lang = 'en'; price < 50",
    "lang = 'en';",
    "lang = 'en' limit 1",
    "lang = 'en' order by price",
    "lang = 'en' group by price",
    "lang = 'en' union select 1",
    "lang = 'en' -- and price < 50",
    "lang = 'en' /* and price < 50 */",
    "lang = 'en') or (price > 5",
    "lang = 'en' as x",
    "lang = 'en' price",
    "price > 5 5",
    "price > 1_000",
    "price > 5d",
    "lang = ?",
    "lang = :x",
    "lang = $1",
    "lang = 'en' and",
    "",
    "   ",
    "lang",
    "1",
    "'en'",
    "lang = en",
    'lang = "en"',
    "nothere = 3",
    "price = 'cheap'",
    "lang = 5",
    "price = null",
    "price in ()",
    "price in (select 1)",
    "price between symmetric 9 and 1",
    "lang = N'en'",
    "lang collate nocase = 'EN'",
    "regexp_like(lang, 'EN', 'i')",
    "lang = 'en",
    "(lang = 'en'",
    "embedding is not null",
    "price / 2 = 45",
    "case when lang = 'en' then true end",
]


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "index", Manifest("f" * 32, 32), pa.schema([]))
    table = pa.Table.from_pylist(ROWS)
    writer(store).write(table.append_column("embedding", vectors(make_embeddings(3))), "id", "text", 10, False)
    store.refresh()
    return store


@pytest.mark.parametrize("where", CUT_SHORT)
def test_what_is_not_understood_is_refused_before_anything_is_touched(store, where):
    for call in (store.count, store.delete_where, lambda where: list(store.scan(["id"], where))):
        with pytest.raises(BadDataError, match=r"^The condition .*\.$"):
            call(where)
    assert store.count() == 3


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("\"Lang\" = 'en'", {"1", "2"}),
        ("`Lang` = 'en'", {"1", "2"}),
        ("lang = 'en'", {"1", "2"}),
        ("LANG <> 'en'", {"3"}),
        ('"order" = 2', {"2"}),
        ("price > 5.5", {"1", "3"}),
        ("price = 5.0", {"2"}),
        ("price < 99999999999999999999", {"1", "2", "3"}),
        ("price + 9223372036854775807 > 0", {"1", "2", "3"}),
        ("5 < price and not \"Lang\" = 'de'", {"1"}),
        ('("order" = 1) is null', {"3"}),
        ("\"Lang\" in ('en', 'de', null) and text like '%e%t'", {"1", "3"}),
        ("id = '2' or id = '3'", {"2", "3"}),
        ("true", {"1", "2", "3"}),
        ("1 = 2", set()),
    ],
)
def test_standard_sql_means_what_it_says(store, where, ids):
    assert {name for batch in store.scan(["id"], where) for name in batch["id"].to_pylist()} == ids
    assert store.count(where) == len(ids)


def test_names_that_differ_in_case_are_told_apart():
    columns = pa.schema({"lang": pa.string(), "Lang": pa.string()})
    assert lance_condition("lang = 'x' and \"Lang\" = 'y'", columns) == "((`lang` = 'x') and (`Lang` = 'y'))"
    with pytest.raises(BadDataError, match="no column called 'LANG'"):
        lance_condition("LANG = 'x'", columns)


def test_messages_name_the_part_that_is_wrong(store):
    with pytest.raises(BadDataError, match=r"'AMD' after \"lang = 'en'\" is not understood"):
        store.count("lang = 'en' AMD price < 50")
    with pytest.raises(BadDataError, match=r"no column called 'en', only id, text, Lang, price, order; text stands in"):
        store.count('lang = "en"')


def test_a_long_chain_and_a_deep_nest_end_with_an_answer(store):
    assert store.count(" or ".join(f"price = {i}" for i in range(2000))) == 3
    with pytest.raises(BadDataError):
        store.count("(" * 5000 + "price = 1" + ")" * 5000)


@pytest.mark.parametrize("numbers", ["(0.1)", "(0.1, 7)", "(0.1, 99999999999999999999)"])
@pytest.mark.parametrize("words", ["{} in {}", "{} not in {}", "not {} in {}", "not {} not in {}", "not not {} in {}"])
def test_a_column_of_32_bits_has_the_numbers_written_in_decimals(words, numbers):
    condition = words.format("f4", numbers)
    found = LANCE.to_table(columns=["id"], filter=lance_condition(condition, TABLE.schema))["id"].to_pylist()
    assert set(found) == DUCK(condition) and found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_random_conditions_find_the_rows_that_duckdb_finds(seed):
    expected = DUCK(condition := random_condition(random.Random(seed)))
    try:
        sql = lance_condition(condition, TABLE.schema)
    except BadDataError:
        return
    if expected is not None:  # DuckDB also refuses sums beyond 64 bits
        assert set(LANCE.to_table(columns=["id"], filter=sql)["id"].to_pylist()) == expected, condition


TABLE = make_rows(random.Random(0), 60)


@pytest.fixture(scope="module", autouse=True)
def _databases(tmp_path_factory):
    import lance

    global DUCK, LANCE
    LANCE = lance.write_dataset(TABLE, tmp_path_factory.mktemp("conditions") / "rows.lance", data_storage_version="2.1")
    with judge(TABLE) as DUCK:
        yield
