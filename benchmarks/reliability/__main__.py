"""`python -m benchmarks.reliability`: faults provoked on purpose; writes docs/results/reliability.json and .md.

Of an interrupted run the kills are kept in runs/reliability and go on; everything else takes minutes and begins again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import records
from dse.evaluation.machine import machine, versions
from dse.files import write_json

FULL = {"kills": 1000, "disk": 4, "memory": 100_000, "rows": 10_000, "conditions": 1000, "threads": 100_000}
QUICK = {"kills": 6, "disk": 1, "memory": 200, "rows": 200, "conditions": 100, "threads": 200}
HELP = {
    "kills": "kills of indexes, labelling and training",
    "disk": "how many amounts of space are left on the full disk",
    "memory": "calls of predict",
    "rows": "mutated rows",
    "conditions": "random conditions",
    "threads": "calls of 16 threads",
}
FREE = (0, 12_000, 150_000, 900_000)  # bytes left on a full disk
PROGRESS = records.ROOT / "runs" / "reliability" / "kills.json"
MUST_BE_ZERO = ("lost_rows", "doubled_rows", "wrong_scores", "wrong_vectors", "different_models", "left_over", "errors")
MUST_BE_ZERO += ("misread_rows", "wrong_conditions", "thread_errors", "disk_errors")


def students(folder: Path) -> list[Any]:
    """Two small random students of one width."""
    from tests.conftest import build_backbone, make_student

    backbone = build_backbone("bert", folder)
    return [make_student(backbone, seed=seed, head="cosine") for seed in (0, 1)]


def parts(sizes: dict[str, int], progress: Path) -> Iterator[dict[str, Any]]:
    """Run the parts that have a size; yields results as they come. Forks come first: then Lance has no threads yet."""
    with tempfile.TemporaryDirectory() as folder:
        made = students(Path(folder)) if sizes.keys() & {"kills", "disk", "memory", "threads"} else []
        if "kills" in sizes:
            from benchmarks.reliability import kills

            yield from kills.campaign(made, sizes["kills"], progress)
        if "disk" in sizes:
            from benchmarks.reliability import disk

            quick = sizes["disk"] < len(FREE)
            names = ["label", "add"] if quick else list(disk.commands(Path(), Path()))
            yield disk.campaign(made, names, FREE[: sizes["disk"]])
        if "memory" in sizes:
            from benchmarks.reliability import memory

            yield memory.predicts(made[0], sizes["memory"])
        if "rows" in sizes:
            from benchmarks.reliability import rows

            yield from rows.campaign(sizes["rows"])
        if "conditions" in sizes:
            from benchmarks.reliability import conditions

            yield conditions.campaign(sizes["conditions"])
        if "threads" in sizes:
            from benchmarks.reliability import threads

            yield threads.shared_handle(made[0], sizes["threads"])


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute; shows that it runs and writes no results")
    parser.add_argument("--only", nargs="+", choices=list(FULL), default=list(FULL))
    for name in FULL:
        parser.add_argument(f"--{name}", type=int, help=f"{HELP[name]} ({FULL[name]:,}; quick {QUICK[name]:,})")
    arguments = parser.parse_args()
    usual = QUICK if arguments.quick else FULL
    sizes = {name: getattr(arguments, name) or usual[name] for name in arguments.only}
    start, found = time.monotonic(), {} if arguments.quick else records.load("reliability")
    with tempfile.TemporaryDirectory() as folder:
        for result in parts(sizes, Path(folder, "kills.json") if arguments.quick else PROGRESS):
            found |= result
            print(json.dumps({"quick": arguments.quick, **result}), flush=True)
            if not arguments.quick:
                write_results(found)
    print(f"{time.monotonic() - start:.0f} s")
    if wrong := [name for name in MUST_BE_ZERO if found.get(name)]:
        raise SystemExit(f"not zero: {', '.join(wrong)}")


def write_results(found: dict[str, Any]) -> None:
    """Write docs/results/reliability.json and .md."""
    from benchmarks.reliability.page import page

    about = {"command": "python -m benchmarks.reliability", "date": datetime.now(UTC).date().isoformat()}
    content = found | about | {"machine": machine(), "versions": versions()}
    content.pop("rows", None)
    write_json(records.RESULTS / "reliability.json", content)
    (records.RESULTS / "reliability.md").write_text(page(content), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
