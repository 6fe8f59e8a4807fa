"""Random conditions on random rows: an index must refuse each, or give the rows that DuckDB gives for it."""

from __future__ import annotations

import datetime as dt
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import duckdb
import lance
import pyarrow as pa

from dse.errors import BadDataError
from dse.index.conditions import lance_condition

UTC = dt.UTC
WORDS = ["en", "de", "", "it's", "100%", "a_b", "a\\b", "Ä", "ä", "x y", "EN", "%", "_", "\\", "null", "😀"]
INTEGERS = [0, 1, -1, 5, 50, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 127, -128]
NUMBERS = ["0", "1", "-1", "5", "5.5", "49.99", ".5", "9007199254740993", "9223372036854775807", "9223372036854775808"]
NUMBERS += ["-9223372036854775808", "99999999999999999999", "0.1", "128", "-129", "2.0", "1.255", "1e-3"]
NUMERIC = ["price", "i8", "u8", "f", "f4", "d", "size.w", "length(lang)", "PRICE"]
TEXTUAL = ["lang", '"Name"', "Name", '"my col"', "`my col`", "text", "cat", "lower(lang)", 'upper("my col")', "LANG"]
TEXTUAL += ['size."in".deep']
# What parsers that stop early would swallow.
CUT = ["{p} AMD {p}", "{c} > 5,0", "{p};", "{p}; {p}", "{c} = ?", "{c} = :x", "{p} limit 3", "{p} order by id"]
CUT += ["{p} union select 1", "{p} -- x", "{p}) or (true", "{c} =", "{p} {v}", "{c} {v}", "{p} /* or true */", "({p}"]
CUT += ["case when {p} then true end", "{c} = (select 1)", "{c} = any(select 1)", "{p} group by id", "{p} having true"]
CUT += ["{p} and", "and {p}", "not", "{p} as x", "{p} x", "{p}, {p}", "{c} = $1", "{c} collate nocase = {v}"]


def make_rows(generator: random.Random, rows: int) -> pa.Table:
    """Rows with ids, texts and columns of every type that conditions can compare."""
    pick, utc = generator.choice, UTC
    moments = [dt.datetime(2020, 1, 1, 12), dt.datetime(1960, 1, 1, 0, 0, 1)]
    zoned = [moment.replace(tzinfo=utc) for moment in moments]
    made: dict[str, tuple[pa.DataType, Callable[[], Any]]] = {
        "price": (pa.int64(), lambda: pick(INTEGERS)),
        "i8": (pa.int8(), lambda: pick([0, 1, -128, 127])),
        "u8": (pa.uint64(), lambda: pick([0, 1, 2**64 - 1, 2**63])),
        "f": (pa.float64(), lambda: pick([0.0, -0.0, 1.5, -2.25, 0.1, 1e300, 2.0**53, 49.99])),
        "f4": (pa.float32(), lambda: pick([0.1, 1.5, -3.0])),
        "d": (pa.decimal128(10, 2), lambda: Decimal(pick(["1.25", "-3.50", "0.10", "99999999.99"]))),
        "lang": (pa.string(), lambda: pick(WORDS)),
        "Name": (pa.string(), lambda: pick(WORDS)),
        "my col": (pa.string(), lambda: pick(WORDS)),
        "day": (pa.date32(), lambda: pick([dt.date(2020, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29)])),
        "ts": (pa.timestamp("us"), lambda: pick(moments)),
        "tss": (pa.timestamp("s"), lambda: pick(moments)),
        "tsn": (pa.timestamp("ns"), lambda: pick(moments)),
        "tz": (pa.timestamp("s", "UTC"), lambda: pick(zoned)),
        "tzb": (pa.timestamp("us", "Europe/Berlin"), lambda: pick(zoned)),
        "t": (pa.time32("s"), lambda: pick([dt.time(1, 2, 3), dt.time(0)])),
        "flag": (pa.bool_(), lambda: pick([True, False])),
        "cat": (pa.string(), lambda: pick(["x", "y"])),
        "tags": (pa.list_(pa.string()), lambda: [pick(["a", "b", None]) for _ in range(generator.randrange(3))]),
        "nums": (pa.list_(pa.int64()), lambda: [pick([1, 2, None]) for _ in range(generator.randrange(3))]),
        "size": (
            pa.struct([("w", pa.int64()), ("in", pa.struct([("deep", pa.string())]))]),
            lambda: {"w": pick([None, 1, 5]), "in": pick([None, {"deep": pick(["a", None])}])},
        ),
    }
    columns = {"id": pa.array([str(i) for i in range(rows)]), "text": pa.array([pick(WORDS) for _ in range(rows)])}
    for name, (kind, value) in made.items():
        columns[name] = pa.array([None if generator.random() < 0.2 else value() for _ in range(rows)], kind)
    return pa.table(columns)


@contextmanager
def judge(rows: pa.Table) -> Iterator[Callable[[str], set[str] | None]]:
    """What DuckDB finds: the ids of the rows that meet a condition; None where it refuses the condition."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("given", rows)
        connection.execute("create table stored as select * from given")

        def ids(condition: str) -> set[str] | None:
            try:
                return {row[0] for row in connection.execute(f"select id from stored where {condition}").fetchall()}
            except duckdb.Error:
                return None

        yield ids


def random_condition(generator: random.Random, depth: int = 0) -> str:
    """A condition on the columns of `make_rows`; some are not to be understood."""
    pick = generator.choice
    if depth == 0 and generator.random() < 0.1:
        column, value = _compared(generator)
        return pick(CUT).format(p=random_condition(generator, 2), c=column, v=value)
    if depth < 3 and generator.random() < 0.35:
        parts = [random_condition(generator, depth + 1) for _ in range(3)]
        joined = ["not {}", "({})", "{} and {}", "{} or {}", "{} and {} or {}", "not ({} or {}) and {}"]
        return pick(joined).format(*parts)
    return pick([_comparison, _comparison, _comparison, _set, _like, _of_columns, _function])(generator)


def _compared(generator: random.Random) -> tuple[str, str]:
    """A column, or what is computed from columns, and a constant for it."""
    pick, share = generator.choice, generator.random()
    if share < 0.4:
        column = pick(NUMERIC)
        if generator.random() < 0.25:
            column = f"{column} {pick('+-*%/')} {pick([pick(NUMBERS), pick(NUMERIC)])}"
        return column, pick(NUMBERS)
    if share < 0.7:
        return pick(TEXTUAL), _quoted(pick(WORDS))
    if share < 0.8:
        return "day", pick(["", "date "]) + pick(["'2020-01-01'", "'1969-12-31'", "'1999-07-07'"])
    if share < 0.87:
        moments = ["'2020-01-01 12:00:00'", "'1960-01-01 00:00:00.5'", "'2020-01-01'", "'2019-05-05T01:02'"]
        return pick(["ts", "tss", "tsn"]), pick(["", "timestamp "]) + pick(moments)
    if share < 0.93:
        moments = ["'2020-01-01 12:00:00Z'", "'2020-01-01 13:00:00+01:00'", "'1960-01-01 00:00:00.5Z'"]
        return pick(["tz", "tzb"]), pick(moments)
    return pick([("t", "'01:02:03'"), ("t", "'00:00:00'"), ("flag", "true"), ("flag", "false")])


def _comparison(generator: random.Random) -> str:
    (column, value), pick = _compared(generator), generator.choice
    sign = pick(["=", "<>", "!=", "<", "<=", ">", ">="])
    truth = pick(["true", "false", "null"])
    forms = ["{c} {s} {v}", "{c} {s} {v}", "{v} {s} {c}", "({c} {s} {v}) is {t}", "({c} {s} {v}) is not {t}"]
    return pick(forms).format(c=column, s=sign, v=value, t=truth)


def _set(generator: random.Random) -> str:
    (column, value), pick = _compared(generator), generator.choice
    other = pick(NUMBERS) if column in NUMERIC else value
    forms = ["{c} is null", "{c} is not null", "{c} in ({v}, {o})", "{c} not in ({v}, {o})", "{c} in ({v}, null)"]
    forms += ["{c} not in ({v}, null)", "{c} between {v} and {o}", "{c} not between {v} and {o}"]
    return pick(forms).format(c=column, v=value, o=other)


def _like(generator: random.Random) -> str:
    pick = generator.choice
    pattern = "".join(pick("aen%_\\EÄx") for _ in range(generator.randrange(4)))
    words, escapes = ["like", "ilike", "not like", "not ilike"], ["", "", " escape 'x'", " escape '\\'"]
    return f"{pick(TEXTUAL)} {pick(words)} {_quoted(pattern)}{pick(escapes)}"


def _of_columns(generator: random.Random) -> str:
    pick = generator.choice
    return f"{pick(NUMERIC + TEXTUAL)} {pick(['=', '<', '>='])} {pick(NUMERIC + TEXTUAL)}"


def _function(generator: random.Random) -> str:
    calls = ["array_has(tags, 'a')", "list_contains(nums, 2)", "starts_with(lang, 'e')", "contains(text, 'a')"]
    calls += ["not list_contains(tags, 'b')", "regexp_matches(lang, '^e')", "flag", "not flag", "flag is true"]
    return generator.choice([*calls, "flag is not false", "true", "false", "null", "tags is null", "size is not null"])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def campaign(count: int) -> dict[str, Any]:
    """Random conditions on rows of an index, against DuckDB."""
    generator = random.Random(0)
    rows = make_rows(generator, 200)
    refused, overflows, wrong = 0, 0, list[str]()
    with tempfile.TemporaryDirectory() as folder, judge(rows) as expected:
        stored = lance.write_dataset(rows, f"{folder}/rows.lance", data_storage_version="2.1")
        for _ in range(count):
            condition = random_condition(generator)
            try:
                sql = lance_condition(condition, rows.schema)
            except BadDataError:
                refused += 1
                continue
            if (ids := expected(condition)) is None:
                overflows += 1  # DuckDB refuses sums beyond 64 bits
            elif set(stored.to_table(columns=["id"], filter=sql)["id"].to_pylist()) != ids:
                wrong.append(condition)
    return {
        "conditions": count,
        "refused_conditions": refused,
        "conditions_that_duckdb_refuses": overflows,
        "wrong_conditions": len(wrong),
        "first_wrong_condition": wrong[0] if wrong else None,
    }
