"""What every benchmark of the repository shares: records kept and merged, tables and templates."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from benchmarks.render import number, part, signed, spread, table

from benchmarks import records


@pytest.fixture(autouse=True)
def docs(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    return tmp_path


def test_what_is_measured_is_not_measured_again_and_what_failed_is(tmp_path):
    folder, calls = tmp_path / "runs/row", []
    records.measure_missing(folder, list)  # nothing to measure
    with pytest.raises(ZeroDivisionError):
        records.measure_missing(folder, lambda: 1 / 0)
    assert not folder.exists()
    for _ in range(2):
        records.measure_missing(folder, lambda: calls.append(1) or [{"value": 0.5}])
    assert len(calls) == 1
    about = json.loads((folder / "row.json").read_text())
    assert about["results"] == [{"value": 0.5}] and {"seconds", "threads", "machine", "versions"} <= set(about)


def test_after_the_limit_nothing_starts():
    assert list(records.within(None, [1, 2])) == [1, 2]
    assert list(records.within(-1, [1, 2])) == []


def test_merge_replaces_by_key_and_keeps_the_rest():
    def about(value, **changes):
        row = {"collection": "a", "seed": 42, "value": value} | changes
        return {"results": [row], "machine": {"cpu": value}, "versions": {}}

    key = ("collection", "seed")
    records.merge("ranking", [about(1), about(2, seed=41), about(3)], key, "command")
    assert records.load("ranking")["rows"] == [
        {"collection": "a", "seed": 41, "value": 2},
        {"collection": "a", "seed": 42, "value": 3},
    ]
    records.merge("ranking", [about(4, collection="b")], key, "command")
    again = records.load("ranking")
    assert [row["value"] for row in again["rows"]] == [2, 3, 4] and again["machine"] == {"cpu": 4}
    records.merge("ranking", [], key, "other")
    assert records.load("ranking") == again
    assert records.frame("ranking").value.tolist() == [2, 3, 4] and records.frame("absent").empty


def test_cells():
    assert [number(value) for value in (0.0319, 1234.5, 0.99993, 1.0, None, float("nan"), 7, "a|b")] == [
        *("0.0319", "1,234", "0.99993", "1", "", "", "7", "a\\|b")
    ]
    assert spread(pd.Series([0.8, 0.9])) == "85.0 ± 7.1" and spread(pd.Series([0.8])) == "80.0"
    assert spread(pd.Series([0.8, 0.9, None]), seeds=3) == "85.0 ± 7.1 (2 seeds)" and spread(pd.Series([])) == ""
    assert (signed(-0.04), signed(1.25001), part(5, 5), part(1000, 3668)) == ("+0.0", "+1.3", "all 5", "1,000 of 3,668")


def test_a_table_leaves_out_empty_columns():
    assert table([{"a": "x", "b": "", "c": 0.5}, {"a": "y", "b": None, "c": 2.0}]) == (
        "| a | c |\n| --- | ---: |\n| x | 0.5 |\n| y | 2 |"
    )
