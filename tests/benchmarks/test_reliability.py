"""The campaign of faults: a short one ends without any, and writes no results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.reliability.page import page

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The campaign in a process of its own, which forks before Lance has threads."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.reliability", *arguments]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, cwd=ROOT
    )


@pytest.mark.slow
def test_quick() -> None:
    results = ROOT / "docs" / "results" / "reliability.json"
    before = results.read_bytes()
    sizes = {"kills": 3, "memory": 20, "rows": 60, "conditions": 30}
    done = run(
        "--quick", "--only", *sizes, *(part for name, size in sizes.items() for part in (f"--{name}", str(size)))
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert all(part["quick"] for part in found) and results.read_bytes() == before
    counts = {name: value for part in found for name, value in part.items()}
    assert counts["kills"] >= 3 and counts["mutated_rows"] == 60 and counts["conditions"] == 30
    assert counts["predicts"] == 20


def test_the_page_shows_the_parts_that_were_run() -> None:
    found = {"kills": 1000, "lost_rows": 0, "errors": 2, "killed_during": {"add": 1000}, "date": "2026-11-28"}
    found |= {"command": "python -m benchmarks.reliability", "machine": {"cpu": "x"}, "versions": {"dse": "1"}}
    text = page(found)
    assert "1,000 | lost rows 0, errors 2 |" in text and "add 1,000" in text and "DuckDB" not in text
