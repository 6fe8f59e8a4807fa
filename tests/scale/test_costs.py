"""Plans: costs are measured once, kept, and grow with the job."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dse.scale import unit_costs
from dse.scale.costs import MACHINES, plan
from dse.scale.unit_costs import UnitCosts
from tests.commands import dse
from tests.processes import ROOT

COSTS = UnitCosts(0.004, 0.04, 20.0, 100.0, 12.0, {})


def figures(costs=COSTS, **settings):
    job = {"rows": 1e6, "dimension": 1536, "queries_per_second": 10, "pairs": 1e6, "machine": MACHINES["cpu-16"]}
    return {figure["figure"]: figure["value"] for figure in plan(costs, **(job | settings))}


def test_costs_grow_with_the_job_and_shrink_with_the_machine():
    one = figures()
    assert one["encode"] == pytest.approx(1e6 * 0.004 / 16 / 3600) and one["label"] == pytest.approx(10 * one["encode"])
    ten = figures(rows=1e7)
    assert ten["encode"] == pytest.approx(10 * one["encode"]) and ten["disk"] == pytest.approx(10 * one["disk"])
    assert one["query"] < ten["query"] < 10 * one["query"]
    assert figures(machine=MACHINES["h100"])["encode"] < one["encode"] / 10
    assert all(
        "measured" in f["known"] or "extrapolated" in f["known"] or "computed" in f["known"]
        for f in plan(COSTS, rows=1, dimension=1, queries_per_second=0, pairs=0, machine=MACHINES["cpu-16"])
    )


@pytest.mark.parametrize("job", [{"rows": 0}, {"rows": float("nan")}, {"pairs": -1}, {"rows": float("inf")}])
def test_a_job_that_cannot_be_is_refused(job):
    with pytest.raises(ValueError, match=f"{next(iter(job))} is"):
        figures(**job)


@pytest.mark.parametrize("rows", [1_000_000, 10_000_000])
def test_searching_is_planned_as_it_was_measured(rows):
    """Within a quarter of the search page's indexes: 128 numbers a row, a query encoded in 12 ms."""
    page = json.loads((ROOT / "docs/results/search.json").read_text(encoding="utf-8"))
    measured = next(row for row in page["table"] if row["rows"] == f"{rows:,}")
    planned = figures(replace(COSTS, query_ms=12.0), rows=rows, dimension=128)
    assert planned["query"] == pytest.approx(measured["p50 ms"], rel=0.25)
    assert planned["memory"] == pytest.approx(measured["RSS GiB"], rel=0.25)
    assert planned["disk"] == pytest.approx(measured["disk x"] * rows * 2 * 128 / 2**30, rel=0.25)


def test_costs_are_measured_once_and_kept(backbone, tmp_path, monkeypatch):
    for name, size in (("TEXTS", 32), ("PAIRS", 16), ("QUERIES", 2), ("SIDE", 64)):
        monkeypatch.setattr(unit_costs, name, size)
    args = ("plan", "--rows", "1e9", "--machine", "h100", "--backbone", backbone, "--costs", tmp_path / "costs.json")
    first, again = dse(*args), dse(*args, "--json")
    assert first.returncode == 0 and "measured now" in first.stdout, first.stderr
    kept = json.loads((tmp_path / "costs.json").read_text())
    assert json.loads(again.stdout)["measured"]["query_ms"] == kept["query_ms"] > 0
    assert "measured before" in dse(*args).stdout
