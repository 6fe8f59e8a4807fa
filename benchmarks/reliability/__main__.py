"""`python -m benchmarks.reliability`: kills, conditions and threads; writes docs/results/reliability.json and .md."""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FULL = {"kills": 1000, "conditions": 1000, "threads": 100_000}
QUICK = {"kills": 20, "conditions": 300, "threads": 400}


def conditions(count: int) -> dict[str, Any]:
    """Random conditions: rows found, against DuckDB."""
    import lance

    from benchmarks.reliability.conditions import judge, make_rows, random_condition
    from dse.errors import BadDataError
    from dse.index.conditions import lance_condition

    generator = random.Random(0)
    rows = make_rows(generator, 200)
    refused, overflows, wrong = 0, 0, []
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


def students(folder: Path) -> list[Any]:
    """Two small random students of one width."""
    from tests.conftest import build_backbone, make_student

    backbone = build_backbone("bert", folder)
    return [make_student(backbone, seed=seed, head="cosine") for seed in (0, 1)]


def parts(sizes: dict[str, int], only: set[str]) -> Iterator[dict[str, Any]]:
    """Run what is asked for; yields results as they come. The kills come first: they fork before Lance has threads."""
    with tempfile.TemporaryDirectory() as folder:
        made = students(Path(folder)) if only & {"kills", "threads"} else []
        if "kills" in only:
            from benchmarks.reliability.kills import campaign

            yield from campaign(made, sizes["kills"])
        if "conditions" in only:
            yield conditions(sizes["conditions"])
        if "threads" in only:
            from benchmarks.reliability.threads import shared_handle

            yield shared_handle(made[0], sizes["threads"])


def page(found: dict[str, Any]) -> str:
    """The results as a page."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in found.items())
    return (
        "# Reliability\n\n"
        "Written by `python -m benchmarks.reliability`. An index is killed (`kill -9`) at random moments\n"
        "and compared with a model of what must be there; random conditions are compared with DuckDB; threads share\n"
        f"one handle, with writers beside readers.\n\n| What | Result |\n|---|---|\n{rows}\n"
    )


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute or two, for continuous integration")
    parser.add_argument("--only", nargs="+", choices=list(FULL), default=list(FULL))
    for name in FULL:
        parser.add_argument(f"--{name}", type=int, help=f"how many (default {FULL[name]:,}, quick {QUICK[name]:,})")
    arguments = parser.parse_args()
    sizes = {name: getattr(arguments, name) or (QUICK if arguments.quick else FULL)[name] for name in FULL}
    file, start = RESULTS / "reliability.json", time.monotonic()
    found = json.loads(file.read_text()) if file.exists() and not arguments.quick else {}
    for result in parts(sizes, set(arguments.only)):
        found |= result | {"date": datetime.now(UTC).date().isoformat()}
        print(json.dumps(result), flush=True)
    if not arguments.quick:
        file.write_text(json.dumps(found, indent=2) + "\n")
        (RESULTS / "reliability.md").write_text(page(found))
    print(f"{time.monotonic() - start:.0f} s")
    faults = ("lost_rows", "doubled_rows", "wrong_vectors", "errors", "wrong_conditions", "thread_errors")
    if any(found.get(name) for name in faults):
        raise SystemExit(1)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
